/**
 * Puts the light classes in the global places. Order matters: a lazy global of Node's loads undici as soon as its
 * property is read, described or redefined, but not when it is deleted.
 */
import { isUnusable, streamOf, takeBody } from './body.mjs'
import { Headers } from './headers.mjs'
import { keepRealFetch, noteReal } from './real.mjs'
import { Request, isRequest, requestState } from './request.mjs'
import { Response } from './response.mjs'

/** Codes of system errors that mean: there is no way out of this sandbox. */
const NO_NETWORK = new Set(['ENETUNREACH', 'EHOSTUNREACH', 'EAI_AGAIN', 'ENOTFOUND', 'ECONNREFUSED', 'EACCES', 'EADDRNOTAVAIL'])

/** Once, before any code of the user's runs. */
export function installFetch() {
  for (const [name, value] of Object.entries({ Headers, Request, Response })) {
    delete (/** @type {any} */ (globalThis)[name])
    define(name, value)
  }
  define('fetch', lightFetch(globalThis.fetch))
}

/** Node's fetch, for light requests too. @param {typeof globalThis.fetch} real */
export function lightFetch(real) {
  keepRealFetch(real)
  // Not async: what fetch throws for bad arguments it rejects with, and the real one does that itself.
  return function fetch(/** @type {any} */ input, /** @type {any} */ init = undefined) {
    let answer
    try {
      answer = isRequest(input) ? real(...realArguments(input, init)) : real(input, init)
    } catch (error) {
      return Promise.reject(error)
    }
    return answer.then(
      (response) => {
        noteReal(response)
        return response
      },
      (error) => {
        throw explained(error, isRequest(input) ? input.url : input)
      },
    )
  }
}

/** @param {string} name @param {unknown} value */
function define(name, value) {
  Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: name === 'fetch' })
}

/** A light request as arguments for Node's fetch. @param {Request} input @param {any} init @returns {[string, RequestInit]} */
function realArguments(input, init) {
  // What is wrong with request and init together shows itself here, as it would in the real class.
  const request = init === undefined || init === null ? input : new Request(input, init)
  const { method, url, headers, body, options } = requestState(request)
  if (body !== null && isUnusable(body)) throw new TypeError('Cannot construct a Request with a Request object that has already been used.')
  const { cache, credentials, integrity, keepalive, mode, redirect, referrer, referrerPolicy } = options
  const { dispatcher } = init ?? {}
  const real = {
    method,
    headers: [.../** @type {any} */ (headers)],
    signal: request.signal,
    cache,
    credentials,
    integrity,
    keepalive,
    mode,
    redirect,
    referrerPolicy,
    ...(dispatcher && { dispatcher }),
  }
  if (referrer !== 'about:client') Object.assign(real, { referrer })
  if (body !== null) {
    // What does not change goes as it is, so that its length is known and a redirect can send it again.
    const taken = takeBody(body)
    const whole = typeof taken.source === 'string' || taken.source instanceof Uint8Array || taken.source instanceof Blob
    Object.assign(real, whole ? { body: taken.source } : { body: streamOf(taken), duplex: 'half' })
  }
  return [url, /** @type {any} */ (real)]
}

/** "fetch failed" says too little to somebody whose function has no network. @param {any} error @param {any} input */
function explained(error, input) {
  const code = error?.cause?.code
  if (!(error instanceof TypeError) || !NO_NETWORK.has(code)) return error
  const host = URL.canParse(`${input}`) ? new URL(`${input}`).host : `${input}`
  return new TypeError(`fetch failed: ${host} cannot be reached from this sandbox (${code}); functions have no network but their own loopback`, {
    cause: error.cause,
  })
}
