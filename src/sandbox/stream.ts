/** One request within a connection: what may come when, credit both ways, and what the sink hears of it. */
import { HostelError } from '../errors.ts'
import type { ErrorCode } from '../errors.ts'
import { limits } from '../limits.ts'
import type { Exchange, ExchangeSink, RequestHead } from './exchange.ts'
import type { LogOwner } from './log-intake.ts'
import type { Outbox } from './outbox.ts'
import { frameFlags, frameTypes, ProtocolViolation } from './protocol.ts'
import { parseGuestError, parseResponseHead, parseU32 } from './validate.ts'

/** Credit is given back in portions of this size: fewer frames, and the guest never runs dry meanwhile. */
const GRANT_PORTION_BYTES = limits.streamWindowBytes / 4
/** Chunks that a sink may hold before what follows is joined for it: a window of single bytes would cost 100 times its size. */
const UNGRANTED_CHUNKS_MAX = 64
/** A chunk that lies in a read buffer more than twice its size is copied, since it would pin all of it; small buffers don't matter. */
const PIN_MAX_BYTES = 4 * 1024
/** More credit than this changes nothing, and sums stay exact. */
const CREDIT_MAX_BYTES = 0x7fff_ffff

const ERROR_CODES: Record<string, ErrorCode> = { handler: 'handler_error', invalid_response: 'invalid_response', init: 'init_failed' }

const SILENT: ExchangeSink = { head() {}, body() {}, end() {}, failed() {}, drain() {}, settled() {} }

export class GuestStream implements Exchange, LogOwner {
  readonly id: number
  readonly invocation: string
  sink: ExchangeSink
  /** `outbox.totalBytes` with the request's head in it. */
  headEndsAtBytes = 0
  loggedLines = 0
  droppedLines = 0
  droppedBytes = 0
  cancelled = false
  answerEnded = false
  settled = false
  private readonly mayUpgrade: boolean
  private readonly outbox: Outbox
  private readonly onSettled: (stream: GuestStream) => void

  private requestEnded: boolean
  private endSent: boolean
  private sendCreditBytes: number = limits.streamWindowBytes
  /** Request body that neither credit nor socket takes for now; the sink was told to wait. */
  private waiting: Buffer[] = []
  private owesDrain = false

  private headSeen = false
  private upgraded = false
  private responseBytes = 0
  /** What the guest may still send. */
  private receiveCreditBytes: number = limits.streamWindowBytes
  /** Given to the sink and not granted back; and in how many chunks at most. */
  private ungrantedBytes = 0
  private ungrantedChunks = 0
  /** Granted by the sink, not yet told to the guest. */
  private untoldBytes = 0
  /** Body held back while the sink has too many small chunks. */
  private joined: Buffer | null = null
  private joinedBytes = 0

  constructor(id: number, head: RequestHead, sink: ExchangeSink, outbox: Outbox, onSettled: (stream: GuestStream) => void) {
    this.id = id
    this.invocation = head.meta.id
    this.sink = sink
    this.mayUpgrade = head.meta.upgrade !== undefined
    this.outbox = outbox
    this.onSettled = onSettled
    this.requestEnded = this.endSent = head.endStream
  }

  write(chunk: Buffer): boolean {
    if (this.requestEnded || this.cancelled || this.settled || chunk.length === 0) return true
    this.waiting.push(chunk)
    this.pump()
    if (this.waiting.length === 0) return true
    this.owesDrain = true
    return false
  }

  end(): void {
    if (this.requestEnded) return
    this.requestEnded = true
    this.pump()
  }

  grant(bytes: number): void {
    const granted = Math.min(bytes, this.ungrantedBytes)
    this.ungrantedBytes -= granted
    if (this.ungrantedBytes === 0) this.ungrantedChunks = 0
    if (this.settled || this.cancelled) return
    this.untoldBytes += granted
    if (this.joinedBytes > 0) this.releaseJoined()
    if (this.answerEnded || this.untoldBytes < GRANT_PORTION_BYTES) return
    const credit = Buffer.allocUnsafe(4)
    credit.writeUInt32BE(this.untoldBytes, 0)
    this.receiveCreditBytes += this.untoldBytes
    this.untoldBytes = 0
    this.outbox.frame(frameTypes.CREDIT, 0, this.id, credit)
  }

  cancel(reason: 'disconnect' | 'deadline'): void {
    if (this.cancelled || this.settled) return
    this.cancelled = true
    this.waiting = []
    this.joined = null
    this.joinedBytes = 0
    this.outbox.frame(frameTypes.CANCEL, 0, this.id, JSON.stringify({ reason }))
  }

  /** Sends what credit and socket take. */
  pump(): void {
    if (this.settled || this.cancelled) return
    while (this.waiting.length > 0 && this.sendCreditBytes > 0 && !this.outbox.backedUp) {
      const chunk = this.waiting[0]!
      const bytes = Math.min(chunk.length, this.sendCreditBytes, limits.framePayloadMaxBytes)
      if (bytes === chunk.length) this.waiting.shift()
      else this.waiting[0] = chunk.subarray(bytes)
      this.sendCreditBytes -= bytes
      const last = this.requestEnded && this.waiting.length === 0
      if (last) this.endSent = true
      this.outbox.frame(frameTypes.REQUEST_BODY, last ? frameFlags.END : 0, this.id, bytes === chunk.length ? chunk : chunk.subarray(0, bytes))
    }
    if (this.waiting.length > 0) return
    if (this.requestEnded && !this.endSent) {
      this.endSent = true
      this.outbox.frame(frameTypes.REQUEST_BODY, frameFlags.END, this.id)
    }
    if (this.owesDrain) {
      this.owesDrain = false
      this.sink.drain()
    }
  }

  /** One frame of this stream from the guest, LOG excepted. @throws ProtocolViolation */
  receive(type: number, flags: number, payload: Buffer): void {
    switch (type) {
      case frameTypes.RESPONSE_HEAD:
        this.receiveHead(payload)
        if (flags & frameFlags.END) {
          if (this.upgraded) throw new ProtocolViolation('a head of status 101 with END')
          this.endAnswer()
        }
        break
      case frameTypes.RESPONSE_BODY:
        this.receiveBody(payload)
        if (flags & frameFlags.END) this.endAnswer()
        break
      case frameTypes.RESPONSE_ERROR:
        this.receiveError(payload)
        break
      case frameTypes.CREDIT:
        this.sendCreditBytes = Math.min(CREDIT_MAX_BYTES, this.sendCreditBytes + parseU32(payload, 'CREDIT'))
        this.pump()
        return
      case frameTypes.SETTLED:
        if (payload.length > 0) throw new ProtocolViolation('SETTLED with a payload')
        this.settle()
        return
      default:
        throw new ProtocolViolation(`a frame of type 0x${type.toString(16).padStart(2, '0')} on a request's stream`)
    }
    if (flags & frameFlags.SETTLED) this.settle()
  }

  private receiveHead(payload: Buffer): void {
    if (this.answerEnded) throw new ProtocolViolation('a head after the end of the answer')
    if (this.headSeen) throw new ProtocolViolation('a head after a head')
    const { status, headers } = parseResponseHead(payload, this.mayUpgrade)
    this.headSeen = true
    this.upgraded = status === 101
    if (!this.cancelled) this.sink.head(status, headers)
  }

  private receiveBody(payload: Buffer): void {
    if (this.answerEnded) throw new ProtocolViolation('a body after the end of the answer')
    if (!this.headSeen) throw new ProtocolViolation('a body before a head')
    this.receiveCreditBytes -= payload.length
    if (this.receiveCreditBytes < 0) throw new ProtocolViolation('more body than credit')
    if (this.cancelled || payload.length === 0) return
    this.responseBytes += payload.length
    // What is no answer any more is bounded in time, not in bytes.
    if (this.responseBytes > limits.responseBodyMaxBytes && !this.upgraded) {
      this.sink.failed(new HostelError('response_too_large', `the answer is over ${limits.responseBodyMaxBytes} bytes`))
      this.cancel('disconnect')
      return
    }
    if (this.joinedBytes > 0 || this.ungrantedChunks >= UNGRANTED_CHUNKS_MAX) this.join(payload)
    else this.deliver(pins(payload) ? Buffer.from(payload) : payload)
  }

  private receiveError(payload: Buffer): void {
    if (this.answerEnded) throw new ProtocolViolation('an error after the end of the answer')
    const guest = parseGuestError(payload, 'RESPONSE_ERROR')
    this.answerEnded = true
    if (this.cancelled) return
    this.releaseJoined()
    this.sink.failed(new HostelError(ERROR_CODES[guest.kind]!, undefined, { facts: { guest } }), guest)
  }

  private endAnswer(): void {
    this.answerEnded = true
    if (this.cancelled) return
    this.releaseJoined()
    this.sink.end()
  }

  private settle(): void {
    if (!this.answerEnded) throw new ProtocolViolation('settled before the end of the answer')
    this.settled = true
    this.waiting = []
    const { sink } = this
    // The connection remembers settled streams for their late log lines, but must not keep alive what the sink holds.
    this.sink = SILENT
    this.onSettled(this)
    sink.settled()
  }

  private deliver(chunk: Buffer): void {
    this.ungrantedBytes += chunk.length
    this.ungrantedChunks++
    this.sink.body(chunk)
  }

  /** The window bounds what comes together here. */
  private join(payload: Buffer): void {
    if (this.joined === null || this.joinedBytes + payload.length > this.joined.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(PIN_MAX_BYTES, 2 * (this.joinedBytes + payload.length)))
      this.joined?.copy(larger, 0, 0, this.joinedBytes)
      this.joined = larger
    }
    payload.copy(this.joined, this.joinedBytes)
    this.joinedBytes += payload.length
  }

  private releaseJoined(): void {
    if (this.joined === null) return
    const chunk = this.joined.subarray(0, this.joinedBytes)
    this.joined = null
    this.joinedBytes = 0
    if (chunk.length > 0) this.deliver(chunk)
  }
}

function pins(payload: Buffer): boolean {
  const heldBytes = payload.buffer.byteLength
  return heldBytes > PIN_MAX_BYTES && heldBytes > 2 * payload.length
}
