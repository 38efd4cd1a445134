/**
 * Headers as the Fetch standard has them, without loading Node's undici (30–40 ms at first touch).
 * Differences, as in Node's own class: no forbidden request or response headers, since a server's code must be able to
 * set Cookie, Host and Set-Cookie.
 */

const { apply, ownKeys, getOwnPropertyDescriptor } = Reflect
const { iterator: ITERATOR, toStringTag: TAG } = Symbol
const INSPECT = Symbol.for('nodejs.util.inspect.custom')

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const EDGE_SPACE = /^[\t\n\r ]+|[\t\n\r ]+$/g
/** The three bytes that a header's value may not hold. */
const BAD_VALUE = /[\0\n\r]/
const NOT_BYTES = /[^\0-\xff]/

/** @param {unknown} value @param {string} what @returns {string} a string whose characters all fit a byte. @throws TypeError */
export function byteString(value, what) {
  if (typeof value === 'symbol') throw new TypeError(`${what} is a symbol, not a string`)
  const text = `${value}`
  if (NOT_BYTES.test(text)) throw new TypeError(`${what} holds a character above U+00FF`)
  return text
}

/** @param {string} text */
export const isToken = (text) => TOKEN.test(text)

/** @param {string} method @param {number} given @param {number} needed */
export function needArguments(method, given, needed) {
  if (given < needed) throw new TypeError(`${method} takes ${needed} argument${needed > 1 ? 's' : ''}, got ${given}`)
}

/** @param {unknown} name @returns {string} in lower case */
function headerName(name) {
  const text = byteString(name, 'A header name')
  if (!TOKEN.test(text)) throw new TypeError(`"${text}" is not a header name`)
  return text.toLowerCase()
}

/** @param {unknown} value @param {string} name */
function headerValue(value, name) {
  let text = byteString(value, `The value of header "${name}"`)
  const first = text.charCodeAt(0)
  const last = text.charCodeAt(text.length - 1)
  if (first <= 32 || last <= 32) text = text.replace(EDGE_SPACE, '')
  if (BAD_VALUE.test(text)) throw new TypeError(`The value of header "${name}" holds a line break or a null`)
  return text
}

/** Not `push`: user code that breaks Array.prototype shall break its own things first. @param {string[]} list flat @param {string} name in lower case @param {string} value */
export function addTo(list, name, value) {
  const { length } = list
  list[length] = name
  list[length + 1] = value
}

/** Set in the class's static block. @type {(headers: Headers) => string[]} */
let listOf
/** @type {(list: string[], guard: string) => Headers} */
let fromList
/** @type {(headers: Headers) => [string, string][]} */
let sortedOf

export class Headers {
  /** `[name, value, name, value, …]` in the order they came, names in lower case. @type {string[]} */
  #list = []
  /** `none` or `immutable`: the guards that mean something on a server. */
  #guard = 'none'
  /** What iteration shows: sorted, combined; made anew after a change. @type {[string, string][] | null} */
  #sorted = null

  /** Takes pairs, a record or another Headers. */
  constructor(/** @type {any} */ init = undefined) {
    if (init === undefined) return
    if (init === null || (typeof init !== 'object' && typeof init !== 'function')) throw new TypeError('Headers takes pairs, a record or another Headers')
    if (#list in init && /** @type {any} */ (init)[ITERATOR] === Headers.prototype.entries) {
      this.#list = init.#list.slice()
      return
    }
    for (const [name, value] of pairsOf(init)) this.append(name, value)
  }

  /** @param {string} name @param {string} value */
  append(name, value) {
    const list = this.#list
    needArguments('Headers.append', arguments.length, 2)
    const key = headerName(name)
    const text = headerValue(value, key)
    this.#check()
    addTo(list, key, text)
  }

  /** @param {string} name @param {string} value */
  set(name, value) {
    const list = this.#list
    needArguments('Headers.set', arguments.length, 2)
    const key = headerName(name)
    const text = headerValue(value, key)
    this.#check()
    for (let i = 0; i < list.length; i += 2) {
      if (list[i] !== key) continue
      list[i + 1] = text
      remove(list, key, i + 2)
      return
    }
    addTo(list, key, text)
  }

  /** @param {string} name */
  delete(name) {
    const list = this.#list
    needArguments('Headers.delete', arguments.length, 1)
    const key = headerName(name)
    this.#check()
    remove(list, key, 0)
  }

  /** @param {string} name @returns {string | null} */
  get(name) {
    const list = this.#list
    needArguments('Headers.get', arguments.length, 1)
    const key = headerName(name)
    let found = null
    for (let i = 0; i < list.length; i += 2) if (list[i] === key) found = found === null ? list[i + 1] : `${found}, ${list[i + 1]}`
    return found
  }

  /** @param {string} name */
  has(name) {
    const list = this.#list
    needArguments('Headers.has', arguments.length, 1)
    const key = headerName(name)
    for (let i = 0; i < list.length; i += 2) if (list[i] === key) return true
    return false
  }

  /** @returns {string[]} */
  getSetCookie() {
    const list = this.#list
    const cookies = []
    for (let i = 0; i < list.length; i += 2) if (list[i] === 'set-cookie') cookies.push(list[i + 1])
    return cookies
  }

  /** @param {(value: string, name: string, headers: Headers) => void} callback @param {unknown} [thisArg] */
  forEach(callback, thisArg = undefined) {
    let pairs = this.#pairs()
    needArguments('Headers.forEach', arguments.length, 1)
    if (typeof callback !== 'function') throw new TypeError('Headers.forEach takes a function')
    for (let i = 0; i < pairs.length; i++, pairs = this.#pairs()) apply(callback, thisArg, [pairs[i][1], pairs[i][0], this])
  }

  keys() {
    return new HeadersIterator(this, (this.#pairs(), 0))
  }

  values() {
    return new HeadersIterator(this, (this.#pairs(), 1))
  }

  entries() {
    return new HeadersIterator(this, (this.#pairs(), 2))
  }

  /** @param {number} _depth @param {any} options @param {Function} inspect */
  [INSPECT](_depth, options, inspect) {
    return `Headers ${inspect(Object.fromEntries(this.#pairs()), options)}`
  }

  #check() {
    if (this.#guard === 'immutable') throw new TypeError('These headers are immutable')
    this.#sorted = null
  }

  #pairs() {
    return (this.#sorted ??= sortAndCombine(this.#list))
  }

  static {
    listOf = (headers) => headers.#list
    sortedOf = (headers) => headers.#pairs()
    fromList = (list, guard) => {
      const headers = new Headers()
      headers.#list = list
      headers.#guard = guard
      return headers
    }
  }
}

export { listOf, fromList }

/** Live, as Web IDL wants it: a change of the headers shows in an iteration that runs. */
class HeadersIterator {
  #headers
  #kind
  #index = 0

  /** @param {Headers} headers @param {number} kind 0 keys, 1 values, 2 both */
  constructor(headers, kind) {
    this.#headers = headers
    this.#kind = kind
  }

  next() {
    const pairs = sortedOf(this.#headers)
    if (this.#index >= pairs.length) return { value: undefined, done: true }
    const [name, value] = pairs[this.#index++]
    return { value: this.#kind === 2 ? [name, value] : this.#kind === 0 ? name : value, done: false }
  }
}
const ITERATOR_PROTOTYPE = Object.getPrototypeOf(Object.getPrototypeOf(/** @type {any} */ ([])[ITERATOR]()))
Object.setPrototypeOf(HeadersIterator.prototype, ITERATOR_PROTOTYPE)
delete (/** @type {any} */ (HeadersIterator.prototype).constructor)
Object.defineProperty(HeadersIterator.prototype, TAG, { value: 'Headers Iterator', configurable: true })
Object.defineProperty(HeadersIterator.prototype, 'next', { enumerable: true })

/** Gives a class the property attributes that Web IDL demands: enumerable members and a tag. @param {Function} constructor */
export function asInterface(constructor) {
  for (const target of [constructor, constructor.prototype]) {
    for (const key of Object.getOwnPropertyNames(target)) {
      if (key === 'constructor' || key === 'prototype' || key === 'name' || key === 'length') continue
      Object.defineProperty(target, key, { enumerable: true })
    }
  }
  Object.defineProperty(constructor.prototype, TAG, { value: constructor.name, configurable: true })
}
asInterface(Headers)
Object.defineProperty(Headers.prototype, ITERATOR, { value: Headers.prototype.entries, writable: true, configurable: true })

/** @param {string[]} list @param {string} key @param {number} from */
function remove(list, key, from) {
  let kept = from
  for (let i = from; i < list.length; i += 2) {
    if (list[i] === key) continue
    list[kept] = list[i]
    list[kept + 1] = list[i + 1]
    kept += 2
  }
  list.length = kept
}

/** @param {string[]} list @returns {[string, string][]} */
function sortAndCombine(list) {
  /** @type {Map<string, string>} */
  const combined = new Map()
  /** @type {[string, string][]} */
  const pairs = []
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]
    if (name === 'set-cookie') pairs.push([name, list[i + 1]])
    else combined.set(name, combined.has(name) ? `${combined.get(name)}, ${list[i + 1]}` : list[i + 1])
  }
  pairs.push(...combined)
  return pairs.sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0))
}

/** Web IDL's conversion of `(sequence<sequence<ByteString>> or record<ByteString, ByteString>)`. @param {any} init @returns {[string, string][]} */
function pairsOf(init) {
  const method = init[ITERATOR]
  if (method !== undefined && method !== null) {
    if (typeof method !== 'function') throw new TypeError('Headers takes pairs, a record or another Headers')
    const pairs = []
    for (const pair of /** @type {any} */ ({ [ITERATOR]: () => apply(method, init, []) })) {
      if (pair === null || typeof pair !== 'object' || typeof pair[ITERATOR] !== 'function') throw new TypeError('Each header must be a pair of name and value')
      const parts = [...pair].map((part) => byteString(part, 'A header'))
      if (parts.length !== 2) throw new TypeError('Each header must be a pair of name and value')
      pairs.push(parts)
    }
    return /** @type {any} */ (pairs)
  }
  const pairs = []
  for (const key of ownKeys(init)) {
    if (!getOwnPropertyDescriptor(init, key)?.enumerable) continue
    const name = byteString(key, 'A header name')
    pairs.push([name, byteString(init[key], `The value of header "${name}"`)])
  }
  return /** @type {any} */ (pairs)
}
