/** Request as the Fetch standard has it, light: see headers.mjs. As in Node there is no page, so relative URLs have no base. */
import { bodyOf, cloneBody, extract, isUnusable, mixInBody, takeBody } from './body.mjs'
import { Headers, asInterface, byteString, fromList, isToken, listOf, needArguments } from './headers.mjs'
import { realResponse } from './real.mjs'

const INSPECT = Symbol.for('nodejs.util.inspect.custom')
const OWN = Symbol('made by the shim itself')
const NORMALISED = new Set(['DELETE', 'GET', 'HEAD', 'OPTIONS', 'POST', 'PUT'])
const FORBIDDEN = new Set(['CONNECT', 'TRACE', 'TRACK'])
const SIMPLE = new Set(['GET', 'HEAD', 'POST'])

/** Members of RequestInit that take one of a few words, in the order in which Web IDL reads them. */
const WORDS = {
  cache: ['default', 'no-store', 'reload', 'no-cache', 'force-cache', 'only-if-cached'],
  credentials: ['omit', 'same-origin', 'include'],
  duplex: ['half'],
  mode: ['same-origin', 'no-cors', 'cors', 'navigate'],
  priority: ['high', 'low', 'auto'],
  redirect: ['follow', 'error', 'manual'],
  referrerPolicy: [
    '',
    'no-referrer',
    'no-referrer-when-downgrade',
    'same-origin',
    'origin',
    'strict-origin',
    'origin-when-cross-origin',
    'strict-origin-when-cross-origin',
    'unsafe-url',
  ],
}
/** What hardly any server code sets; shared until somebody does. */
const DEFAULTS = Object.freeze(
  /** @type {Record<'cache' | 'credentials' | 'integrity' | 'mode' | 'redirect' | 'referrer' | 'referrerPolicy', string> & { keepalive: boolean }} */ ({
    cache: 'default',
    credentials: 'same-origin',
    integrity: '',
    keepalive: false,
    mode: 'cors',
    redirect: 'follow',
    referrer: 'about:client',
    referrerPolicy: '',
  }),
)

/**
 * @typedef {object} RequestState
 * @property {string} method
 * @property {string} url
 * @property {Headers} headers
 * @property {import('./body.mjs').Body | null} body
 * @property {AbortSignal | undefined} signal made when first asked for
 * @property {(() => AbortSignal) | null} follows gives the signal that the request's own one follows
 * @property {typeof DEFAULTS} options
 */

/** @type {(request: any) => RequestState} throws a TypeError for anything else */
export let requestState
/** @type {(value: any) => value is Request} */
export let isRequest

export class Request {
  /** @type {RequestState} */
  #state

  /** @param {any} input @param {any} [init] */
  constructor(input, init = undefined) {
    if (input === OWN) {
      this.#state = init
      return
    }
    needArguments('Request', arguments.length, 1)
    this.#state = isRequest(input) ? fromRequest(input, readInit(init)) : fromUrl(input, readInit(init))
  }

  get method() {
    return this.#state.method
  }

  get url() {
    return this.#state.url
  }

  get headers() {
    return this.#state.headers
  }

  get signal() {
    const state = this.#state
    return (state.signal ??= state.follows ? AbortSignal.any([state.follows()]) : new AbortController().signal)
  }

  get destination() {
    return (this.#state, '')
  }

  get referrer() {
    return this.#state.options.referrer
  }

  get referrerPolicy() {
    return this.#state.options.referrerPolicy
  }

  get mode() {
    return this.#state.options.mode
  }

  get credentials() {
    return this.#state.options.credentials
  }

  get cache() {
    return this.#state.options.cache
  }

  get redirect() {
    return this.#state.options.redirect
  }

  get integrity() {
    return this.#state.options.integrity
  }

  get keepalive() {
    return this.#state.options.keepalive
  }

  get isReloadNavigation() {
    return (this.#state, false)
  }

  get isHistoryNavigation() {
    return (this.#state, false)
  }

  get duplex() {
    return (this.#state, 'half')
  }

  clone() {
    const { method, url, headers, body, options } = this.#state
    const copy = body === null ? null : cloneBody(body)
    return new Request(OWN, {
      method,
      url,
      headers: fromList(listOf(headers).slice(), 'none'),
      body: copy,
      signal: undefined,
      follows: () => this.signal,
      options,
    })
  }

  /** @param {number} _depth @param {any} inspectOptions @param {Function} inspect */
  [INSPECT](_depth, inspectOptions, inspect) {
    const { method, url, headers, body, bodyUsed } = /** @type {any} */ (this)
    return `Request ${inspect({ method, url, headers, body, bodyUsed, ...this.#state.options }, inspectOptions)}`
  }

  static {
    requestState = (request) => request.#state
    isRequest = (value) => typeof value === 'object' && value !== null && #state in value
  }
}

mixInBody(
  Request,
  (owner) => requestState(owner).body,
  (owner) => requestState(owner).headers.get('content-type'),
  realResponse,
)
asInterface(Request)

/**
 * The request that came over the wire. Its URL and headers are as the host checked them.
 * @param {string} method @param {string} url @param {string[]} headers flat @param {import('./body.mjs').Incoming | null} incoming @param {() => AbortSignal} signal
 */
export function incomingRequest(method, url, headers, incoming, signal) {
  return new Request(OWN, {
    method,
    url,
    headers: fromList(headers, 'none'),
    body: incoming === null ? null : bodyOf(incoming),
    signal: undefined,
    follows: signal,
    options: DEFAULTS,
  })
}

/** @param {any} init */
function readInit(init) {
  if (init === undefined || init === null) return null
  if (typeof init !== 'object' && typeof init !== 'function') throw new TypeError('The second argument of Request takes an object')
  const read = /** @type {Record<string, any>} */ ({})
  for (const name of [
    'body',
    'cache',
    'credentials',
    'duplex',
    'headers',
    'integrity',
    'keepalive',
    'method',
    'mode',
    'priority',
    'redirect',
    'referrer',
    'referrerPolicy',
    'signal',
    'window',
  ]) {
    const value = init[name]
    if (value === undefined) continue
    const words = WORDS[/** @type {keyof typeof WORDS} */ (name)]
    if (words) {
      read[name] = `${value}`
      if (!words.includes(read[name])) throw new TypeError(`"${value}" is no ${name} of a request`)
    } else if (name === 'integrity') read[name] = `${value}`
    else if (name === 'keepalive') read[name] = Boolean(value)
    else if (name === 'method') read[name] = byteString(value, 'The method')
    else if (name === 'referrer') read[name] = `${value}`
    else if (name === 'headers') read[name] = new Headers(value)
    else if (name === 'signal' && value !== null && !(value instanceof AbortSignal)) throw new TypeError('signal takes an AbortSignal')
    else read[name] = value
  }
  if (read.window !== undefined && read.window !== null) throw new TypeError('window takes null only')
  return read
}

/** @param {any} input @param {Record<string, any> | null} init @returns {RequestState} */
function fromUrl(input, init) {
  let url
  try {
    url = new URL(`${input}`)
  } catch (cause) {
    throw new TypeError(`"${input}" is not an absolute URL`, { cause })
  }
  if (url.username !== '' || url.password !== '') throw new TypeError('The URL of a request holds no user name and password')
  const state = { method: 'GET', url: url.href, headers: fromList([], 'none'), body: null, signal: undefined, follows: null, options: DEFAULTS }
  if (init !== null) applyInit(state, init, null)
  return state
}

/** @param {Request} input @param {Record<string, any> | null} init @returns {RequestState} */
function fromRequest(input, init) {
  const given = requestState(input)
  const { method, url, body, options } = given
  const changed = init !== null && Object.keys(init).length > 0 && options !== DEFAULTS
  // A copy with changes is a request of its own, which tells nothing of where the first one came from.
  const kept = changed ? { ...options, referrer: DEFAULTS.referrer, referrerPolicy: DEFAULTS.referrerPolicy } : options
  const state = {
    method,
    url,
    headers: fromList(listOf(given.headers).slice(), 'none'),
    body: null,
    signal: undefined,
    follows: () => input.signal,
    options: kept,
  }
  applyInit(state, init ?? {}, body)
  return state
}

/** @param {RequestState} state @param {Record<string, any>} init @param {import('./body.mjs').Body | null} inherited */
function applyInit(state, init, inherited) {
  const { cache, credentials, integrity, keepalive, mode, redirect, referrer, referrerPolicy } = init
  if (
    cache !== undefined ||
    credentials !== undefined ||
    integrity !== undefined ||
    keepalive !== undefined ||
    mode !== undefined ||
    redirect !== undefined ||
    referrer !== undefined ||
    referrerPolicy !== undefined
  ) {
    const options = /** @type {any} */ ({ ...state.options })
    if (mode === 'navigate') throw new TypeError('mode cannot be navigate')
    for (const name of Object.keys(DEFAULTS)) if (init[name] !== undefined) options[name] = init[name]
    if (referrer !== undefined && referrer !== '') {
      if (!URL.canParse(referrer)) throw new TypeError(`"${referrer}" is not an absolute URL`)
      options.referrer = new URL(referrer).href
    }
    if (options.cache === 'only-if-cached' && options.mode !== 'same-origin') throw new TypeError('cache only-if-cached needs mode same-origin')
    state.options = options
  }
  if (init.method !== undefined) state.method = checkMethod(init.method)
  if (init.signal !== undefined) state.follows = init.signal === null ? null : () => init.signal
  if (state.options.mode === 'no-cors' && !SIMPLE.has(state.method)) throw new TypeError(`A request with mode no-cors cannot have the method ${state.method}`)
  if (init.headers !== undefined) state.headers = init.headers

  const { body } = init
  const hasBody = body !== undefined && body !== null
  if ((hasBody || inherited !== null) && (state.method === 'GET' || state.method === 'HEAD')) throw new TypeError(`A ${state.method} request has no body`)
  if (hasBody) {
    const { body: extracted, type } = extract(body, state.options.keepalive)
    if (extracted.source === null && init.duplex === undefined) throw new TypeError('A request with a stream as its body needs duplex: "half"')
    if (type !== null && !state.headers.has('content-type')) state.headers.append('content-type', type)
    state.body = extracted
    // A request that gave its place to another is used up, even when that one brings its own body.
    if (inherited !== null && !isUnusable(inherited)) takeBody(inherited)
  } else if (inherited !== null) {
    if (isUnusable(inherited)) throw new TypeError('The body of the given request is already used or locked')
    state.body = takeBody(inherited)
  }
}

/** @param {string} method */
function checkMethod(method) {
  if (!isToken(method)) throw new TypeError(`"${method}" is not a method`)
  const upper = method.toUpperCase()
  if (FORBIDDEN.has(upper)) throw new TypeError(`The method ${upper} is not for requests like this`)
  return NORMALISED.has(upper) ? upper : method
}
