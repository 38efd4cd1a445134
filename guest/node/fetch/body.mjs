/**
 * The body that Request and Response share. A body that is a string, bytes or the bytes of a request that arrives is
 * read without web streams; those come in only when somebody asks for `.body` or gives a stream.
 */
// @ts-expect-error -- documented, but missing in the types
import { isDisturbed } from 'node:stream'
import { types } from 'node:util'

import { asInterface } from './headers.mjs'

const { parse } = JSON
const { isView } = ArrayBuffer
const encoder = new TextEncoder()
const decoder = new TextDecoder()
/** @type {(value: unknown) => Promise<any>} */
const resolved = Promise.resolve.bind(Promise)

/**
 * Bytes that come in from outside, one reader at a time. `read` gives null at the end.
 * @typedef {{ read(): Promise<Uint8Array | null>, cancel(reason?: unknown): void }} Incoming
 */

/**
 * @typedef {object} Body
 * @property {string | Uint8Array | Blob | Incoming | null} source null when there is only the stream
 * @property {ReadableStream | null} stream made when first asked for
 * @property {boolean} used whether the source was consumed without a stream
 */

/** Web streams cost 2 ms to load, so they are asked for late, and from the module, since a global can be replaced. */
const streams = () => process.getBuiltinModule('node:stream/web')

/** @param {Body['source']} source @param {ReadableStream | null} [stream] @returns {Body} */
export const bodyOf = (source, stream = null) => ({ source, stream, used: false })

/** @param {unknown} source @returns {source is Incoming} */
const isIncoming = (source) => typeof (/** @type {any} */ (source).read) === 'function'

/**
 * "Extract a body" of the standard, for anything but null.
 * @param {any} init @param {boolean} [keepalive]
 * @returns {{ body: Body, type: string | null }} type: what Content-Type follows from it
 */
export function extract(init, keepalive = false) {
  if (typeof init === 'string') return { body: bodyOf(init.toWellFormed()), type: 'text/plain;charset=UTF-8' }
  if (typeof init === 'object' || typeof init === 'function') {
    if (isView(init)) return { body: bodyOf(new Uint8Array(init.buffer, init.byteOffset, init.byteLength).slice()), type: null }
    if (types.isAnyArrayBuffer(init)) return { body: bodyOf(new Uint8Array(/** @type {ArrayBuffer} */ (init)).slice()), type: null }
    if (init instanceof URLSearchParams) return { body: bodyOf(init.toString()), type: 'application/x-www-form-urlencoded;charset=UTF-8' }
    if (init instanceof Blob) return { body: bodyOf(init), type: init.type || null }
    const tag = init[Symbol.toStringTag]
    if (tag === 'FormData' && init instanceof FormData) return multipart(init)
    if (tag === 'ReadableStream' && init instanceof streams().ReadableStream) {
      if (keepalive) throw new TypeError('A stream cannot be the body of a request with keepalive')
      if (isDisturbed(init) || init.locked) throw new TypeError('The stream is already used or locked')
      return { body: bodyOf(null, init), type: null }
    }
    if (typeof init[Symbol.asyncIterator] === 'function') return { body: bodyOf(null, streamOfIterable(init)), type: null }
  }
  return { body: bodyOf(`${init}`.toWellFormed()), type: 'text/plain;charset=UTF-8' }
}

/** @param {FormData} form @returns {{ body: Body, type: string }} */
function multipart(form) {
  const boundary = `----formdata-hostel-${crypto.randomUUID()}`
  const quote = (/** @type {string} */ text) => text.replace(/\n/g, '%0A').replace(/\r/g, '%0D').replace(/"/g, '%22')
  const lines = (/** @type {string} */ text) => text.replace(/\r?\n|\r/g, '\r\n')
  const parts = []
  for (const [name, value] of form) {
    const head = `--${boundary}\r\nContent-Disposition: form-data; name="${quote(lines(name))}"`
    if (typeof value === 'string') parts.push(`${head}\r\n\r\n${lines(value)}\r\n`)
    else parts.push(`${head}; filename="${quote(value.name)}"\r\nContent-Type: ${value.type || 'application/octet-stream'}\r\n\r\n`, value, '\r\n')
  }
  parts.push(`--${boundary}--\r\n`)
  return { body: bodyOf(new Blob(parts)), type: `multipart/form-data; boundary=${boundary}` }
}

/** @param {AsyncIterable<unknown>} iterable */
function streamOfIterable(iterable) {
  const iterator = iterable[Symbol.asyncIterator]()
  return new (streams().ReadableStream)(
    {
      async pull(controller) {
        const { value, done } = await iterator.next()
        if (done) controller.close()
        else controller.enqueue(typeof value === 'string' ? encoder.encode(value) : value)
      },
      async cancel(reason) {
        await iterator.return?.(reason)
      },
    },
    { highWaterMark: 0 },
  )
}

/** @param {Body} body */
export const isUsed = (body) => (body.stream ? isDisturbed(body.stream) : body.used)

/** @param {Body} body */
export const isUnusable = (body) => (body.stream ? isDisturbed(body.stream) || body.stream.locked : body.used)

/** The body as a web stream, always the same one. @param {Body} body @returns {ReadableStream} */
export function streamOf(body) {
  if (body.stream) return body.stream
  const { ReadableStream } = streams()
  const { source } = body
  if (body.used) {
    // What was read without a stream shows itself as a stream that somebody has read to its end and not let go.
    body.stream = new ReadableStream({ type: 'bytes', start: (controller) => controller.close() })
    void body.stream.getReader().cancel()
  } else if (source instanceof Blob) {
    body.stream = source.size === 0 ? byteStream(resolved(null)) : source.stream()
  } else if (typeof source === 'string') {
    body.stream = byteStream(resolved(encoder.encode(source)))
  } else if (source instanceof Uint8Array) {
    body.stream = byteStream(resolved(source.slice()))
  } else {
    const incoming = /** @type {Incoming} */ (source)
    body.stream = new ReadableStream({
      type: 'bytes',
      async pull(controller) {
        deliver(controller, await incoming.read())
      },
      cancel: (reason) => incoming.cancel(reason),
    })
  }
  return body.stream
}

/** @param {Promise<Uint8Array | null>} whole */
function byteStream(whole) {
  return new (streams().ReadableStream)({
    type: 'bytes',
    async pull(controller) {
      const bytes = await whole
      whole = resolved(null)
      deliver(controller, bytes && bytes.length > 0 ? bytes : null)
    },
  })
}

/** @param {ReadableByteStreamController} controller @param {Uint8Array | null} bytes */
function deliver(controller, bytes) {
  if (bytes) {
    controller.enqueue(bytes)
    return
  }
  controller.close()
  // A reader that brought its own buffer waits for it to come back.
  controller.byobRequest?.respond(0)
}

/** Two bodies with the same content; the first takes the place of the given one. @param {Body} body @returns {Body} */
export function cloneBody(body) {
  if (isUnusable(body)) throw new TypeError('The body is already used or locked')
  const { source } = body
  if (source !== null && !isIncoming(source)) {
    // What does not change can be shared; a stream already handed out stays with the first.
    return bodyOf(source)
  }
  const [first, second] = streamOf(body).tee()
  body.stream = first
  body.source = null
  // As the standard wants: each side gets chunks of its own.
  const copy = new (streams().TransformStream)({ transform: (chunk, controller) => controller.enqueue(structuredClone(chunk)) })
  return bodyOf(null, second.pipeThrough(copy))
}

/** A body for another Request, after which this one counts as used. @param {Body} body usable @returns {Body} */
export function takeBody(body) {
  const { source } = body
  if (source !== null && (!body.stream || !isIncoming(source))) {
    body.used = true
    void body.stream?.cancel()
    return bodyOf(source)
  }
  return bodyOf(null, streamOf(body).pipeThrough(new (streams().TransformStream)()))
}

/**
 * Reads all; marks the body used at once. The content goes through `convert` before any promise gets to see it, since
 * promises look for `then` in objects, and code that patched Object.prototype could answer in our place.
 * @template T @param {Body} body @param {(content: string | Uint8Array) => T | Promise<T>} convert @returns {Promise<T>}
 */
async function consume(body, convert) {
  if (isUnusable(body)) throw new TypeError('Body is unusable: Body has already been read')
  const { source } = body
  if (body.stream || source === null) return collectStream(/** @type {ReadableStream} */ (body.stream), convert)
  body.used = true
  if (typeof source === 'string' || source instanceof Uint8Array) return convert(source)
  if (source instanceof Blob) return convert(new Uint8Array(await source.arrayBuffer()))
  return convert(await collectIncoming(source))
}

/** @param {Incoming} incoming */
async function collectIncoming(incoming) {
  const first = await incoming.read()
  if (first === null) return ''
  const chunks = [first]
  for (let chunk = await incoming.read(); chunk !== null; chunk = await incoming.read()) chunks.push(chunk)
  return chunks.length === 1 ? first : concat(chunks)
}

/** Through a pipe: the results of a reader are objects, see above. @template T @param {ReadableStream} stream @param {(content: Uint8Array) => T} convert */
async function collectStream(stream, convert) {
  /** @type {Uint8Array[]} */
  const chunks = []
  const sink = new (streams().WritableStream)({
    write(chunk) {
      if (!(chunk instanceof Uint8Array)) throw new TypeError('A body stream must give Uint8Array chunks')
      chunks.push(chunk)
    },
  })
  await stream.pipeTo(sink)
  return convert(concat(chunks))
}

/** @param {Uint8Array[]} chunks */
function concat(chunks) {
  let length = 0
  for (const chunk of chunks) length += chunk.length
  const all = new Uint8Array(length)
  let offset = 0
  for (const chunk of chunks) {
    all.set(chunk, offset)
    offset += chunk.length
  }
  return all
}

/** UTF-8 decode of the standard: a byte order mark at the start goes. @param {string | Uint8Array} content */
const toText = (content) => (typeof content !== 'string' ? decoder.decode(content) : content.charCodeAt(0) === 0xfeff ? content.slice(1) : content)

/** Bytes of their own buffer, since the caller may change or transfer it. @param {string | Uint8Array} content @returns {Uint8Array<ArrayBuffer>} */
const toOwnBytes = (content) => (typeof content === 'string' ? /** @type {any} */ (encoder.encode(content)) : /** @type {any} */ (content.slice()))

/**
 * Puts the members of the Body mixin on a class.
 * @param {Function} constructor
 * @param {(owner: any) => Body | null} bodyIn throws a TypeError for a stranger
 * @param {(owner: any) => string | null} contentTypeOf
 * @param {() => Promise<typeof Response>} realResponse Node's own class, which knows how to read forms
 */
export function mixInBody(constructor, bodyIn, contentTypeOf, realResponse) {
  /** @template T @param {any} owner @param {(content: string | Uint8Array) => T | Promise<T>} convert @returns {Promise<T>} */
  const consumeAs = async (owner, convert) => {
    const body = bodyIn(owner)
    return body === null ? convert('') : consume(body, convert)
  }
  class Members {
    get body() {
      const body = bodyIn(this)
      return body === null ? null : streamOf(body)
    }

    get bodyUsed() {
      const body = bodyIn(this)
      return body !== null && isUsed(body)
    }

    text() {
      return consumeAs(this, toText)
    }

    json() {
      return consumeAs(this, (content) => parse(toText(content)))
    }

    arrayBuffer() {
      return consumeAs(this, (content) => toOwnBytes(content).buffer)
    }

    bytes() {
      return consumeAs(this, toOwnBytes)
    }

    blob() {
      return consumeAs(this, (content) => new Blob([/** @type {any} */ (content)], { type: mimeType(contentTypeOf(this)) }))
    }

    formData() {
      return consumeAs(this, async (content) => {
        const type = contentTypeOf(this)
        if (!/^\s*(multipart\/form-data|application\/x-www-form-urlencoded)\s*(;|$)/i.test(type ?? ''))
          throw new TypeError('Content-Type is neither multipart/form-data nor application/x-www-form-urlencoded')
        const Real = await realResponse()
        return new Real(/** @type {any} */ (content), { headers: { 'content-type': /** @type {string} */ (type) } }).formData()
      })
    }
  }
  asInterface(Members)
  const { constructor: _own, [Symbol.toStringTag]: _tag, ...members } = /** @type {any} */ (Object.getOwnPropertyDescriptors(Members.prototype))
  Object.defineProperties(constructor.prototype, members)
}

/** A Blob's type from a Content-Type field: as the MIME standard parses and writes it, else nothing. @param {string | null} contentType */
function mimeType(contentType) {
  if (contentType === null) return ''
  try {
    // Of several fields the last that parses counts; parameters come only from it.
    return new (process.getBuiltinModule('node:util').MIMEType)(contentType.slice(contentType.lastIndexOf(',') + 1)).toString()
  } catch {
    return ''
  }
}
