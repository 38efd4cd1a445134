/** One request: its body in, its answer out, and when it is settled. */
import { errorPayload, errorText } from './errors.mjs'
import { context, epoch, flushParts, levels, log } from './logs.mjs'
import { END, PAYLOAD_MAX_BYTES, SETTLED, WINDOW_BYTES, drained, isCongested, send, sendCredit, types } from './wire.mjs'

const { stringify } = JSON
/** @type {<T>(list: T[]) => T | undefined} */
const shift = Function.prototype.call.bind(Array.prototype.shift)
/** Credit is given back in portions, so that small bodies cost no frames. */
const CREDIT_PORTION_BYTES = WINDOW_BYTES / 4
/** Fields of an answer's head: limits.responseHeadMaxFields of the host. */
const FIELDS_MAX = 200
// oxlint-disable-next-line no-control-regex -- what no field on the wire may hold, though the Headers class takes it
const BAD_FIELD = /[\0-\x08\x0a-\x1f\x7f]/
const encoder = new TextEncoder()

/** Requests in hand, by stream. With methods of its own: user code may replace those of Map.prototype. @type {Map<number, Invocation>} */
export const invocations = Object.assign(new Map(), { get: Map.prototype.get, set: Map.prototype.set, delete: Map.prototype.delete })

/** The body of a request as it comes in; see `Incoming` in fetch/body.mjs. */
class IncomingBody {
  /** @type {Uint8Array[]} */
  #chunks = []
  #ended = false
  /** @type {unknown} */
  #error = null
  /** @type {(() => void) | null} */
  #wake = null
  #owedBytes = 0
  #stream

  /** @param {number} stream */
  constructor(stream) {
    this.#stream = stream
  }

  /** @returns {Promise<Uint8Array | null>} null at the end */
  async read() {
    while (this.#chunks.length === 0 && !this.#ended && this.#error === null) await new Promise((resolve) => (this.#wake = /** @type {any} */ (resolve)))
    if (this.#error !== null) throw this.#error
    const chunk = shift(this.#chunks)
    if (chunk === undefined) return null
    this.#owedBytes += chunk.length
    if (this.#owedBytes >= CREDIT_PORTION_BYTES && !this.#ended && invocations.has(this.#stream)) {
      sendCredit(this.#stream, this.#owedBytes)
      this.#owedBytes = 0
    }
    return chunk
  }

  cancel() {
    this.fail(new TypeError('The body was cancelled'))
  }

  /** @param {Uint8Array} chunk @param {boolean} last */
  push(chunk, last) {
    if (this.#error === null && chunk.length > 0) this.#chunks[this.#chunks.length] = chunk
    if (last) this.#ended = true
    this.#stir()
  }

  /** @param {unknown} error */
  fail(error) {
    if (this.#ended && this.#chunks.length === 0) return
    this.#error ??= error
    this.#chunks = []
    this.#stir()
  }

  #stir() {
    this.#wake?.()
    this.#wake = null
  }
}

export class Invocation {
  /** For the log: see logs.mjs. @type {(string | undefined)[] | null} */
  parts = null
  epoch = epoch
  /** @type {IncomingBody | null} */
  body = null
  /** What the answer may still send before the host gives more credit. */
  #credit = WINDOW_BYTES
  /** @type {(() => void) | null} */
  #credited = null
  #begun = false
  /** The answer has ended, well or not. */
  #ended = false
  #settled = false
  /** Promises that must finish before the invocation is settled; the handler's own is one. */
  #open = 1
  /** @type {AbortController | null} */
  #controller = null
  /** @type {DOMException | null} */
  #cancelled = null
  /** Told when the answer is broken off. @type {(() => void) | null} */
  #onEnd = null
  #deadline

  /** @param {number} stream @param {{ id: string, deadlineMs: number, traceparent?: string, event?: true, upgrade?: 'websocket' }} meta @param {boolean} hasBody */
  constructor(stream, meta, hasBody) {
    this.stream = stream
    this.meta = meta
    this.#deadline = performance.now() + meta.deadlineMs
    if (hasBody) this.body = new IncomingBody(stream)
    invocations.set(stream, this)
  }

  /** The handler is about to be called. @returns {boolean} false when it is not to be, since the host gave up before */
  begin() {
    this.#begun = true
    if (this.#cancelled === null) return true
    this.release()
    this.fail(this.#cancelled, 'handler')
    return false
  }

  /** Milliseconds until the host gives up on the answer. */
  remainingMs() {
    return Math.max(0, Math.round(this.#deadline - performance.now()))
  }

  /** @returns {AbortSignal} */
  signal() {
    if (this.#controller === null) {
      this.#controller = new AbortController()
      if (this.#cancelled !== null) this.#controller.abort(this.#cancelled)
    }
    return this.#controller.signal
  }

  /** Keeps the invocation open until a promise is done. @param {unknown} promise */
  waitUntil(promise) {
    this.#open++
    Promise.resolve(promise).then(
      () => this.release(),
      (error) => {
        log(levels.error, `waitUntil: ${errorText(error)}`)
        this.release()
      },
    )
  }

  /** One of the open promises is done. */
  release() {
    this.#open--
    if (this.#open === 0 && this.#ended) this.#settle(false)
  }

  /** @param {number} bytes */
  credit(bytes) {
    this.#credit += bytes
    this.#credited?.()
    this.#credited = null
  }

  /** The host asks to give up. @param {string} reason */
  cancel(reason) {
    if (this.#cancelled !== null) return
    this.#cancelled =
      reason === 'deadline' ? new DOMException('The function ran into its deadline', 'TimeoutError') : new DOMException('The client went away', 'AbortError')
    this.body?.fail(this.#cancelled)
    // One that has not begun is answered when it would begin: no answer comes before SPECIALISED.
    if (!this.#begun) return
    context.run(this, () => {
      this.fail(this.#cancelled, 'handler')
      this.#controller?.abort(this.#cancelled)
    })
  }

  /** A head within the limits, or null after an error that says what is wrong. @param {number} status @param {string[]} headers */
  #head(status, headers) {
    const wrong =
      headers.length > FIELDS_MAX * 2
        ? `the answer has ${headers.length / 2} headers; ${FIELDS_MAX} are allowed`
        : headers.some((text) => BAD_FIELD.test(text))
          ? 'a header of the answer holds a control character'
          : null
    const head = stringify([status, headers])
    const tooLong = head.length > PAYLOAD_MAX_BYTES / 3 && Buffer.byteLength(head) > PAYLOAD_MAX_BYTES
    if (wrong === null && !tooLong) return head
    const error = new TypeError(wrong ?? 'the headers of the answer are larger than 64 KiB')
    log(levels.error, `TypeError: ${error.message}`)
    this.fail(error, 'invalid_response')
    return null
  }

  /** A whole answer at once: what is small goes out in one piece. @param {number} status @param {string[]} headers flat @param {string | Uint8Array | null} body */
  answer(status, headers, body) {
    if (this.#ended) return
    const head = this.#head(status, headers)
    if (head === null) return
    if (body === null || body.length === 0) {
      send(types.RESPONSE_HEAD, this.#last(), this.stream, head)
      this.#afterLast()
      return
    }
    send(types.RESPONSE_HEAD, 0, this.stream, head)
    if (body.length > PAYLOAD_MAX_BYTES / 3) {
      const bytes = typeof body === 'string' ? encoder.encode(body) : body
      if (bytes.length > PAYLOAD_MAX_BYTES) {
        void this.#write(bytes).then(() => this.#end())
        return
      }
      body = bytes
    }
    send(types.RESPONSE_BODY, this.#last(), this.stream, body)
    this.#afterLast()
  }

  /**
   * The answer that makes the connection a WebSocket: both bodies are its bytes from here on.
   * @param {string[]} headers @returns {import('./websocket.mjs').Raw | null} null when the answer has ended already
   */
  answerUpgrade(headers) {
    const { body } = this
    const head = this.#ended || body === null ? null : this.#head(101, headers)
    if (body === null || head === null) return null
    send(types.RESPONSE_HEAD, 0, this.stream, head)
    return { read: () => body.read(), write: (bytes) => this.#write(bytes), end: () => this.#end() }
  }

  /** An answer whose body comes in chunks. @param {number} status @param {string[]} headers @param {ReadableStream} stream */
  async answerStream(status, headers, stream) {
    const reader = stream.getReader()
    const stop = (/** @type {unknown} */ reason) => {
      this.#open++
      reader.cancel(reason).then(
        () => this.release(),
        () => this.release(),
      )
    }
    const head = this.#ended ? null : this.#head(status, headers)
    if (head === null) {
      stop(this.#cancelled)
      return
    }
    send(types.RESPONSE_HEAD, 0, this.stream, head)
    this.#onEnd = () => stop(this.#cancelled)
    /** @type {'handler' | 'invalid_response'} */
    let kind = 'handler'
    try {
      for (;;) {
        const { value, done } = await reader.read()
        if (this.#ended) return
        if (done) break
        if (!(value instanceof Uint8Array)) {
          kind = 'invalid_response'
          throw new TypeError(`the stream of an answer must give Uint8Array chunks, not ${value === null ? 'null' : typeof value}`)
        }
        await this.#write(value)
      }
      this.#onEnd = null
      this.#end()
    } catch (error) {
      if (this.#ended) return
      log(levels.error, errorText(error))
      this.#onEnd = () => stop(error)
      this.fail(error, kind)
    }
  }

  /** Sends as fast as the host takes it, or gives up when the answer has ended. @param {Uint8Array} bytes */
  async #write(bytes) {
    for (let offset = 0; offset < bytes.length;) {
      while (this.#credit === 0 && !this.#ended) await new Promise((resolve) => (this.#credited = /** @type {any} */ (resolve)))
      if (isCongested()) await drained()
      if (this.#ended) return
      const size = Math.min(bytes.length - offset, PAYLOAD_MAX_BYTES, this.#credit)
      this.#credit -= size
      send(types.RESPONSE_BODY, 0, this.stream, bytes.subarray(offset, offset + size))
      offset += size
    }
  }

  #end() {
    if (this.#ended) return
    send(types.RESPONSE_BODY, this.#last(), this.stream)
    this.#afterLast()
  }

  /** Ends the answer with an error, if it has not ended. @param {unknown} error @param {'handler' | 'invalid_response'} kind */
  fail(error, kind) {
    if (this.#ended) return
    this.#ended = true
    this.#onEnd?.()
    send(types.RESPONSE_ERROR, this.#last(), this.stream, errorPayload(error, kind))
    this.#afterLast()
    this.#credited?.()
  }

  get hasEnded() {
    return this.#ended
  }

  /** Flags of the answer's last frame. */
  #last() {
    this.#ended = true
    if (this.#open > 0) return END
    flushParts(this)
    return END | SETTLED
  }

  #afterLast() {
    if (this.#open === 0) this.#settle(true)
  }

  /** @param {boolean} told whether the last frame said it already */
  #settle(told) {
    if (this.#settled) return
    this.#settled = true
    flushParts(this)
    if (!told) send(types.SETTLED, 0, this.stream)
    invocations.delete(this.stream)
  }
}
