/**
 * The sandbox protocol, version 1: frame types and the codec of the host's end.
 * Specified in docs/reference/sandbox-protocol.md; the shims in guest/ have their own, dependency-free ends.
 */
import { limits } from '../limits.ts'

export const PROTOCOL_VERSION = 1
export const FRAME_HEADER_BYTES = 10

export const frameTypes = {
  HELLO: 0x01,
  READY: 0x02,
  SPECIALISE: 0x03,
  SPECIALISED: 0x04,
  INIT_FAILED: 0x05,
  REQUEST_HEAD: 0x10,
  REQUEST_BODY: 0x11,
  CANCEL: 0x12,
  RESPONSE_HEAD: 0x20,
  RESPONSE_BODY: 0x21,
  RESPONSE_ERROR: 0x22,
  SETTLED: 0x23,
  CREDIT: 0x30,
  LOG: 0x31,
  PING: 0x32,
  PONG: 0x33,
} as const

export const frameFlags = { END: 0x01, SETTLED: 0x02 } as const

/** What a function's module exports: `export default { fetch }`, or a `handler(event, context)`. */
export type Contract = 'fetch' | 'event'

/** Payload of SPECIALISE. */
export interface SpecialiseMessage {
  tenant: string
  function: string
  version: number
  /** `file` or `file:export`, relative to `/code`. */
  handler: string
  env: Record<string, string>
  memoryMiB: number
  timeoutMs: number
  concurrency: number
}

/** Pieces of a frame held before they are joined: a guest that sends single bytes must not cost a buffer object for each. */
const PARTS_MAX = 64

/** Flat header list `[name, value, …]`, names in lower case. */
export type FlatHeaders = string[]

/** Last element of a REQUEST_HEAD. */
export interface RequestMeta {
  id: string
  deadlineMs: number
  traceparent?: string
  event?: true
  /** The client asks to go over to this protocol: a head of status 101 turns both bodies into its bytes. */
  upgrade?: 'websocket'
}

/** Payload of INIT_FAILED and RESPONSE_ERROR, as a shim claims it. */
export interface GuestError {
  kind: string
  name: string
  message: string
  stack?: string
  file?: string
  line?: number
  column?: number
}

export interface Frame {
  type: number
  flags: number
  stream: number
  payload: Buffer
}

/** Thrown when bytes from a guest break a rule; `message` names the rule. */
export class ProtocolViolation extends Error {
  override readonly name = 'ProtocolViolation'
}

/** One frame as bytes. The payload must fit `limits.framePayloadMaxBytes`; a larger one is our own mistake and throws RangeError. */
export function encodeFrame(type: number, flags: number, stream: number, payload?: Uint8Array | string): Buffer {
  const payloadBytes = payload === undefined ? 0 : typeof payload === 'string' ? Buffer.byteLength(payload) : payload.byteLength
  if (payloadBytes > limits.framePayloadMaxBytes) throw new RangeError(`frame payload of ${payloadBytes} bytes is over ${limits.framePayloadMaxBytes}`)
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + payloadBytes)
  frame.writeUInt32BE(payloadBytes, 0)
  frame[4] = type
  frame[5] = flags
  frame.writeUInt32BE(stream, 6)
  if (typeof payload === 'string') frame.write(payload, FRAME_HEADER_BYTES)
  else if (payload !== undefined) frame.set(payload, FRAME_HEADER_BYTES)
  return frame
}

/**
 * Cuts a byte stream into frames. Payloads are views into the chunk that `push` got (or into a joined copy when a
 * frame spans chunks), so a consumer that keeps one beyond its callback must know that it pins the chunk.
 */
export class FrameDecoder {
  /** Bytes of an incomplete frame, and how many bytes that frame needs in all once that is known. */
  private parts: Buffer[] = []
  private heldBytes = 0
  private neededBytes = FRAME_HEADER_BYTES

  /** @throws ProtocolViolation on a length over the limit; the stream is then unusable. */
  push(chunk: Buffer, onFrame: (frame: Frame) => void): void {
    let data = chunk
    if (this.heldBytes > 0) {
      this.parts.push(chunk)
      this.heldBytes += chunk.length
      if (this.heldBytes < this.neededBytes) {
        if (this.parts.length >= PARTS_MAX) this.parts = [Buffer.concat(this.parts, this.heldBytes)]
        return
      }
      data = Buffer.concat(this.parts, this.heldBytes)
      this.parts = []
      this.heldBytes = 0
    }
    let offset = 0
    for (;;) {
      const left = data.length - offset
      if (left < FRAME_HEADER_BYTES) {
        this.hold(data, offset, FRAME_HEADER_BYTES)
        return
      }
      const payloadBytes = data.readUInt32BE(offset)
      if (payloadBytes > limits.framePayloadMaxBytes)
        throw new ProtocolViolation(`frame of ${payloadBytes} bytes is over the limit of ${limits.framePayloadMaxBytes}`)
      const end = offset + FRAME_HEADER_BYTES + payloadBytes
      if (data.length < end) {
        this.hold(data, offset, FRAME_HEADER_BYTES + payloadBytes)
        return
      }
      onFrame({
        type: data[offset + 4]!,
        flags: data[offset + 5]!,
        stream: data.readUInt32BE(offset + 6),
        payload: data.subarray(offset + FRAME_HEADER_BYTES, end),
      })
      offset = end
    }
  }

  private hold(data: Buffer, offset: number, neededBytes: number): void {
    this.neededBytes = neededBytes
    if (offset === data.length) return
    this.parts = [data.subarray(offset)]
    this.heldBytes = data.length - offset
  }
}
