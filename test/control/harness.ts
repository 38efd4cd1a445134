/** Starts the real control process with a stand-in for the keeper (IPC, listening socket) and one for the gateway (the link). */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, connect } from 'node:net'
import type { Server, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createGzip } from 'node:zlib'
import { pack } from 'tar-stream'

import type { InvocationRecord, LogLine, RoutedFunction, RoutedVersion } from '../../src/functions/types.ts'
import type { ChildSettings } from '../../src/keeper/messages.ts'
import { Link } from '../../src/link/link.ts'
import type { LinkCalls, LinkEvents } from '../../src/link/messages.ts'

export const ADMIN_TOKEN = 'a-token-for-tests-only'

const START_TIMEOUT_MS = 20_000

/** A gateway that remembers what it is told, and answers as a test wants. */
export interface StandInGateway {
  link: Link
  routes: RoutedFunction[]
  changes: { name: keyof LinkEvents; payload: unknown }[]
  prepared: RoutedVersion[]
  /** What the next `prepare` calls answer. */
  answer: (version: RoutedVersion) => LinkCalls['prepare']['result'] | Promise<LinkCalls['prepare']['result']>
  sandboxes: LinkCalls['sandboxes']['result']['sandboxes']
}

export interface TestControl {
  url: string
  port: number
  dataDir: string
  child: ChildProcess
  /** What it wrote to standard error. */
  log(): string
  /** Gives it a link, and waits for the routes. */
  connectGateway(): Promise<StandInGateway>
  request(
    method: string,
    path: string,
    options?: { body?: unknown; token?: string | null; headers?: Record<string, string>; signal?: AbortSignal },
  ): Promise<Response>
  /** A request whose answer is JSON; throws when its status is not the expected one. */
  json<T = Record<string, unknown>>(method: string, path: string, body?: unknown, status?: number): Promise<T>
  /** kill -9, and waits until it is gone. */
  kill(): Promise<void>
  /** As the keeper does it; gives the exit code. */
  stop(withinMs?: number): Promise<number | null>
}

/** A directory of its own for a test. */
export function temporaryDirectory(): Disposable & { path: string } {
  const path = mkdtempSync(join(tmpdir(), 'hostel-control-'))
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) }
}

/** @throws Error with what control wrote when it does not get ready. */
export async function startControl(dataDir: string, settings: Partial<ChildSettings> = {}): Promise<TestControl> {
  const listener = createServer().listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const { port } = listener.address() as { port: number }
  const child = spawn(process.execPath, [new URL('../../src/control.ts', import.meta.url).pathname], {
    // As the keeper does it: standard streams, the channel on fd 3, the listening socket on fd 4.
    // eslint-disable-next-line no-underscore-dangle -- Node tells a listener's descriptor nowhere else.
    stdio: ['ignore', 'inherit', 'pipe', 'ipc', (listener as Server & { _handle: { fd: number } })._handle.fd],
  })
  let log = ''
  child.stderr!.on('data', (chunk: Buffer) => (log += chunk.toString()))
  const ended = once(child, 'exit')
  listener.close()
  child.send({ type: 'start', settings: { ...defaults(dataDir, port), ...settings } })
  const ready = Promise.withResolvers<void>()
  child.on('message', (message: { type: string }) => message.type === 'ready' && ready.resolve())
  const timer = setTimeout(() => ready.reject(new Error(`control did not get ready: ${log}`)), START_TIMEOUT_MS)
  try {
    await Promise.race([ready.promise, ended.then(() => Promise.reject(new Error(`control ended: ${log}`)))])
  } catch (error) {
    child.kill('SIGKILL')
    throw error
  } finally {
    clearTimeout(timer)
  }

  const url = `http://127.0.0.1:${port}`
  const control: TestControl = {
    url,
    port,
    dataDir,
    child,
    log: () => log,
    connectGateway: () => connectGateway(child),
    request(method, path, options = {}) {
      const { body, token = ADMIN_TOKEN, headers = {}, signal } = options
      const isRaw = body instanceof Uint8Array || typeof body === 'string'
      return fetch(`${url}${path}`, {
        method,
        headers: {
          ...(token !== null && { authorization: `Bearer ${token}` }),
          ...(body !== undefined && !isRaw && { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(body !== undefined && { body: isRaw ? (body as string) : JSON.stringify(body) }),
        ...(signal && { signal }),
      })
    },
    async json<T>(method: string, path: string, body?: unknown, status = 200) {
      const response = await control.request(method, path, { body })
      const text = await response.text()
      if (response.status !== status) throw new Error(`${method} ${path} answered ${response.status} instead of ${status}: ${text}`)
      return JSON.parse(text) as T
    },
    async kill() {
      child.kill('SIGKILL')
      await ended
    },
    async stop(withinMs = 5_000) {
      if (child.exitCode === null && child.signalCode === null) child.send({ type: 'stop', withinMs })
      await ended
      return child.exitCode
    },
  }
  return control
}

function defaults(dataDir: string, port: number): ChildSettings {
  return {
    dataDir,
    runtimes: [
      { name: 'nodejs24', version: '24.21.0', entryFiles: ['index.ts', 'index.js', 'index.mjs'] },
      { name: 'python3', version: '3.11.2', entryFiles: ['main.py'] },
    ],
    gatewayAddress: '127.0.0.1:8080',
    apiAddress: `127.0.0.1:${port}`,
    domain: 'localhost',
    keepWarmMs: 600_000,
    memoryBudgetMiB: 1_024,
    maxSandboxes: 100,
    services: [],
    egressAllow: [],
    egressDns: [],
    memoryReserveMiB: 256,
    retention: { keepMs: 86_400_000, maxBytes: 1_073_741_824, tenantMaxBytes: 1_073_741_824 },
    otlp: null,
    traceRatio: 0,
    registries: { npm: 'http://127.0.0.1:9/', pip: 'http://127.0.0.1:9/simple' },
    adminToken: ADMIN_TOKEN,
  }
}

async function connectGateway(child: ChildProcess): Promise<StandInGateway> {
  const [ours, theirs] = await socketPair()
  const routes = Promise.withResolvers<void>()
  const gateway: StandInGateway = {
    routes: [],
    changes: [],
    prepared: [],
    sandboxes: [],
    answer: () => ({ contract: 'fetch', initMs: 12.5 }),
    link: new Link(ours, {
      events: {
        routes: ({ functions, first, last }) => {
          gateway.routes = [...(first ? [] : gateway.routes), ...functions]
          if (last) routes.resolve()
        },
        route: (payload) => gateway.changes.push({ name: 'route', payload }),
        unroute: (payload) => gateway.changes.push({ name: 'unroute', payload }),
      },
      calls: {
        prepare: async ({ version }) => {
          gateway.prepared.push(version)
          return gateway.answer(version)
        },
        sync: async () => ({}),
        sandboxes: async () => ({ sandboxes: gateway.sandboxes }),
      },
    }),
  }
  child.send({ type: 'link' }, theirs)
  await routes.promise
  return gateway
}

/** Two connected streams; the keeper uses socketpair(2), which Node can't. */
async function socketPair(): Promise<[Socket, Socket]> {
  const server = createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const ours = connect((server.address() as { port: number }).port, '127.0.0.1')
  const [theirs] = (await once(server, 'connection')) as [Socket]
  server.close()
  return [ours, theirs]
}

/** A gzipped tar archive of these files. */
export async function archiveOf(files: Record<string, string>): Promise<Buffer> {
  const tar = pack()
  for (const [name, content] of Object.entries(files)) tar.entry({ name }, content)
  tar.finalize()
  return gzipped(tar as unknown as NodeJS.ReadableStream)
}

export async function gzipped(stream: NodeJS.ReadableStream): Promise<Buffer> {
  const zip = createGzip()
  stream.pipe(zip)
  const chunks: Buffer[] = []
  for await (const chunk of zip) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

/** Uploads files and makes a version of them. */
export async function deploy(
  control: TestControl,
  name: string,
  files: Record<string, string>,
  config: Record<string, unknown> = {},
): Promise<{ version: number; codeDigest: string; unchanged: boolean }> {
  const upload = await control.request('PUT', '/v1/tenants/default/code', { body: await archiveOf(files), headers: { 'content-type': 'application/gzip' } })
  if (upload.status !== 200) throw new Error(`upload answered ${upload.status}: ${await upload.text()}`)
  const { digest } = (await upload.json()) as { digest: string }
  return control.json('POST', `/v1/tenants/default/functions/${name}/versions`, { code: digest, ...config })
}

let nextRecord = 0
/** An invocation id whose order is that of calls. */
export function newId(atMs = Date.now()): string {
  nextRecord += 1
  const time = atMs.toString(16).padStart(12, '0')
  return `${time.slice(0, 8)}-${time.slice(8)}-7${(nextRecord >> 12).toString(16).padStart(3, '0')}-8${(nextRecord & 0xfff).toString(16).padStart(3, '0')}-000000000000`
}

export function recordOf(changes: Partial<InvocationRecord> = {}): InvocationRecord {
  return {
    id: newId(),
    tenant: 'default',
    function: 'hello',
    version: 1,
    sandbox: 7,
    method: 'GET',
    path: '/',
    status: 200,
    outcome: 'ok',
    start: 'spare',
    startedAtMs: Date.now(),
    acquireMs: 1.5,
    forwardMs: 3.25,
    totalMs: 4.75,
    requestBytes: 0,
    responseBytes: 5,
    detail: null,
    ...changes,
  }
}

let nextSequence = 0
export function lineOf(changes: Partial<LogLine> = {}): LogLine {
  nextSequence += 1
  return {
    tenant: 'default',
    function: 'hello',
    version: 1,
    sandbox: 7,
    invocation: null,
    sequence: nextSequence,
    atMs: Date.now(),
    level: 'stdout',
    text: `line ${nextSequence}`,
    ...changes,
  }
}
