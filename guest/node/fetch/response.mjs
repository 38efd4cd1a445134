/** Response as the Fetch standard has it, light: see headers.mjs. */
import { bodyOf, cloneBody, extract, mixInBody } from './body.mjs'
import { Headers, addTo, asInterface, byteString, fromList, listOf, needArguments } from './headers.mjs'
import { isReal, realResponse } from './real.mjs'

const { stringify } = JSON
const { call } = Function.prototype
const hasInstance = call.bind(Function.prototype[Symbol.hasInstance])
const INSPECT = Symbol.for('nodejs.util.inspect.custom')
const OWN = Symbol('made by the shim itself')
const NULL_BODY = new Set([101, 103, 204, 205, 304])
const REDIRECT = new Set([301, 302, 303, 307, 308])
/** What a reason phrase may not hold. */
const BAD_REASON = /[^\t\x20-\x7e\x80-\xff]/

/**
 * @typedef {object} ResponseState
 * @property {string} type
 * @property {number} status
 * @property {string} statusText
 * @property {Headers} headers
 * @property {import('./body.mjs').Body | null} body
 */

/** @type {(response: any) => ResponseState} throws a TypeError for anything else */
export let responseState
/** @type {(value: any) => value is Response} */
export let isResponse

export class Response {
  /** @type {ResponseState} */
  #state

  /** @param {any} [body] @param {any} [init] */
  constructor(body = null, init = undefined) {
    if (body === OWN) {
      this.#state = init
      return
    }
    const state = { type: 'default', status: 200, statusText: '', headers: undefined, body: null }
    this.#state = /** @type {any} */ (state)
    if (init !== undefined && init !== null) applyInit(state, init)
    state.headers ??= /** @type {any} */ (fromList([], 'none'))
    if (body !== null && body !== undefined) setBody(/** @type {any} */ (state), extract(body))
  }

  static error() {
    return own({ type: 'error', status: 0, statusText: '', headers: fromList([], 'immutable'), body: null })
  }

  /** @param {any} data @param {any} [init] */
  static json(data, init = undefined) {
    needArguments('Response.json', arguments.length, 1)
    const text = stringify(data)
    if (text === undefined) throw new TypeError('The value has no JSON form')
    const state = { type: 'default', status: 200, statusText: '', headers: undefined, body: null }
    if (init !== undefined && init !== null) applyInit(state, init)
    state.headers ??= /** @type {any} */ (fromList([], 'none'))
    setBody(/** @type {any} */ (state), { body: bodyOf(text), type: 'application/json' })
    return own(/** @type {any} */ (state))
  }

  /** @param {string | URL} url @param {number} [status] */
  static redirect(url, status = 302) {
    needArguments('Response.redirect', arguments.length, 1)
    const text = `${url}`
    const code = toShort(status)
    let target
    try {
      target = new URL(text)
    } catch (cause) {
      throw new TypeError(`"${text}" is not an absolute URL`, { cause })
    }
    if (!REDIRECT.has(code)) throw new RangeError(`${code} is not a redirect's status`)
    return own({ type: 'default', status: code, statusText: '', headers: fromList(['location', target.href], 'immutable'), body: null })
  }

  get type() {
    return this.#state.type
  }

  get url() {
    return (this.#state, '')
  }

  get redirected() {
    return (this.#state, false)
  }

  get status() {
    return this.#state.status
  }

  get ok() {
    const { status } = this.#state
    return status >= 200 && status <= 299
  }

  get statusText() {
    return this.#state.statusText
  }

  get headers() {
    return this.#state.headers
  }

  clone() {
    const { type, status, statusText, headers, body } = this.#state
    const copy = body === null ? null : cloneBody(body)
    return own({ type, status, statusText, headers: fromList(listOf(headers).slice(), type === 'error' ? 'immutable' : 'none'), body: copy })
  }

  /** @param {number} _depth @param {any} options @param {Function} inspect */
  [INSPECT](_depth, options, inspect) {
    const { status, statusText, headers, ok, body, bodyUsed, redirected, type, url } = /** @type {any} */ (this)
    return `Response ${inspect({ status, statusText, headers, body, bodyUsed, ok, redirected, type, url }, options)}`
  }

  /** Node's own responses, as fetch gives them, count too. @param {any} value */
  static [Symbol.hasInstance](value) {
    return hasInstance(this, value) || (this === Response && isReal('Response', value))
  }

  static {
    responseState = (response) => response.#state
    isResponse = (value) => typeof value === 'object' && value !== null && #state in value
  }
}

mixInBody(
  Response,
  (owner) => responseState(owner).body,
  (owner) => responseState(owner).headers.get('content-type'),
  realResponse,
)
asInterface(Response)

/** @param {ResponseState} state */
function own(state) {
  return new Response(OWN, state)
}

/** The answer that accepts a WebSocket, which no constructor makes. @param {string[]} headers */
export function switchingResponse(headers) {
  return own({ type: 'default', status: 101, statusText: '', headers: fromList(headers, 'none'), body: null })
}

/** Web IDL's `unsigned short`. @param {any} value */
function toShort(value) {
  const number = Math.trunc(+value)
  return Number.isFinite(number) ? ((number % 65_536) + 65_536) % 65_536 : 0
}

/** Members in the order in which Web IDL reads a dictionary: by the alphabet. @param {any} state @param {any} init */
function applyInit(state, init) {
  if (typeof init !== 'object' && typeof init !== 'function') throw new TypeError('The second argument of Response takes an object')
  const { headers, status, statusText } = init
  const given = headers === undefined ? undefined : new Headers(headers)
  if (status !== undefined) {
    const code = toShort(status)
    if (code < 200 || code > 599) throw new RangeError(`A Response's status is from 200 to 599, not ${code}`)
    state.status = code
  }
  if (statusText !== undefined) {
    const text = byteString(statusText, 'statusText')
    if (BAD_REASON.test(text)) throw new TypeError('statusText holds a character that a reason phrase may not')
    state.statusText = text
  }
  state.headers = given
}

/** @param {ResponseState} state @param {{ body: import('./body.mjs').Body, type: string | null }} extracted */
function setBody(state, { body, type }) {
  if (NULL_BODY.has(state.status)) throw new TypeError(`A response with status ${state.status} has no body`)
  state.body = body
  if (type === null) return
  const list = listOf(state.headers)
  for (let i = 0; i < list.length; i += 2) if (list[i] === 'content-type') return
  addTo(list, 'content-type', type)
}
