/** The real HTTP edge on a port of its own, in front of one in-process guest. */
import { connect } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'

import type { InvocationRecord, RoutedFunction, RoutedVersion } from '../../../src/functions/types.ts'
import { hostRulesOf } from '../../../src/gateway/address.ts'
import { createAccess } from '../../../src/gateway/auth.ts'
import type { Access } from '../../../src/gateway/auth.ts'
import type { AccessLog } from '../../../src/gateway/access-log.ts'
import { trustedProxiesOf } from '../../../src/gateway/client.ts'
import { createHealth } from '../../../src/gateway/health.ts'
import { createInFlight } from '../../../src/gateway/in-flight.ts'
import { createRateLimiter } from '../../../src/gateway/rate-limit.ts'
import { createRoutingTable } from '../../../src/gateway/routes.ts'
import { createEdge } from '../../../src/gateway/server.ts'
import type { Edge } from '../../../src/gateway/server.ts'
import { HostelError } from '../../../src/errors.ts'
import { Connection } from '../../../src/sandbox/connection.ts'
import type { Lease, Scheduler } from '../../../src/scheduler/types.ts'
import { createLogger } from '../../../src/telemetry/logger.ts'
import { serveGuest, socketPair } from './guest.ts'
import type { GuestHandler } from './guest.ts'

export interface TestGateway {
  port: number
  url: string
  records: InvocationRecord[]
  /** What was written into the function's log about its invocations. */
  notes: string[]
  /** Resolves when so many records have been written. */
  recorded(count: number): Promise<InvocationRecord[]>
  inFlight(): number
  setDraining(): void
  /** As the server's stop does. */
  drain(): void
  edge: Edge
  [Symbol.asyncDispose](): Promise<void>
}

export function testVersion(changes: Partial<RoutedVersion> = {}): RoutedVersion {
  return {
    tenant: 'default',
    function: 'hello',
    version: 1,
    runtime: 'test',
    handler: 'index.js',
    memoryMiB: 128,
    timeoutMs: 10_000,
    concurrency: 100,
    env: {},
    egress: [],
    services: [],
    codeDigest: '0'.repeat(64),
    contract: 'fetch',
    ...changes,
  }
}

export async function startGateway(
  handler: GuestHandler,
  options: {
    version?: Partial<RoutedVersion>
    functions?: RoutedFunction[]
    scheduler?: Partial<Scheduler>
    trustedProxies?: string[]
    clientLimit?: number
    accessLog?: AccessLog
    access?: Access
  } = {},
): Promise<TestGateway> {
  const records: InvocationRecord[] = []
  const notes: string[] = []
  const waiters: { count: number; resolve: (records: InvocationRecord[]) => void }[] = []
  let draining = false
  const [hostEnd, guestEnd] = await socketPair()
  serveGuest(guestEnd, handler)
  const scheduler = { ...(await oneSandboxScheduler(hostEnd, notes)), ...options.scheduler }
  const inFlight = createInFlight()
  const table = createRoutingTable({ onRetire() {}, onVersions() {} })
  table.replaceAll(options.functions ?? [{ tenant: 'default', name: 'hello', aliases: { live: 1 }, versions: [testVersion(options.version)] }])
  const edge = createEdge({
    table,
    access: options.access ?? createAccess(),
    proxies: trustedProxiesOf(options.trustedProxies ?? []),
    clientLimiter: options.clientLimit ? createRateLimiter(options.clientLimit, 100) : null,
    accessLog: options.accessLog ?? null,
    logger: createLogger('test'),
    health: createHealth({ table, scheduler, isDraining: () => draining }),
    hostRules: () => hostRulesOf('localhost', ['127.0.0.1']),
    isDraining: () => draining,
    services: {
      scheduler,
      record(record) {
        records.push(record)
        for (const waiter of waiters) if (records.length >= waiter.count) waiter.resolve(records)
      },
      count: inFlight.change,
      refusal: () => (draining ? new HostelError('shutting_down', undefined, { retryAfterSeconds: 1 }) : null),
    },
  })
  await new Promise<void>((resolve) => edge.server.listen(0, '127.0.0.1', resolve))
  const { port } = edge.server.address() as AddressInfo
  return {
    port,
    url: `http://127.0.0.1:${port}/default/hello`,
    records,
    notes,
    async recorded(count) {
      if (records.length >= count) return records
      const { promise, resolve, reject } = Promise.withResolvers<InvocationRecord[]>()
      waiters.push({ count, resolve })
      const timer = setTimeout(() => reject(new Error(`${records.length} records after 10 s, ${count} wanted`)), 10_000)
      try {
        return await promise
      } finally {
        clearTimeout(timer)
      }
    },
    inFlight: () => inFlight.count,
    setDraining() {
      draining = true
    },
    drain: edge.drain,
    edge,
    async [Symbol.asyncDispose]() {
      edge.end()
      await new Promise((resolve) => edge.server.close(resolve))
      hostEnd.destroy()
      guestEnd.destroy()
    },
  }
}

/** Every request goes into the one sandbox; when that has gone, its requests fail as lost. */
async function oneSandboxScheduler(socket: Socket, notes: string[]): Promise<Scheduler> {
  const connection = new Connection(socket, {
    specialised() {},
    initFailed() {},
    log: () => true,
    settled() {},
    closed() {
      for (const { sink, answered } of connection.abandon()) {
        if (!answered) sink.failed(new HostelError('exited', undefined, { facts: { exit: { kind: 'exit', exitCode: 3, oomKills: 0, lifetimeMs: 1 } } }))
        sink.settled()
      }
    },
  })
  await connection.handshake(5_000)
  connection.specialise({ tenant: 'default', function: 'hello', version: 1, handler: 'index.js', env: {}, memoryMiB: 128, timeoutMs: 1_000, concurrency: 100 })
  return {
    acquire(): Lease {
      return {
        sandbox: 1,
        start: 'warm',
        exchange: (head, sink) => connection.exchange(head, sink),
        extend() {},
        note: (text) => notes.push(text),
        release() {},
        [Symbol.dispose]() {},
      }
    },
    async prepare() {
      return { contract: 'fetch', initMs: 1 }
    },
    noteVersions() {},
    setQuotas() {},
    retire() {},
    list: async () => [],
    canServe: () => true,
    async stop() {},
  }
}

/** Sends bytes as they are and returns all that comes back until the server closes, or for so long. */
export async function rawExchange(port: number, bytes: string | Buffer, forMs = 3_000): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  const parts: Buffer[] = []
  const { promise, resolve } = Promise.withResolvers<void>()
  socket.on('data', (chunk: Buffer) => parts.push(chunk))
  socket.on('error', () => resolve())
  socket.on('end', () => resolve())
  socket.on('close', () => resolve())
  socket.write(bytes)
  const timer = setTimeout(resolve, forMs)
  await promise
  clearTimeout(timer)
  socket.destroy()
  return Buffer.concat(parts).toString('latin1')
}
