/** One request of the suite's host: its body going out and its answer coming in, each frame checked. */
import { limits } from '../../../src/limits.ts'
import { encodeFrame, frameFlags, frameTypes, type Frame, type GuestError } from '../../../src/sandbox/protocol.ts'
import type { RequestOptions, ShimHost } from './host.ts'
import { checkGuestError, checkResponseHead } from './rules.ts'

export interface Answer {
  status: number
  headers: string[]
  body: Buffer
}

export class Call {
  readonly stream: number
  status = 0
  headers: string[] = []
  chunks: Buffer[] = []
  bodyBytes = 0
  error: GuestError | null = null
  /** The answer has ended, with or without an error. */
  ended = false
  settled = false
  cancelled = false
  /** How much request body may be sent, and has been. */
  creditBytes: number = limits.streamWindowBytes
  sentBytes = 0
  private readonly host: ShimHost
  private readonly holdCredit: boolean
  private grantedBytes = 0
  /** How much response body may come. */
  private windowBytes: number = limits.streamWindowBytes
  private waiting: Buffer = Buffer.alloc(0)
  private lastWaits = false

  constructor(host: ShimHost, stream: number, options: RequestOptions) {
    this.host = host
    this.stream = stream
    this.holdCredit = options.holdCredit ?? false
  }

  /** Sends body, as far and as soon as credit allows. */
  send(data: Buffer | string, last = false): void {
    this.waiting = Buffer.concat([this.waiting, Buffer.from(data)])
    this.lastWaits = last
    this.pump()
  }

  grant(bytes: number): void {
    this.windowBytes += bytes
    this.host.raw(encodeFrame(frameTypes.CREDIT, 0, this.stream, u32(bytes)))
  }

  cancel(reason: 'disconnect' | 'deadline' = 'disconnect'): void {
    this.cancelled = true
    this.host.raw(encodeFrame(frameTypes.CANCEL, 0, this.stream, JSON.stringify({ reason })))
  }

  /** The whole answer, settled. @throws when it was an error. */
  async answer(): Promise<Answer> {
    await this.done()
    if (this.error) throw new Error(`an error for an answer: ${this.error.name}: ${this.error.message}\n${this.error.stack ?? ''}`)
    return { status: this.status, headers: this.headers, body: Buffer.concat(this.chunks) }
  }

  /** The error, settled. @throws when it was an answer. */
  async failure(): Promise<GuestError> {
    await this.done()
    if (!this.error) throw new Error(`an answer for an error: ${this.status} ${Buffer.concat(this.chunks).toString('utf8', 0, 200)}`)
    return this.error
  }

  async json(): Promise<Record<string, unknown>> {
    const { body } = await this.answer()
    return JSON.parse(body.toString()) as Record<string, unknown>
  }

  done(): Promise<void> {
    return this.host.until(`end of request ${this.stream}`, () => this.settled)
  }

  header(name: string): string | undefined {
    const at = this.headers.findIndex((value, i) => i % 2 === 0 && value === name)
    return at < 0 ? undefined : this.headers[at + 1]
  }

  /** @throws Error naming the broken rule. */
  receive(name: string, { type, flags, payload }: Frame): void {
    if (this.settled) throw new Error(`${name} after request ${this.stream} had settled`)
    if (flags & ~(frameFlags.END | frameFlags.SETTLED)) throw new Error(`${name} with unknown flags ${flags}`)
    if (type === frameTypes.CREDIT) {
      if (flags) throw new Error('CREDIT with flags')
      this.credited(payload)
      return
    }
    if (type === frameTypes.SETTLED) {
      if (payload.length > 0) throw new Error('SETTLED with a payload')
      if (!this.ended) throw new Error('SETTLED before the end of the answer')
      this.settled = true
      return
    }
    if (this.ended) throw new Error(`${name} after the end of the answer`)
    if (type === frameTypes.RESPONSE_HEAD) {
      if (this.status !== 0) throw new Error('a head after a head')
      ;({ status: this.status, headers: this.headers } = checkResponseHead(payload))
    } else if (type === frameTypes.RESPONSE_BODY) {
      if (this.status === 0) throw new Error('a body before a head')
      this.receiveBody(payload)
    } else if (type === frameTypes.RESPONSE_ERROR) {
      this.error = checkGuestError(payload)
      this.ended = true
    } else {
      throw new Error(`${name} for a request`)
    }
    if (flags & frameFlags.END) this.ended = true
    if (flags & frameFlags.SETTLED) {
      if (!this.ended) throw new Error(`${name} settles a request whose answer has not ended`)
      this.settled = true
    }
  }

  private receiveBody(payload: Buffer): void {
    this.windowBytes -= payload.length
    if (this.windowBytes < 0) throw new Error(`${-this.windowBytes} bytes of body more than credit`)
    this.bodyBytes += payload.length
    this.chunks.push(Buffer.from(payload))
    if (!this.holdCredit && payload.length > 0) this.grant(payload.length)
  }

  private credited(payload: Buffer): void {
    if (payload.length !== 4 || payload.readUInt32BE() === 0) throw new Error('CREDIT that is no positive u32')
    const bytes = payload.readUInt32BE()
    this.grantedBytes += bytes
    if (this.grantedBytes > this.sentBytes) throw new Error(`credit for ${this.grantedBytes} bytes after ${this.sentBytes} were sent: the window has grown`)
    this.creditBytes += bytes
    this.pump()
  }

  private pump(): void {
    while (this.waiting.length > 0 && this.creditBytes > 0) {
      const part = this.waiting.subarray(0, Math.min(this.creditBytes, limits.framePayloadMaxBytes))
      this.waiting = this.waiting.subarray(part.length)
      this.creditBytes -= part.length
      this.sentBytes += part.length
      const last = this.lastWaits && this.waiting.length === 0
      if (last) this.lastWaits = false
      this.host.raw(encodeFrame(frameTypes.REQUEST_BODY, last ? frameFlags.END : 0, this.stream, part))
    }
    if (this.lastWaits && this.waiting.length === 0) {
      this.lastWaits = false
      this.host.raw(encodeFrame(frameTypes.REQUEST_BODY, frameFlags.END, this.stream))
    }
  }
}

function u32(value: number): Buffer {
  const payload = Buffer.alloc(4)
  payload.writeUInt32BE(value)
  return payload
}
