/**
 * The host's end of one sandbox: handshake, specialisation, many exchanges at once, logs, pings, and the rules a guest must keep
 * (docs/reference/sandbox-protocol.md). It knows nothing of tenants, pools or the keeper.
 */
import type { Socket } from 'node:net'

import { HostelError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { ExchangeSink, RequestHead } from './exchange.ts'
import { FLOOD_PAUSE_MS } from './log-intake.ts'
import type { LogOwner } from './log-intake.ts'
import { Outbox } from './outbox.ts'
import { FrameDecoder, frameFlags, frameTypes, PROTOCOL_VERSION, ProtocolViolation } from './protocol.ts'
import type { Contract, Frame, GuestError, SpecialiseMessage } from './protocol.ts'
import { GuestStream } from './stream.ts'
import { parseGuestError, parseReady, parseSpecialised, parseU32 } from './validate.ts'
import type { ReadyMessage } from './validate.ts'

export interface ConnectionHandlers {
  specialised(contract: Contract): void
  initFailed(error: GuestError): void
  /** False: reading pauses for a moment. The bytes must not be kept. */
  log(level: LogLevel, owner: LogOwner | null, text: Buffer): boolean
  /** An invocation has settled in the guest. */
  settled(owner: LogOwner): void
  /** The stream is at its end, exactly once. What was running is to be fetched with `abandon`. */
  closed(end: ConnectionEnd): void
}

/** `eof`: the guest's end is gone. `violation`: it broke a rule. `fault`: ours, not its. `closed`: we closed it. */
export type ConnectionEnd = { kind: 'eof' | 'closed' } | { kind: 'violation'; rule: string } | { kind: 'fault'; error: Error }

export type LogLevel = 'stdout' | 'stderr' | 'debug' | 'info' | 'warn' | 'error'

/** What was running when a connection ended. */
export interface Abandoned {
  /** As given to `exchange`. */
  sink: ExchangeSink
  /** The guest may have begun with it. */
  begun: boolean
  /** Nothing more is to be told of the answer: it is complete, broken off or cancelled. */
  answered: boolean
}

const LOG_LEVELS: readonly (LogLevel | undefined)[] = [undefined, 'stdout', 'stderr', 'debug', 'info', 'warn', 'error']
/** A level byte, the text, and the mark of a cut line. */
const LOG_PAYLOAD_MAX_BYTES = 1 + limits.logLineMaxBytes + 64
/** Streams that have settled and whose late log lines still find their invocation; a power of two. */
const RECENT_STREAMS = 64
/** Frames that a guest may send within a window before reading pauses: many times what answers take. Most cost nothing but our time, which all share. */
const FRAMES_MAX = 10_000
const FRAMES_WINDOW_MS = 100
/** The last stream number that is used; a sandbox that has answered so many requests is replaced. */
export const STREAM_MAX = 0xffff_fff0

/** Frames a shim may send, with the flags they may carry. */
const FLAGS_ALLOWED: Readonly<Record<number, number>> = {
  [frameTypes.READY]: 0,
  [frameTypes.SPECIALISED]: 0,
  [frameTypes.INIT_FAILED]: 0,
  [frameTypes.RESPONSE_HEAD]: frameFlags.END | frameFlags.SETTLED,
  [frameTypes.RESPONSE_BODY]: frameFlags.END | frameFlags.SETTLED,
  [frameTypes.RESPONSE_ERROR]: frameFlags.END | frameFlags.SETTLED,
  [frameTypes.SETTLED]: frameFlags.SETTLED,
  [frameTypes.CREDIT]: 0,
  [frameTypes.LOG]: 0,
  [frameTypes.PONG]: 0,
}

type State = 'new' | 'hello' | 'ready' | 'specialising' | 'open' | 'closed'

export class Connection {
  private readonly socket: Socket
  private readonly outbox: Outbox
  private readonly handlers: ConnectionHandlers
  private readonly decoder = new FrameDecoder()
  private readonly streams = new Map<number, GuestStream>()
  private readonly recent: (GuestStream | undefined)[] = []
  private state: State = 'new'
  private wasSpecialised = false
  private nextStream = 1
  private nextToken = 1
  private frames = 0
  private windowStartMs = 0
  private readonly pings = new Map<number, () => void>()
  private readonly adopted: boolean
  private readyWaiter: { resolve: (ready: ReadyMessage) => void; reject: (error: Error) => void } | null = null

  /** `adopted`: the sandbox was specialised over an earlier stream, and stays so. */
  constructor(socket: Socket, handlers: ConnectionHandlers, options: { adopted?: boolean } = {}) {
    this.socket = socket
    this.handlers = handlers
    this.adopted = options.adopted ?? false
    this.outbox = new Outbox(socket, () => {
      for (const stream of this.streams.values()) stream.pump()
    })
    socket.on('data', (chunk: Buffer) => this.read(chunk))
    // 'close' follows both, and is where ends are handled.
    socket.on('error', () => {})
    socket.on('end', () => socket.destroy())
    socket.once('close', () => this.finish({ kind: 'eof' }))
    // It is handed over paused, lest early bytes be lost.
    socket.resume()
  }

  /** Requests that have not settled. */
  get running(): number {
    return this.streams.size
  }

  /** The request that runs, if it is the only one. */
  get soleRunning(): LogOwner | null {
    if (this.streams.size !== 1) return null
    return this.streams.values().next().value ?? null
  }

  /** Bytes that wait for the guest to read them. */
  get unsentBytes(): number {
    return this.socket.writableLength
  }

  /** Says hello. @throws HostelError `unavailable` when READY does not come in time, or at all. */
  async handshake(timeoutMs: number): Promise<ReadyMessage> {
    const { promise, resolve, reject } = Promise.withResolvers<ReadyMessage>()
    if (this.state === 'closed') throw new HostelError('unavailable', 'the sandbox closed its stream before it said a word')
    this.readyWaiter = { resolve, reject }
    this.state = 'hello'
    this.outbox.frame(frameTypes.HELLO, 0, 0, JSON.stringify({ protocol: PROTOCOL_VERSION }))
    const timer = setTimeout(() => reject(new HostelError('unavailable', `the sandbox was not ready within ${timeoutMs} ms`)), timeoutMs)
    try {
      return await promise
    } finally {
      clearTimeout(timer)
      this.readyWaiter = null
    }
  }

  /** Makes it a version's; once. The answer is `handlers.specialised` or `initFailed`. Requests may follow at once. @throws HostelError `init_failed` when the environment is too large. */
  specialise(message: SpecialiseMessage): void {
    if (this.state !== 'ready') return
    const payload = JSON.stringify(message)
    const bytes = Buffer.byteLength(payload)
    if (bytes > limits.framePayloadMaxBytes)
      throw new HostelError('init_failed', `the environment takes ${bytes} bytes as JSON, over the limit of ${limits.framePayloadMaxBytes}`)
    this.state = 'specialising'
    this.outbox.frame(frameTypes.SPECIALISE, 0, 0, payload)
  }

  /** Starts an exchange; the sink hears nothing before this has returned. @throws HostelError `headers_too_large`, `unavailable`. */
  exchange(head: RequestHead, sink: ExchangeSink): GuestStream {
    if (this.state !== 'open' && this.state !== 'specialising') throw new HostelError('unavailable', 'the sandbox is gone')
    const id = this.nextStream
    const stream = new GuestStream(id, head, sink, this.outbox, this.onStreamSettled)
    try {
      this.outbox.frame(frameTypes.REQUEST_HEAD, head.endStream ? frameFlags.END : 0, id, JSON.stringify([head.method, head.url, head.headers, head.meta]))
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
      throw new HostelError('headers_too_large', 'the request head does not fit a frame', { cause: error })
    }
    this.nextStream++
    stream.headEndsAtBytes = this.outbox.totalBytes
    this.streams.set(id, stream)
    return stream
  }

  /** Whether the guest's event loop answers in time. */
  async ping(timeoutMs: number): Promise<boolean> {
    if (this.state === 'closed') return false
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const token = this.nextToken++ >>> 0
    this.pings.set(token, () => resolve(true))
    const payload = Buffer.allocUnsafe(4)
    payload.writeUInt32BE(token, 0)
    this.outbox.frame(frameTypes.PING, 0, 0, payload)
    const timer = setTimeout(() => resolve(false), timeoutMs)
    try {
      return await promise
    } finally {
      clearTimeout(timer)
    }
  }

  /** Ends the stream from our side. */
  close(): void {
    this.finish({ kind: 'closed' })
  }

  /** Takes out, after the end, what had not settled. The caller tells the sinks. */
  abandon(): Abandoned[] {
    const abandoned = [...this.streams.values()].map((stream) => ({
      sink: stream.sink,
      begun: this.wasSpecialised && stream.headEndsAtBytes <= this.outbox.handedBytes,
      answered: stream.answerEnded || stream.cancelled,
    }))
    this.streams.clear()
    return abandoned
  }

  private read(chunk: Buffer): void {
    if (this.state === 'closed') return
    const nowMs = performance.now()
    if (nowMs - this.windowStartMs >= FRAMES_WINDOW_MS) {
      this.windowStartMs = nowMs
      this.frames = 0
    }
    try {
      this.decoder.push(chunk, this.onFrame)
    } catch (error) {
      if (error instanceof ProtocolViolation) this.finish({ kind: 'violation', rule: error.message })
      else this.finish({ kind: 'fault', error: error as Error })
      return
    }
    if (this.frames > FRAMES_MAX) this.pauseBriefly()
  }

  private readonly onFrame = (frame: Frame): void => {
    // A sink or handler may have closed the connection while a chunk's frames are gone through.
    if (this.state === 'closed') return
    this.frames++
    const { type, flags, stream, payload } = frame
    const allowed = FLAGS_ALLOWED[type]
    if (allowed === undefined) throw new ProtocolViolation(`a frame of type 0x${type.toString(16).padStart(2, '0')}, which a shim does not send`)
    if ((flags & ~allowed) !== 0) throw new ProtocolViolation('a flag that its frame does not have')
    if (type === frameTypes.LOG) this.receiveLog(stream, payload)
    else if (stream === 0) this.receiveControl(type, payload)
    else {
      const target = this.streams.get(stream)
      if (target === undefined)
        throw new ProtocolViolation(stream < this.nextStream ? 'a frame after its request had settled' : 'a frame for a request that was never sent')
      if (this.state !== 'open') throw new ProtocolViolation('an answer before SPECIALISED')
      target.receive(type, flags, payload)
    }
  }

  private receiveControl(type: number, payload: Buffer): void {
    switch (type) {
      case frameTypes.READY: {
        if (this.state !== 'hello') throw new ProtocolViolation('READY without HELLO')
        const ready = parseReady(payload)
        this.state = this.adopted ? 'open' : 'ready'
        this.wasSpecialised = this.adopted
        this.readyWaiter?.resolve(ready)
        return
      }
      case frameTypes.SPECIALISED: {
        if (this.state !== 'specialising') throw new ProtocolViolation('SPECIALISED without SPECIALISE')
        const contract = parseSpecialised(payload)
        this.state = 'open'
        this.wasSpecialised = true
        this.handlers.specialised(contract)
        return
      }
      case frameTypes.INIT_FAILED:
        if (this.state !== 'specialising') throw new ProtocolViolation('INIT_FAILED without SPECIALISE')
        this.handlers.initFailed(parseGuestError(payload, 'INIT_FAILED'))
        return
      case frameTypes.PONG: {
        const token = parseU32(payload, 'PONG')
        const answered = this.pings.get(token)
        if (answered === undefined) throw new ProtocolViolation('a PONG that no PING asked for')
        this.pings.delete(token)
        answered()
        return
      }
      default:
        throw new ProtocolViolation(`a frame of type 0x${type.toString(16).padStart(2, '0')} without a request`)
    }
  }

  private receiveLog(stream: number, payload: Buffer): void {
    if (this.state === 'new' || this.state === 'hello') throw new ProtocolViolation('LOG before READY')
    if (payload.length > LOG_PAYLOAD_MAX_BYTES) throw new ProtocolViolation(`a log line over ${limits.logLineMaxBytes} bytes`)
    if (stream >= this.nextStream) throw new ProtocolViolation('a log line for a request that was never sent')
    const level = payload.length > 0 ? LOG_LEVELS[payload[0]!] : undefined
    if (level === undefined) throw new ProtocolViolation('a log line without a known level')
    if (!this.handlers.log(level, stream === 0 ? null : this.ownerOf(stream), payload.subarray(1))) this.pauseBriefly()
  }

  private ownerOf(stream: number): LogOwner | null {
    const running = this.streams.get(stream)
    if (running !== undefined) return running
    const recent = this.recent[stream % RECENT_STREAMS]
    return recent?.id === stream ? recent : null
  }

  private pauseBriefly(): void {
    this.socket.pause()
    setTimeout(() => this.socket.resume(), FLOOD_PAUSE_MS)
  }

  private readonly onStreamSettled = (stream: GuestStream): void => {
    this.streams.delete(stream.id)
    this.recent[stream.id % RECENT_STREAMS] = stream
    this.handlers.settled(stream)
  }

  private finish(end: ConnectionEnd): void {
    if (this.state === 'closed') return
    this.state = 'closed'
    this.socket.destroy()
    this.readyWaiter?.reject(
      new HostelError('unavailable', end.kind === 'violation' ? `the sandbox broke the protocol: ${end.rule}` : 'the sandbox ended before it was ready'),
    )
    this.handlers.closed(end)
  }
}
