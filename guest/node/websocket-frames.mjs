/** WebSocket frames (RFC 6455, section 5): a client's bytes in, whole messages out; and frames to send. */

/** Bytes of a message; its frames are joined in memory. */
const MESSAGE_MAX_BYTES = 16 * 1024 * 1024
/** Frames of a message: many empty ones would be work without end. */
const FRAGMENTS_MAX = 65_536
const CONTROL_MAX_BYTES = 125
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const encoder = new TextEncoder()

/** What the client did wrong, with the code of the close frame that says so. */
export class Fault extends Error {
  /** @param {number} code @param {string} message at most 123 bytes */
  constructor(code, message) {
    super(message)
    this.code = code
  }
}

/** @typedef {{ opcode: number, payload: Uint8Array | string }} Message a text's payload is a string, and each has a buffer of its own */

export class Frames {
  /** @type {Uint8Array[]} */
  #chunks = []
  #heldBytes = 0
  /** The frame whose head has been read. @type {{ fin: boolean, opcode: number, bytes: number, mask: Uint8Array } | null} */
  #frame = null
  /** Of a message in several frames: 0 when there is none. */
  #opcode = 0
  /** @type {Uint8Array[]} */
  #fragments = []
  #messageBytes = 0

  /** @param {Uint8Array} chunk */
  push(chunk) {
    this.#chunks.push(chunk)
    this.#heldBytes += chunk.length
  }

  /** The next message or control frame, or null when there is none yet. @returns {Message | null} */
  next() {
    for (;;) {
      this.#frame ??= this.#head()
      if (this.#frame === null || this.#heldBytes < this.#frame.bytes) return null
      const { fin, opcode, bytes, mask } = this.#frame
      this.#frame = null
      const payload = this.#take(bytes)
      for (let i = 0; i < payload.length; i++) payload[i] ^= mask[i & 3]
      if (opcode >= 8) return { opcode, payload }
      if (!fin || opcode === 0) this.#fragments.push(payload)
      if (opcode !== 0) this.#opcode = opcode
      if (!fin) continue
      const whole = opcode === 0 ? joined(this.#fragments, this.#messageBytes) : payload
      const message = { opcode: this.#opcode, payload: this.#opcode === 1 ? text(whole) : whole }
      this.#opcode = 0
      this.#fragments = []
      this.#messageBytes = 0
      return message
    }
  }

  #head() {
    if (this.#heldBytes < 2) return null
    const first = this.#peek(0)
    const second = this.#peek(1)
    const fin = (first & 0x80) !== 0
    const opcode = first & 0x0f
    if ((first & 0x70) !== 0) throw new Fault(1002, 'a reserved bit is set')
    if (opcode > 10 || (opcode > 2 && opcode < 8)) throw new Fault(1002, 'an unknown opcode')
    if ((second & 0x80) === 0) throw new Fault(1002, 'a frame of a client without a mask')
    const short = second & 0x7f
    if (opcode >= 8 && (!fin || short > CONTROL_MAX_BYTES)) throw new Fault(1002, 'a control frame that is long or in parts')
    if (opcode === 0 && this.#opcode === 0) throw new Fault(1002, 'a continuation of nothing')
    if ((opcode === 1 || opcode === 2) && this.#opcode !== 0) throw new Fault(1002, 'a message within a message')
    const lengthBytes = short === 126 ? 2 : short === 127 ? 8 : 0
    if (this.#heldBytes < 2 + lengthBytes + 4) return null
    let bytes = lengthBytes === 0 ? short : 0
    for (let i = 0; i < lengthBytes; i++) bytes = bytes * 256 + this.#peek(2 + i)
    if (lengthBytes === 8 && this.#peek(2) > 127) throw new Fault(1002, 'a length with its first bit set')
    if ((lengthBytes === 2 && bytes < 126) || (lengthBytes === 8 && bytes < 65_536)) throw new Fault(1002, 'a length in more bytes than it needs')
    if (opcode < 8) this.#messageBytes += bytes
    if (this.#messageBytes > MESSAGE_MAX_BYTES) throw new Fault(1009, `a message of more than ${MESSAGE_MAX_BYTES} bytes`)
    if (this.#fragments.length >= FRAGMENTS_MAX) throw new Fault(1009, `a message of more than ${FRAGMENTS_MAX} frames`)
    const head = this.#take(2 + lengthBytes + 4)
    return { fin, opcode, bytes, mask: head.subarray(2 + lengthBytes) }
  }

  /** @param {number} at */
  #peek(at) {
    let index = at
    for (const chunk of this.#chunks) {
      if (index < chunk.length) return chunk[index]
      index -= chunk.length
    }
    return 0
  }

  /** Takes bytes out, copied. @param {number} bytes */
  #take(bytes) {
    const taken = new Uint8Array(bytes)
    let used = 0
    let whole = 0
    while (used < bytes) {
      const chunk = this.#chunks[whole]
      const part = Math.min(chunk.length, bytes - used)
      taken.set(part === chunk.length ? chunk : chunk.subarray(0, part), used)
      used += part
      if (part === chunk.length) whole++
      else this.#chunks[whole] = chunk.subarray(part)
    }
    this.#chunks.splice(0, whole)
    this.#heldBytes -= bytes
    return taken
  }
}

/** @param {Uint8Array[]} parts @param {number} bytes */
function joined(parts, bytes) {
  const whole = new Uint8Array(bytes)
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

/** @param {Uint8Array} bytes */
function text(bytes) {
  try {
    return decoder.decode(bytes)
  } catch {
    throw new Fault(1007, 'text that is no UTF-8')
  }
}

/** A whole frame as a server sends it, without a mask. @param {number} opcode @param {Uint8Array} payload */
export function frameOf(opcode, payload) {
  const bytes = payload.length
  const headBytes = bytes < 126 ? 2 : bytes < 65_536 ? 4 : 10
  const frame = new Uint8Array(headBytes + bytes)
  frame[0] = 0x80 | opcode
  if (headBytes === 2) frame[1] = bytes
  else {
    frame[1] = headBytes === 4 ? 126 : 127
    for (let i = headBytes - 1, rest = bytes; i > 1; i--, rest = Math.floor(rest / 256)) frame[i] = rest % 256
  }
  frame.set(payload, headBytes)
  return frame
}

/** @param {number | undefined} code none for a close frame without one @param {string} reason */
export function closePayload(code, reason) {
  if (code === undefined || code === 1005) return new Uint8Array(0)
  return new Uint8Array([code >> 8, code & 255, ...encoder.encode(reason)])
}

/** @param {Uint8Array | string} payload of a close frame @returns {{ code: number, reason: string }} 1005 stands for none */
export function readClose(payload) {
  if (typeof payload === 'string' || payload.length === 0) return { code: 1005, reason: '' }
  if (payload.length === 1) throw new Fault(1002, 'half a code in a close frame')
  const code = payload[0] * 256 + payload[1]
  const isGiven = (code >= 1000 && code <= 1014 && code !== 1004 && code !== 1005 && code !== 1006) || (code >= 3000 && code <= 4999)
  if (!isGiven) throw new Fault(1002, 'a close frame with a code that may not be sent')
  return { code, reason: text(payload.subarray(2)) }
}
