/**
 * The event contract: an HTTP request as an event of AWS Lambda's payload format 2.0 (the one of function URLs), and
 * a handler's result as an HTTP answer. A result without `statusCode` is the JSON body of a 200, `undefined` being
 * `null`, as it is there.
 */
import { isUtf8 } from 'node:buffer'

import { Headers, listOf } from './fetch/headers.mjs'

const { stringify } = JSON
const EVENT_MAX_BYTES = 6 * 1024 * 1024
const JSON_TYPE = 'application/json'
const TEXT_TYPES = /^\s*(text\/|application\/(json|xml|javascript|ecmascript|x-www-form-urlencoded|graphql|x-ndjson)\s*(;|$)|[^;]+\+(json|xml)\s*(;|$))/i
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

/** @typedef {import('./invocation.mjs').Invocation} Invocation @typedef {import('./contracts.mjs').Version} Version */

/** The whole body of an event. @param {import('./fetch/body.mjs').Incoming | null} body @returns {Promise<Buffer | null>} null when it is too large */
export async function collectEvent(body) {
  if (body === null) return Buffer.alloc(0)
  const chunks = []
  let bytes = 0
  for (let chunk = await body.read(); chunk !== null; chunk = await body.read()) {
    bytes += chunk.length
    if (bytes > EVENT_MAX_BYTES) return null
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, bytes)
}

/** The second argument of a handler, with the names that AWS Lambda gives. @param {Invocation} invocation @param {Version} version */
export function eventContext(invocation, version) {
  return {
    awsRequestId: invocation.meta.id,
    invocationId: invocation.meta.id,
    functionName: version.function,
    functionVersion: String(version.version),
    memoryLimitInMB: String(version.memoryMiB),
    tenant: version.tenant,
    /** Aborted when the client goes away or the deadline passes. */
    get signal() {
      return invocation.signal()
    },
    getRemainingTimeInMillis: () => invocation.remainingMs(),
    // Set by code from Lambda; here an answer never waits for the event loop.
    callbackWaitsForEmptyEventLoop: false,
  }
}

/** @param {Invocation} invocation @param {Version} version @param {string} method @param {string} url @param {string[]} headers flat @param {Buffer} body */
export function httpEvent(invocation, version, method, url, headers, body) {
  const { host, searchParams } = new URL(url)
  // The URL class would tidy up what the function should see as it came.
  const [, rawPath, search = ''] = /** @type {RegExpExecArray} */ (/^[a-z]+:\/\/[^/?]*([^?]*)(\?.*)?$/s.exec(url))
  /** @type {Record<string, string>} */
  const joined = Object.create(null)
  /** @type {string[]} */
  const cookies = []
  for (let i = 0; i < headers.length; i += 2) {
    const [name, value] = [headers[i], headers[i + 1]]
    if (name === 'cookie') cookies.push(...value.split(/; */).filter((cookie) => cookie !== ''))
    else joined[name] = name in joined ? `${joined[name]},${value}` : value
  }
  /** @type {Record<string, string>} */
  const query = Object.create(null)
  for (const [name, value] of searchParams) query[name] = name in query ? `${query[name]},${value}` : value
  const type = joined['content-type']
  const isText = body.length === 0 || (type === undefined ? isUtf8(body) : TEXT_TYPES.test(type))
  const now = new Date()
  return {
    version: '2.0',
    routeKey: '$default',
    rawPath,
    rawQueryString: search.slice(1),
    ...(cookies.length > 0 && { cookies }),
    headers: { ...joined },
    ...(search.length > 1 && { queryStringParameters: { ...query } }),
    requestContext: {
      accountId: version.tenant,
      apiId: version.function,
      domainName: host,
      domainPrefix: host.split('.')[0],
      http: {
        method,
        path: rawPath,
        protocol: 'HTTP/1.1',
        sourceIp: (joined['x-forwarded-for'] ?? '').split(',')[0].trim(),
        userAgent: joined['user-agent'] ?? '',
      },
      requestId: invocation.meta.id,
      routeKey: '$default',
      stage: '$default',
      time: clfTime(now),
      timeEpoch: now.getTime(),
    },
    ...(body.length > 0 && { body: body.toString(isText ? 'utf8' : 'base64') }),
    isBase64Encoded: !isText,
  }
}

/** The time as web servers' logs write it. @param {Date} date */
function clfTime(date) {
  const two = (/** @type {number} */ number) => String(number).padStart(2, '0')
  return `${two(date.getUTCDate())}/${MONTHS[date.getUTCMonth()]}/${date.getUTCFullYear()}:${two(date.getUTCHours())}:${two(date.getUTCMinutes())}:${two(date.getUTCSeconds())} +0000`
}

/** @typedef {{ status: number, headers: string[], body: string | Uint8Array | null }} Answer */

/** @param {unknown} result @returns {Answer} @throws TypeError when it has no JSON form */
export function eventAnswer(result) {
  let body
  try {
    body = stringify(result === undefined ? null : result)
  } catch (cause) {
    throw new TypeError(`the handler's result has no JSON form: ${/** @type {Error} */ (cause).message}`, { cause })
  }
  if (body === undefined) throw new TypeError(`the handler's result, a ${typeof result}, has no JSON form`)
  return { status: 200, headers: ['content-type', JSON_TYPE], body }
}

/** @param {any} result @returns {Answer} @throws TypeError for what is no HTTP answer */
export function httpAnswer(result) {
  if (typeof result !== 'object' || result === null || result.statusCode === undefined) return eventAnswer(result)
  const { statusCode, headers, cookies, body, isBase64Encoded } = result
  const status = Number(statusCode)
  if (!Number.isInteger(status) || status < 200 || status > 599)
    throw new TypeError(`statusCode must be a whole number from 200 to 599, not ${stringify(statusCode)}`)
  const list = listOf(new Headers(headers ?? undefined)).slice()
  if (cookies !== undefined && cookies !== null && !Array.isArray(cookies)) throw new TypeError('cookies must be a list of strings')
  for (const cookie of cookies ?? []) list.push(...listOf(new Headers([['set-cookie', cookie]])))
  if (body === undefined || body === null || body === '') return { status, headers: list, body: null }
  if (typeof body !== 'string')
    throw new TypeError(`body must be a string, not ${typeof body === 'object' ? 'an object' : `a ${typeof body}`}; JSON.stringify makes one`)
  if (!list.some((name, i) => i % 2 === 0 && name === 'content-type')) list.push('content-type', JSON_TYPE)
  return { status, headers: list, body: isBase64Encoded ? Buffer.from(body, 'base64') : body }
}
