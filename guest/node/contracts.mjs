/** How the two contracts are called, and what becomes of what they return. */
import { isUnusable, streamOf } from './fetch/body.mjs'
import { listOf } from './fetch/headers.mjs'
import { incomingRequest, isRequest } from './fetch/request.mjs'
import { isResponse, responseState, switchingResponse } from './fetch/response.mjs'
import { errorText } from './errors.mjs'
import { collectEvent, eventAnswer, eventContext, httpAnswer, httpEvent } from './event.mjs'
import { context, levels, log } from './logs.mjs'
import { makeSocket } from './websocket.mjs'

/**
 * The version in this sandbox, as SPECIALISE named it.
 * @typedef {{ tenant: string, function: string, version: number, handler: string, env: Record<string, string>, memoryMiB: number, timeoutMs: number, concurrency: number }} Version
 * @typedef {import('./invocation.mjs').Invocation} Invocation
 * @typedef {(invocation: Invocation, method: string, url: string, headers: string[]) => void} Run
 */

/** @param {import('./load.mjs').UserCode} code @param {Version} version @returns {Run} starts one invocation; never throws */
export function makeRunner(code, version) {
  const run = code.contract === 'fetch' ? fetchRunner(code.fetch, version) : eventRunner(code.handler, version)
  return (invocation, method, url, headers) => {
    if (invocation.begin()) context.run(invocation, run, invocation, method, url, headers)
  }
}

/** What a handler threw: into the log, and to the host. @param {Invocation} invocation @param {unknown} error @param {'handler' | 'invalid_response'} [kind] */
function failed(invocation, error, kind = 'handler') {
  // After CANCEL a handler mostly fails because of it, and its owner knows already.
  if (!invocation.hasEnded) log(levels.error, errorText(error))
  upgrading.get(invocation)?.socket.abandon()
  invocation.release()
  invocation.fail(error, kind)
}

/** @param {Extract<import('./load.mjs').UserCode, { contract: 'fetch' }>['fetch']} handler @param {Version} version @returns {Run} */
function fetchRunner(handler, version) {
  const { env } = version
  const description = Object.freeze({
    name: version.function,
    version: version.version,
    tenant: version.tenant,
    memoryMiB: version.memoryMiB,
    timeoutMs: version.timeoutMs,
  })
  return (invocation, method, url, headers) => {
    let result
    try {
      if (invocation.meta.event) throw new TypeError('this function answers HTTP requests (it exports fetch), not events')
      // What comes behind a handshake is no body of the request.
      const body = invocation.meta.upgrade ? null : invocation.body
      const request = incomingRequest(method, url, headers, body, () => invocation.signal())
      const ctx = {
        waitUntil: (/** @type {unknown} */ promise) => invocation.waitUntil(promise),
        getRemainingTimeInMillis: () => invocation.remainingMs(),
        upgradeWebSocket: (/** @type {unknown} */ asked, /** @type {{} | undefined} */ options) => upgradeWebSocket(invocation, asked, options),
        invocationId: invocation.meta.id,
        function: description,
      }
      result = /** @type {any} */ (handler(/** @type {any} */ (request), env, ctx))
      if (typeof result?.then === 'function') {
        result.then(
          (/** @type {unknown} */ response) => answerResponse(invocation, method, response),
          (/** @type {unknown} */ error) => failed(invocation, error),
        )
        return
      }
    } catch (error) {
      failed(invocation, error)
      return
    }
    answerResponse(invocation, method, result)
  }
}

/** Sockets whose answer is not returned yet. @type {WeakMap<Invocation, { response: unknown, socket: import('./websocket.mjs').WebSocket, start: (raw: import('./websocket.mjs').Raw) => void }>} */
const upgrading = new WeakMap()

/** @param {Invocation} invocation @param {unknown} request @param {{} | undefined} options */
function upgradeWebSocket(invocation, request, options) {
  if (!isRequest(request)) throw new TypeError('upgradeWebSocket takes the request')
  if (invocation.meta.upgrade !== 'websocket') throw new TypeError('the request does not ask for a WebSocket')
  if (upgrading.has(invocation)) throw new TypeError('the request has been upgraded already')
  const { socket, headers, start } = makeSocket(request, options)
  const response = switchingResponse(headers)
  upgrading.set(invocation, { response, socket, start })
  return { socket, response }
}

/** @param {Invocation} invocation @param {unknown} response @returns {boolean} whether it was the one that accepts a WebSocket */
function startSocket(invocation, response) {
  const upgrade = upgrading.get(invocation)
  if (upgrade === undefined) return false
  if (upgrade.response !== response) {
    upgrade.socket.abandon()
    return false
  }
  const raw = invocation.answerUpgrade(listOf(responseState(response).headers))
  invocation.release()
  if (raw === null) upgrade.socket.abandon()
  else upgrade.start(raw)
  return true
}

/** @param {Invocation} invocation @param {string} method @param {unknown} response */
function answerResponse(invocation, method, response) {
  if (invocation.meta.upgrade && startSocket(invocation, response)) return
  let parts
  try {
    parts = isResponse(response) ? ownParts(/** @type {any} */ (response)) : foreignParts(response)
  } catch (error) {
    failed(invocation, error, 'invalid_response')
    return
  }
  const { status, headers, body } = parts
  invocation.release()
  if (body === null || typeof body === 'string' || body instanceof Uint8Array) invocation.answer(status, headers, method === 'HEAD' ? null : body)
  else if (method === 'HEAD') {
    void body.cancel().catch(() => {})
    invocation.answer(status, headers, null)
  } else void invocation.answerStream(status, headers, body)
}

/** @typedef {{ status: number, headers: string[], body: string | Uint8Array | ReadableStream | null }} Parts */

/** @param {Response} response @returns {Parts} */
function ownParts(response) {
  const { type, status, headers, body } = responseState(response)
  if (type === 'error') throw new TypeError('the handler returned Response.error()')
  const list = listOf(headers)
  if (body === null) return { status, headers: list, body: null }
  if (isUnusable(body)) throw new TypeError('the handler returned a Response whose body is already used or locked')
  const { source } = body
  if (body.stream !== null || (typeof source !== 'string' && !(source instanceof Uint8Array))) return { status, headers: list, body: streamOf(body) }
  body.used = true
  return { status, headers: list, body: source }
}

/** Node's own Response, as fetch gives it, or one of a library's. @param {any} response @returns {Parts} */
function foreignParts(response) {
  const { status, headers, body, bodyUsed } = response ?? {}
  if (!Number.isInteger(status) || typeof headers?.forEach !== 'function') {
    throw new TypeError(
      `the handler must return a Response, not ${response === null ? 'null' : Array.isArray(response) ? 'an array' : typeof response === 'object' ? 'another object' : typeof response}`,
    )
  }
  if (status < 200 || status > 599) throw new TypeError(`the handler returned a Response with status ${status}`)
  if (bodyUsed) throw new TypeError('the handler returned a Response whose body is already used')
  /** @type {string[]} */
  const list = []
  headers.forEach((/** @type {string} */ value, /** @type {string} */ name) => list.push(name.toLowerCase(), value))
  if (body === null || body === undefined) return { status, headers: list, body: null }
  if (typeof body.getReader === 'function') return { status, headers: list, body }
  if (typeof body[Symbol.asyncIterator] === 'function')
    return { status, headers: list, body: process.getBuiltinModule('node:stream/web').ReadableStream.from(body) }
  throw new TypeError('the body of the returned Response is no stream')
}

/** @param {Extract<import('./load.mjs').UserCode, { contract: 'event' }>['handler']} handler @param {Version} version @returns {Run} */
function eventRunner(handler, version) {
  const callbackStyle = handler.length >= 3
  const call = async (/** @type {Invocation} */ invocation, /** @type {unknown} */ event) => {
    const eventCtx = eventContext(invocation, version)
    if (!callbackStyle) return handler(event, eventCtx)
    return new Promise((resolve, reject) => {
      const result = /** @type {any} */ (handler(event, eventCtx, (error, value) => (error === null || error === undefined ? resolve(value) : reject(error))))
      if (typeof result?.then === 'function') result.then(resolve, reject)
    })
  }
  return async (invocation, method, url, headers) => {
    if (invocation.meta.upgrade) return refuse(invocation, 501, 'This function handles events, not WebSockets.')
    const bare = invocation.meta.event === true
    let result
    try {
      const collected = await collectEvent(invocation.body)
      if (collected === null) return refuse(invocation, 413, 'The event is larger than 6 MiB.')
      const event = bare ? parseEvent(collected) : { value: httpEvent(invocation, version, method, url, headers, collected) }
      if (event === null) return refuse(invocation, 400, 'The event is not JSON.')
      result = await call(invocation, event.value)
    } catch (error) {
      failed(invocation, error)
      return
    }
    let answer
    try {
      answer = bare ? eventAnswer(result) : httpAnswer(result)
    } catch (error) {
      failed(invocation, error, 'invalid_response')
      return
    }
    invocation.release()
    invocation.answer(answer.status, answer.headers, method === 'HEAD' ? null : answer.body)
  }
}

/** An event that no handler gets to see. @param {Invocation} invocation @param {number} status @param {string} why */
function refuse(invocation, status, why) {
  invocation.release()
  invocation.answer(status, ['content-type', 'text/plain;charset=utf-8'], `${why}\n`)
}

/** @param {Buffer} bytes @returns {{ value: unknown } | null} null for what is no JSON; nothing at all is an empty event */
function parseEvent(bytes) {
  if (bytes.length === 0) return { value: {} }
  try {
    return { value: JSON.parse(bytes.toString()) }
  } catch {
    return null
  }
}
