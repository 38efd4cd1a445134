/**
 * The gateway's side of sandboxes' doors: takes what comes in at their listeners, within limits, and passes it to the proxy or to
 * the service that the operator mapped. Everything of a sandbox ends with it.
 */
import { createServer } from 'node:net'
import type { Server, Socket } from 'node:net'
import { lookup as systemLookup } from 'node:dns/promises'

import { HostelError } from '../errors.ts'
import type { EgressRecord } from '../functions/types.ts'
import type { ServiceMapping } from '../keeper/messages.ts'
import { limits } from '../limits.ts'
import { createLedger } from './attempts.ts'
import type { DoorOwner, Ledger } from './attempts.ts'
import { DialError, connectToOneOf } from './dial.ts'
import type { Guard } from './guard.ts'
import type { Lookup } from './lookup.ts'
import { problemText } from './problem.ts'
import { createProxy } from './proxy.ts'
import { parseRule } from './rules.ts'
import { splice } from './splice.ts'

export type { DoorOwner } from './attempts.ts'

export interface EgressDoors {
  /**
   * Serves the doors of a sandbox until closed. `listeners` are as the keeper made them: the proxy's first if there are rules,
   * then one for each service in order.
   */
  open(owner: DoorOwner, wanted: { egress: readonly string[]; services: readonly string[] }, listeners: readonly Server[]): { close(): void }
}

export interface EgressOptions {
  guard: Guard
  lookup: Lookup
  /** What the operator mapped. */
  services: readonly ServiceMapping[]
  record(record: EgressRecord): void
  newId(): string
}

const WINDOW_MS = 1_000

export function createEgressDoors(options: EgressOptions): EgressDoors {
  const proxy = createProxy(options)
  const services = new Map(options.services.map((mapping) => [`${mapping.name}:${mapping.port}`, mapping]))
  const perFunction = new Map<string, number>()
  let total = 0

  /** Whether there is room for one more; it is counted until the socket closes. */
  function admit(key: string, ofSandbox: Set<Socket>, socket: Socket): boolean {
    const ofFunction = perFunction.get(key) ?? 0
    if (ofSandbox.size >= limits.egressConnectionsPerSandboxMax || ofFunction >= limits.egressConnectionsPerFunctionMax || total >= limits.egressConnectionsMax)
      return false
    ofSandbox.add(socket)
    perFunction.set(key, ofFunction + 1)
    total++
    socket.once('close', () => {
      ofSandbox.delete(socket)
      total--
      const left = perFunction.get(key)! - 1
      if (left === 0) perFunction.delete(key)
      else perFunction.set(key, left)
    })
    return true
  }

  return {
    open(owner, wanted, listeners) {
      const begin = createLedger(owner, options)
      const rules = wanted.egress.map((text) => parseRule(text)!)
      const key = `${owner.tenant}/${owner.function}`
      const sockets = new Set<Socket>()
      const servers: Server[] = []
      let windowStartMs = 0
      let inWindow = 0
      let closed = false

      const close = (): void => {
        if (closed) return
        closed = true
        for (const server of servers) server.close()
        for (const socket of sockets) socket.destroy()
      }
      /** Counts one; true: there are too many within a second, and everything is closed. */
      const tooFast = (): boolean => {
        const nowMs = performance.now()
        if (nowMs - windowStartMs > WINDOW_MS) {
          windowStartMs = nowMs
          inWindow = 0
        }
        if (++inWindow <= limits.egressConnectionsPerSecondMax) return false
        if (!closed) owner.flooded()
        close()
        return true
      }
      /** False: turned away already. */
      const comesIn = (socket: Socket, target: string, door: EgressRecord['door']): boolean => {
        socket.on('error', () => {})
        if (tooFast()) {
          socket.destroy()
          return false
        }
        if (admit(key, sockets, socket)) return true
        begin(door, target).end('refused', 'too many connections are open')
        if (door === 'proxy') socket.end(problemText(new HostelError('egress_busy')))
        socket.destroySoon()
        return false
      }
      const serve = (handed: Server, onConnection: (socket: Socket) => void): void => {
        // The listener as it arrived would end half-open connections; this one takes it over.
        const server = createServer({ allowHalfOpen: true, noDelay: true }, onConnection)
        server.on('error', () => {})
        server.listen(handed)
        servers.push(server)
      }

      const waiting = [...listeners]
      if (rules.length > 0) {
        serve(waiting.shift()!, (socket) => {
          if (comesIn(socket, '', 'proxy')) proxy.serve(socket, { rules, begin, another: () => !tooFast() })
        })
      }
      for (const name of wanted.services) {
        serve(waiting.shift()!, (socket) => {
          if (comesIn(socket, name, 'service')) void connectService(socket, name, services.get(name), begin)
        })
      }
      return { close }
    },
  }
}

/** A connection to a service goes where the operator said; the name may be any that this machine knows, since the operator wrote it. */
async function connectService(guest: Socket, name: string, mapping: ServiceMapping | undefined, begin: Ledger): Promise<void> {
  const attempt = begin('service', name)
  const gone = new AbortController()
  const onClose = (): void => gone.abort()
  guest.once('close', onClose)
  try {
    if (!mapping) throw new DialError('refused', 'the operator has not mapped it (any more)')
    const signal = AbortSignal.any([gone.signal, AbortSignal.timeout(limits.egressConnectTimeoutMs)])
    const addresses = await systemLookup(mapping.target.host, { all: true }).catch(() => {
      throw new DialError('failed', 'its host has no address')
    })
    const { socket: outside, address } = await connectToOneOf(
      addresses.map((found) => found.address),
      mapping.target.port,
      signal,
    )
    attempt.connected(address)
    splice(guest, outside, (reason) => attempt.end('allowed', reason, { sentBytes: outside.bytesWritten, receivedBytes: outside.bytesRead }))
  } catch (error) {
    const known = error instanceof DialError ? error : new DialError('failed', String(error))
    attempt.end(known.verdict, known.message, { address: known.address })
    // A reset, so that clients don't take it for an answer.
    guest.resetAndDestroy()
  } finally {
    guest.off('close', onClose)
  }
}
