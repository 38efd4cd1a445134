/** A WebSocket that a handler accepted (RFC 6455, the server's end): frames over the bytes of an upgraded request, behind the API that browsers have. */
import { Frames, Fault, closePayload, frameOf, readClose } from './websocket-frames.mjs'

const CONNECTING = 0
const OPEN = 1
const CLOSING = 2
const CLOSED = 3
/** How long the other side may take to answer our close frame. */
const CLOSE_WAIT_MS = 2_000
/** Without a byte for so long the client is pinged, and after as long again given up; as in Deno. */
const IDLE_SECONDS = 120
const IDLE_MAX_SECONDS = 86_400
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const OWN = Symbol('made by the shim itself')
const encoder = new TextEncoder()

class MessageEvent extends Event {
  /** @param {unknown} data */
  constructor(data) {
    super('message')
    this.data = data
  }
}

/** Not Node's own, whose first use loads all of its HTTP client. */
class CloseEvent extends Event {
  /** @param {number} code @param {string} reason @param {boolean} wasClean */
  constructor(code, reason, wasClean) {
    super('close')
    this.code = code
    this.reason = reason
    this.wasClean = wasClean
  }
}

class ErrorEvent extends Event {
  /** @param {Error} error */
  constructor(error) {
    super('error')
    this.error = error
    this.message = error.message
  }
}

/**
 * The raw connection: see Invocation.
 * @typedef {object} Raw
 * @property {() => Promise<Uint8Array | null>} read null at the end
 * @property {(bytes: Uint8Array) => Promise<void>} write
 * @property {() => void} end
 */

export class WebSocket extends EventTarget {
  /** @type {'blob' | 'arraybuffer'} */
  #binaryType = 'blob'
  #readyState = CONNECTING
  #protocol
  #url
  #idleMs
  /** @type {Raw | null} */
  #raw = null
  #bufferedBytes = 0
  /** Writes go out one after the other. @type {Promise<void>} */
  #written = Promise.resolve()
  /** Of a close before the answer has left. */
  #earlyClose = new Uint8Array(0)
  #closeSent = false
  #pinged = false
  #heard = true
  /** @type {NodeJS.Timeout | undefined} */
  #timer = undefined
  /** @type {Record<string, ((event: any) => void) | null>} */
  #on = { open: null, message: null, close: null, error: null }

  /** @param {symbol} own @param {{ url: string, protocol: string, idleMs: number }} options */
  constructor(own, options) {
    if (own !== OWN) throw new TypeError('A WebSocket comes from ctx.upgradeWebSocket(request)')
    super()
    this.#url = options.url
    this.#protocol = options.protocol
    this.#idleMs = options.idleMs
    for (const type of ['open', 'message', 'close', 'error']) this.addEventListener(type, (event) => this.#on[type]?.call(this, event))
  }

  get url() {
    return this.#url
  }
  get protocol() {
    return this.#protocol
  }
  get extensions() {
    return ''
  }
  get readyState() {
    return this.#readyState
  }
  get bufferedAmount() {
    return this.#bufferedBytes
  }
  get binaryType() {
    return this.#binaryType
  }
  set binaryType(type) {
    if (type === 'blob' || type === 'arraybuffer') this.#binaryType = type
  }
  get onopen() {
    return this.#on.open
  }
  set onopen(listener) {
    this.#on.open = listener
  }
  get onmessage() {
    return this.#on.message
  }
  set onmessage(listener) {
    this.#on.message = listener
  }
  get onclose() {
    return this.#on.close
  }
  set onclose(listener) {
    this.#on.close = listener
  }
  get onerror() {
    return this.#on.error
  }
  set onerror(listener) {
    this.#on.error = listener
  }

  /** @param {string | ArrayBuffer | ArrayBufferView | Blob} data */
  send(data) {
    if (this.#readyState === CONNECTING) throw new DOMException('The WebSocket is not open yet', 'InvalidStateError')
    if (this.#readyState !== OPEN) return
    if (typeof data === 'string') this.#sendFrame(frameOf(1, encoder.encode(data)))
    else if (data instanceof ArrayBuffer) this.#sendFrame(frameOf(2, new Uint8Array(data)))
    else if (ArrayBuffer.isView(data)) this.#sendFrame(frameOf(2, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)))
    else if (data instanceof Blob) {
      const { size } = data
      this.#bufferedBytes += size
      this.#queue(async () => {
        this.#bufferedBytes -= size
        return frameOf(2, new Uint8Array(await data.arrayBuffer()))
      })
    } else this.#sendFrame(frameOf(1, encoder.encode(`${data}`)))
  }

  /** @param {number} [code] 1000, or 3000 to 4999 @param {string} [reason] at most 123 bytes */
  close(code, reason = '') {
    if (code !== undefined && code !== 1000 && !(code >= 3000 && code <= 4999))
      throw new DOMException(`A WebSocket is closed with 1000 or 3000 to 4999, not ${code}`, 'InvalidAccessError')
    const text = String(reason)
    if (encoder.encode(text).length > 123) throw new DOMException('The reason has more than 123 bytes', 'SyntaxError')
    if (this.#readyState >= CLOSING) return
    this.#readyState = CLOSING
    if (this.#raw === null) this.#earlyClose = closePayload(code, text)
    else this.#startClosing(closePayload(code, text))
  }

  /** The answer has left: bytes go both ways from here on. @param {Raw} raw */
  [OWN](raw) {
    this.#raw = raw
    if (this.#readyState === CLOSING) this.#startClosing(this.#earlyClose)
    else {
      this.#readyState = OPEN
      if (this.#idleMs > 0) this.#timer = setInterval(() => this.#watch(), this.#idleMs)
      this.dispatchEvent(new Event('open'))
    }
    void this.#receive(raw)
  }

  /** The answer was another one, or none. */
  abandon() {
    this.#finish(1006, '', false)
  }

  /** @param {Raw} raw */
  async #receive(raw) {
    const frames = new Frames()
    try {
      for (;;) {
        const bytes = await raw.read()
        if (bytes === null) break
        this.#heard = true
        this.#pinged = false
        frames.push(bytes)
        for (let message = frames.next(); message !== null; message = frames.next()) {
          if (message.opcode === 8) {
            this.#closedByPeer(readClose(message.payload))
            return
          }
          this.#take(message.opcode, message.payload)
        }
      }
      // The host says that no more comes: the client is gone, or the server is about to be.
      if (this.#readyState === OPEN) this.#sendClose(closePayload(1001, 'going away'))
      this.#finish(1006, '', false)
    } catch (error) {
      if (error instanceof Fault) {
        if (!this.#closeSent) this.#sendClose(closePayload(error.code, error.message))
        this.dispatchEvent(new ErrorEvent(error))
        this.#finish(error.code, error.message, false)
      } else this.#finish(1006, '', false)
    }
  }

  /** @param {number} opcode @param {Uint8Array | string} payload */
  #take(opcode, payload) {
    if (opcode === 9) {
      if (!this.#closeSent) this.#sendFrame(frameOf(10, /** @type {Uint8Array} */ (payload)))
    } else if (opcode !== 10 && this.#readyState === OPEN) {
      if (typeof payload === 'string') this.dispatchEvent(new MessageEvent(payload))
      else if (this.#binaryType === 'blob') this.dispatchEvent(new MessageEvent(new Blob([/** @type {any} */ (payload)])))
      // A message has a buffer of its own.
      else this.dispatchEvent(new MessageEvent(payload.buffer))
    }
  }

  /** @param {{ code: number, reason: string }} close */
  #closedByPeer({ code, reason }) {
    if (!this.#closeSent) this.#sendClose(closePayload(code === 1005 ? undefined : code, ''))
    this.#finish(code, reason, true)
  }

  #watch() {
    if (this.#heard) {
      this.#heard = false
      return
    }
    if (this.#pinged) {
      this.#sendClose(closePayload(1001, 'no answer to a ping'))
      this.#finish(1006, 'no answer to a ping', false)
      return
    }
    this.#pinged = true
    this.#sendFrame(frameOf(9, new Uint8Array(0)))
  }

  /** @param {Uint8Array} payload */
  #startClosing(payload) {
    this.#sendClose(payload)
    clearInterval(this.#timer)
    this.#timer = setTimeout(() => this.#finish(1006, '', false), CLOSE_WAIT_MS)
  }

  /** @param {Uint8Array} payload */
  #sendClose(payload) {
    this.#sendFrame(frameOf(8, payload))
    this.#closeSent = true
    if (this.#readyState === OPEN) this.#readyState = CLOSING
  }

  /** @param {Uint8Array} frame */
  #sendFrame(frame) {
    if (this.#closeSent) return
    this.#bufferedBytes += frame.length
    this.#queue(() => {
      this.#bufferedBytes -= frame.length
      return frame
    })
  }

  /** @param {() => Uint8Array | Promise<Uint8Array>} make */
  #queue(make) {
    this.#written = this.#written.then(async () => this.#raw?.write(await make())).catch(() => {})
  }

  /** @param {number} code @param {string} reason @param {boolean} wasClean */
  #finish(code, reason, wasClean) {
    if (this.#readyState === CLOSED) return
    this.#readyState = CLOSED
    clearInterval(this.#timer)
    const raw = this.#raw
    void this.#written.then(() => raw?.end())
    this.dispatchEvent(new CloseEvent(code, reason, wasClean))
  }
}
for (const [name, value] of Object.entries({ CONNECTING, OPEN, CLOSING, CLOSED })) {
  Object.defineProperty(WebSocket, name, { value, enumerable: true })
  Object.defineProperty(WebSocket.prototype, name, { value, enumerable: true })
}

/**
 * A socket for a request that asks for one, and the fields of the answer that accepts it.
 * @param {{ url: string, headers: { get(name: string): string | null } }} request @param {{ protocol?: string, idleTimeout?: number }} [options] `protocol`: one of those that the
 *   client offers; `idleTimeout`: seconds without a byte after which the client is pinged, 0 for never
 */
export function makeSocket(request, { protocol = '', idleTimeout = IDLE_SECONDS } = {}) {
  const offered = (request.headers.get('sec-websocket-protocol') ?? '').split(',').map((name) => name.trim())
  if (protocol !== '' && (!TOKEN.test(protocol) || !offered.includes(protocol)))
    throw new TypeError(`the client does not offer the protocol "${protocol}" (it offers: ${offered.join(', ') || 'none'})`)
  if (!(idleTimeout >= 0 && idleTimeout <= IDLE_MAX_SECONDS)) throw new RangeError(`idleTimeout takes seconds from 0 to ${IDLE_MAX_SECONDS}`)
  const socket = new WebSocket(OWN, { url: request.url.replace(/^http/, 'ws'), protocol, idleMs: idleTimeout * 1_000 })
  return {
    socket,
    headers: protocol === '' ? [] : ['sec-websocket-protocol', protocol],
    start: (/** @type {Raw} */ raw) => socket[OWN](raw),
  }
}
