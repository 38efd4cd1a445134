/**
 * A small host for the suite: it says what a test tells it to, and holds every frame of the shim against
 * docs/reference/sandbox-protocol.md. What breaks a rule fails the test, at the latest when the host is disposed of.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Socket } from 'node:net'

import {
  FrameDecoder,
  encodeFrame,
  frameFlags,
  frameTypes,
  type Frame,
  type GuestError,
  type RequestMeta,
  type SpecialiseMessage,
} from '../../../src/sandbox/protocol.ts'
import { checkJson, checkLog, type LogFrame } from './rules.ts'
import { Call } from './call.ts'
import type { ShimRuntime, SpawnedShim } from './runtimes.ts'

/** Longest wait for anything; a shim that needs more on a busy machine is broken. */
export const WAIT_MS = 15_000

export interface RequestOptions {
  method?: string
  url?: string
  headers?: string[]
  /** Sent at once, as far as credit allows. Undefined: END on the head, unless `open`. */
  body?: Buffer | string
  /** The test sends the body with `call.send`. */
  open?: boolean
  meta?: Partial<RequestMeta>
  /** The test gives credit with `call.grant`; else what arrives is granted back at once. */
  holdCredit?: boolean
}

export class ShimHost {
  readonly shim: SpawnedShim
  readonly runtime: ShimRuntime
  readonly logs: LogFrame[] = []
  /** Code and signal of the shim's process, once it is gone and its output read. */
  private readonly exited: Promise<{ code: number | null; signal: string | null }>
  /** What it wrote to its real standard output and error. */
  output = ''
  /** The rule that the shim broke, if any. */
  violation: Error | null = null
  private told = false
  private socket: Socket
  private decoder = new FrameDecoder()
  private calls = new Map<number, Call>()
  private nextStream = 1
  private helloSent = false
  private ready = Promise.withResolvers<{ protocol: number; runtime: string; runtimeVersion: string }>()
  private specialising: PromiseWithResolvers<{ contract: string }> | null = null
  private specialised = false
  private readonly pings = new Map<number, () => void>()
  private nextToken = 0xffff_fff0
  private readonly wakers = new Set<() => void>()

  constructor(runtime: ShimRuntime) {
    this.runtime = runtime
    this.shim = runtime.spawn()
    const { process, first, second } = this.shim
    for (const stream of [process.stdout!, process.stderr!]) stream.setEncoding('utf8').on('data', (text: string) => (this.output += text))
    this.exited = new Promise((resolve) => process.once('close', (code, signal) => resolve({ code, signal })))
    this.socket = first
    for (const socket of [first, second]) {
      // What is sent to a shim that exits is lost; the exit itself is what tests look at.
      socket.on('error', () => {})
      socket.on('data', (chunk: Buffer) => this.read(socket, chunk))
    }
    this.ready.promise.catch(() => {})
  }

  /** HELLO; the answer is READY's payload. */
  hello(): Promise<{ protocol: number; runtime: string; runtimeVersion: string }> {
    this.helloSent = true
    this.raw(encodeFrame(frameTypes.HELLO, 0, 0, JSON.stringify({ protocol: 1 })))
    return this.within('READY', this.ready.promise)
  }

  /** SPECIALISE with a fixture. @throws InitFailed */
  specialise(fixture: string, options: Partial<SpecialiseMessage> = {}): Promise<{ contract: string }> {
    const message: SpecialiseMessage = {
      tenant: 'acme',
      function: 'orders',
      version: 7,
      handler: this.runtime.handler(fixture),
      env: {},
      memoryMiB: 256,
      timeoutMs: 30_000,
      concurrency: 100,
      ...options,
    }
    this.specialising = Promise.withResolvers()
    this.raw(encodeFrame(frameTypes.SPECIALISE, 0, 0, JSON.stringify(message)))
    const answer = this.within('SPECIALISED', this.specialising.promise)
    answer.catch(() => {})
    return answer
  }

  /** A request; the fixture `actions` does what its path says. */
  request(options: RequestOptions = {}): Call {
    const stream = this.nextStream++
    const call = new Call(this, stream, options)
    this.calls.set(stream, call)
    const url = options.url ?? '/hello'
    const meta: RequestMeta = { id: `invocation-${stream}`, deadlineMs: 30_000, ...options.meta }
    const head = JSON.stringify([
      options.method ?? (options.body === undefined ? 'GET' : 'POST'),
      url.startsWith('/') ? `http://orders.acme.localhost${url}` : url,
      options.headers ?? [],
      meta,
    ])
    this.raw(encodeFrame(frameTypes.REQUEST_HEAD, options.body === undefined && !options.open ? frameFlags.END : 0, stream, head))
    if (options.body !== undefined) call.send(Buffer.from(options.body), true)
    return call
  }

  /** A direct event; the result as JSON. */
  async event(event: unknown): Promise<unknown> {
    const { status, headers, body } = await this.request({ body: JSON.stringify(event), meta: { event: true } }).answer()
    if (status !== 200 || headers[headers.indexOf('content-type') + 1] !== 'application/json')
      throw new Error(`an event was answered with ${status} ${headers.join(' ')}`)
    return JSON.parse(body.toString())
  }

  /** Milliseconds from PING to PONG. */
  async ping(): Promise<number> {
    const token = this.nextToken++ >>> 0
    const { promise, resolve } = Promise.withResolvers<void>()
    this.pings.set(token, resolve)
    const payload = Buffer.alloc(4)
    payload.writeUInt32BE(token)
    const start = performance.now()
    this.raw(encodeFrame(frameTypes.PING, 0, 0, payload))
    await this.within('PONG', promise)
    return performance.now() - start
  }

  /** Ends fd 3 as a dying host does, and goes on with fd 4. */
  async fallBack(): Promise<{ protocol: number }> {
    this.socket.destroy()
    this.socket = this.shim.second
    this.decoder = new FrameDecoder()
    this.calls = new Map()
    this.nextStream = 1
    this.helloSent = false
    this.ready = Promise.withResolvers()
    // What the shim says here before HELLO is a violation; give it the time to.
    await sleep(100)
    return this.hello()
  }

  /** What is sent meanwhile leaves with one write, so that the shim reads it at once. */
  together<T>(send: () => T): T {
    this.socket.cork()
    try {
      return send()
    } finally {
      this.socket.uncork()
    }
  }

  /** Any bytes. */
  raw(bytes: Buffer): void {
    this.socket.write(bytes)
  }

  /** Ends the stream in use. */
  close(): void {
    this.socket.destroy()
  }

  /** How the shim's process ended. */
  async exit(): Promise<{ code: number | null; signal: string | null }> {
    const abort = new AbortController()
    const timeout = sleep(WAIT_MS, null, { signal: abort.signal }).then(() => this.complain(`the shim did not exit within ${WAIT_MS} ms`))
    timeout.catch(() => {})
    try {
      return await Promise.race([this.exited, timeout])
    } finally {
      abort.abort()
    }
  }

  /** Waits until what has come makes the condition true. */
  async until(what: string, condition: () => boolean): Promise<void> {
    if (!condition()) {
      const { promise, resolve } = Promise.withResolvers<void>()
      const check = (): void => {
        if (condition()) resolve()
      }
      this.wakers.add(check)
      try {
        await this.within(what, promise)
      } finally {
        this.wakers.delete(check)
      }
    }
  }

  /** Lines of one invocation as `level text`, or of none with 0. */
  linesOf(call: Call | 0): string[] {
    const stream = call === 0 ? 0 : call.stream
    return this.logs.filter((log) => log.stream === stream).map((log) => `${log.level} ${log.text}`)
  }

  /** Bounds a wait, and breaks it off when the shim breaks a rule or exits. */
  async within<T>(what: string, promise: Promise<T>): Promise<T> {
    const abort = new AbortController()
    const timeout = sleep(WAIT_MS, null, { signal: abort.signal }).then(() => this.complain(`no ${what} within ${WAIT_MS} ms`))
    const gone = this.exited.then(async ({ code, signal }) => {
      // What it sent before its end is read first.
      await sleep(50, null, { signal: abort.signal })
      this.complain(`the shim exited with ${code ?? signal} before ${what}`)
    })
    for (const loser of [timeout, gone]) loser.catch(() => {})
    try {
      const result = (await Promise.race([promise, timeout, gone])) as T
      if (this.violation) this.complain('')
      return result
    } finally {
      abort.abort()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.shim.process.kill('SIGKILL')
    this.shim.first.destroy()
    this.shim.second.destroy()
    await this.exited
    if (this.violation && !this.told) throw this.violation
  }

  private complain(text: string): never {
    this.told = true
    throw this.violation ?? new Error(this.output ? `${text}\n${this.output}` : text)
  }

  private read(socket: Socket, chunk: Buffer): void {
    if (this.violation) return
    try {
      if (socket !== this.socket) throw new Error('bytes on the descriptor that is not in use')
      this.decoder.push(chunk, (frame) => this.check(frame))
    } catch (error) {
      this.violation = error as Error
      // Whoever waits sees the violation in place of what it waits for.
      this.shim.process.kill('SIGKILL')
    }
    for (const wake of this.wakers) wake()
  }

  private check(frame: Frame): void {
    const { type, flags, stream, payload } = frame
    const name = Object.entries(frameTypes).find(([, value]) => value === type)?.[0] ?? `0x${type.toString(16)}`
    if (!this.helloSent) throw new Error(`${name} before HELLO`)
    if (type === frameTypes.LOG) {
      if (stream >= this.nextStream) throw new Error(`LOG for stream ${stream}, which was never opened`)
      this.logs.push(checkLog(frame))
      return
    }
    if (stream !== 0) {
      const call = this.calls.get(stream)
      if (!call) throw new Error(`${name} for stream ${stream}, which was never opened`)
      if (!this.specialised) throw new Error(`${name} for stream ${stream} before SPECIALISED`)
      call.receive(name, frame)
      return
    }
    if (flags !== 0) throw new Error(`${name} with flags ${flags}`)
    if (type === frameTypes.READY) this.ready.resolve(checkJson(name, payload) as Awaited<typeof this.ready.promise>)
    else if (type === frameTypes.PONG) this.pong(payload)
    else if (type === frameTypes.SPECIALISED || type === frameTypes.INIT_FAILED) this.receiveSpecialised(name, checkJson(name, payload))
    else throw new Error(`${name} on stream 0`)
  }

  private pong(payload: Buffer): void {
    const token = payload.readUInt32BE()
    const answered = this.pings.get(token)
    if (!answered || payload.length !== 4) throw new Error('a PONG that no PING asked for')
    this.pings.delete(token)
    answered()
  }

  private receiveSpecialised(name: string, message: unknown): void {
    if (!this.specialising || this.specialised) throw new Error(`${name} without SPECIALISE`)
    if (name === 'SPECIALISED') {
      this.specialised = true
      this.specialising.resolve(message as { contract: string })
    } else {
      this.specialising.reject(new InitFailed(message as GuestError))
      this.specialising = null
    }
  }
}

/** INIT_FAILED. */
export class InitFailed extends Error {
  readonly guest: GuestError

  constructor(guest: GuestError) {
    super(guest.message)
    this.guest = guest
  }
}
