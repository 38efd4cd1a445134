/** The gateway's end of the channel to the keeper: typed requests and answers, and the three descriptors of a boot. */
import { Server, Socket } from 'node:net'

import { HostelError } from '../errors.ts'
import type { ErrorCode } from '../errors.ts'
import type { Doors, FromKeeper, SandboxExit, SpareClass, ToKeeper } from '../keeper/messages.ts'
import { limits } from '../limits.ts'

/** Sends one message to the keeper; `(message) => process.send!(message)` in the gateway. */
export type SendToKeeper = (message: ToKeeper) => void

/** A sandbox with its three descriptors, all paused. */
export interface HandedSandbox {
  sandbox: number
  stream: Socket
  stdout: Socket
  stderr: Socket
}

/** A sandbox that outlived the gateway before. */
export interface AdoptedSandbox extends HandedSandbox {
  /** Its doors, in the order in which they were asked for. */
  doors: Server[]
  spareClass: SpareClass
  label: string | null
}

/** Calls fail with HostelError `unavailable`, `no_capacity`, `shutting_down` or `internal`; each has a deadline of its own. */
export interface KeeperClient {
  boot(spareClass: SpareClass): Promise<HandedSandbox>
  /** Gives the listeners of the doors, in their order. */
  specialise(sandbox: number, codeDigest: string, label: string, doors?: Doors): Promise<Server[]>
  freeze(sandbox: number): Promise<void>
  thaw(sandbox: number): Promise<void>
  end(sandbox: number, graceMs: number): void
  /** Bytes in use by sandbox. */
  usage(): Promise<Map<number, number>>
  /** Set by the scheduler. */
  onExited: (sandbox: number, exit: SandboxExit) => void
  /** Set by the scheduler; what arrives before is kept for it. */
  onAdopt: (adopted: AdoptedSandbox) => void
  /** Feed every message of the channel here; false: not one for this client (`start`, `link`, `stop` are the composition root's). */
  receive(message: FromKeeper, handle?: unknown): boolean
}

/** The keeper answers all but `boot` within a millisecond or so; this is for a machine that thrashes. */
const ANSWER_TIMEOUT_MS = 5_000

const CODES: Record<Extract<FromKeeper, { type: 'failed' }>['code'], ErrorCode> = {
  invalid: 'internal',
  unknown_sandbox: 'unavailable',
  unknown_runtime: 'not_supported',
  unknown_code: 'internal',
  no_slot: 'no_capacity',
  boot_failed: 'unavailable',
  stopping: 'shutting_down',
  system: 'unavailable',
}

interface Parts {
  stream?: Socket
  stdout?: Socket
  stderr?: Socket
  doors: Server[]
}
interface Pending {
  resolve(answer: FromKeeper): void
  reject(error: HostelError): void
}

/** A boot that is answered after its deadline has made a sandbox that nobody wants: it is ended here. */
export function createKeeperClient(send: SendToKeeper): KeeperClient {
  let nextReq = 1
  const pending = new Map<number, Pending>()
  /** Handles of boots that have come, by request. */
  const parts = new Map<number, Parts>()
  /** Boots given up on; the answer may still come. */
  const lateBoots = new Set<number>()
  const adoptions = new Map<number, { announced: Extract<FromKeeper, { type: 'adopt' }>; parts: Parts }>()
  let early: AdoptedSandbox[] | null = []
  let adopt: ((adopted: AdoptedSandbox) => void) | null = null

  async function call(build: (req: number) => ToKeeper, timeoutMs: number): Promise<{ req: number; answer: FromKeeper }> {
    const req = nextReq++
    const message = build(req)
    const { promise, resolve, reject } = Promise.withResolvers<FromKeeper>()
    pending.set(req, { resolve, reject })
    const timer = setTimeout(() => reject(new HostelError('unavailable', `the keeper did not answer ${message.type} within ${timeoutMs} ms`)), timeoutMs)
    try {
      send(message)
      return { req, answer: await promise }
    } catch (error) {
      discard(req)
      if (message.type === 'boot') lateBoots.add(req)
      if (error instanceof HostelError) throw error
      throw new HostelError('unavailable', 'the keeper cannot be reached', { cause: error })
    } finally {
      clearTimeout(timer)
      pending.delete(req)
    }
  }

  function discard(req: number): void {
    const got = parts.get(req)
    parts.delete(req)
    if (got) destroy(got)
  }

  function receiveHanded(message: Extract<FromKeeper, { type: 'handed' }>, handle: unknown): void {
    if (message.req === 0) {
      const adoption = adoptions.get(message.sandbox)
      if (!keep(message, handle, adoption?.parts)) return
      if (adoption === undefined) return
      const { stream, stdout, stderr } = adoption.parts
      if (stream === undefined || stdout === undefined || stderr === undefined) return
      adoptions.delete(message.sandbox)
      const { sandbox, spareClass, label } = adoption.announced
      const adopted = { sandbox, spareClass, label, stream, stdout, stderr, doors: adoption.parts.doors }
      if (adopt !== null) adopt(adopted)
      else early?.push(adopted)
      return
    }
    const got = pending.has(message.req) ? (parts.get(message.req) ?? { doors: [] }) : undefined
    if (keep(message, handle, got)) parts.set(message.req, got!)
  }

  const client: KeeperClient = {
    async boot(spareClass) {
      const { req, answer } = await call((id) => ({ type: 'boot', req: id, spareClass }), limits.bootTimeoutMs)
      const { stream, stdout, stderr } = parts.get(req) ?? { doors: [] }
      if (answer.type !== 'done' || answer.sandbox === undefined || stream === undefined || stdout === undefined || stderr === undefined) {
        discard(req)
        throw new HostelError('internal', 'the keeper booted a sandbox without handing over its streams')
      }
      parts.delete(req)
      return { sandbox: answer.sandbox, stream, stdout, stderr }
    },
    async specialise(sandbox, codeDigest, label, doors) {
      const { req } = await call((id) => ({ type: 'specialise', req: id, sandbox, codeDigest, label, ...(doors && { doors }) }), ANSWER_TIMEOUT_MS)
      const opened = parts.get(req)?.doors ?? []
      parts.delete(req)
      return opened
    },
    async freeze(sandbox) {
      await call((req) => ({ type: 'freeze', req, sandbox }), ANSWER_TIMEOUT_MS)
    },
    async thaw(sandbox) {
      await call((req) => ({ type: 'thaw', req, sandbox }), ANSWER_TIMEOUT_MS)
    },
    end(sandbox, graceMs) {
      try {
        send({ type: 'end', sandbox, graceMs })
      } catch {
        // Without a keeper there are no sandboxes either, and this process is about to end.
      }
    },
    async usage() {
      const { answer } = await call((req) => ({ type: 'usage', req }), ANSWER_TIMEOUT_MS)
      return new Map(answer.type === 'usage' ? answer.sandboxes.map((entry) => [entry.sandbox, entry.memoryBytes]) : [])
    },
    onExited() {},
    set onAdopt(handler: (adopted: AdoptedSandbox) => void) {
      adopt = handler
      for (const adopted of early ?? []) handler(adopted)
      early = null
    },
    get onAdopt() {
      return adopt ?? (() => {})
    },
    receive(message, handle) {
      switch (message.type) {
        case 'handed':
          receiveHanded(message, handle)
          return true
        case 'done':
        case 'usage': {
          const waiting = pending.get(message.req)
          if (waiting !== undefined) waiting.resolve(message)
          else if (lateBoots.delete(message.req) && message.type === 'done' && message.sandbox !== undefined) client.end(message.sandbox, 0)
          return true
        }
        case 'failed':
          lateBoots.delete(message.req)
          pending.get(message.req)?.reject(new HostelError(CODES[message.code], message.message, { facts: { keeper: message.code } }))
          return true
        case 'exited':
          client.onExited(message.sandbox, message.exit)
          return true
        case 'adopt':
          adoptions.set(message.sandbox, { announced: message, parts: { doors: [] } })
          return true
        default:
          return false
      }
    },
  }
  return client
}

/** Puts a handle where it belongs; without a place for it, it is let go. Whether it was kept. */
function keep(message: Extract<FromKeeper, { type: 'handed' }>, handle: unknown, into: Parts | undefined): boolean {
  if (handle instanceof Server) {
    if (into && message.part === 'door') into.doors.push(handle)
    else handle.close()
    return into !== undefined && message.part === 'door'
  }
  if (!(handle instanceof Socket)) return false
  if (into && message.part !== 'door') into[message.part] = handle
  else handle.destroy()
  return into !== undefined && message.part !== 'door'
}

function destroy(got: Parts): void {
  for (const socket of [got.stream, got.stdout, got.stderr]) socket?.destroy()
  for (const door of got.doors) door.close()
}
