/** Header fields on their way through the gateway: what is taken off, what is added, what is refused (RFC 9110, section 7.6.1). */
import { HostelError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { FlatHeaders } from '../sandbox/protocol.ts'
import type { ForwardedFields } from './client.ts'

/** What the gateway needs to know of a request's fields; `headers` is what may go on to the function. */
export interface RequestFields {
  host: string
  headers: FlatHeaders
  hasBody: boolean
  /** Declared size; null when there is no body or it is chunked. */
  contentLength: number | null
  contentType: string | null
  /** Null without one; empty with more than one. */
  authorization: string | null
  serviceWorker: boolean
  /** `Sec-WebSocket-Key`, if there is just one. */
  webSocketKey: string | null
  webSocketVersion: string | null
  /** What proxies in front say; of anybody else it is only a claim. */
  forwarded: ForwardedFields | null
  /** As W3C Trace Context has it; null when there is none that is valid. */
  traceparent: string | null
}

/** About one connection only, whoever lists them. */
const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/
const TRACE_FIELDS = new Set(['traceparent', 'tracestate'])
const COOKIE_FIELD = new Set(['cookie'])

/** @throws HostelError `malformed_request`, `headers_too_large` */
export function readRequestFields(raw: string[]): RequestFields {
  if (raw.length > limits.requestHeadMaxFields * 2) throw new HostelError('headers_too_large', `more than ${limits.requestHeadMaxFields} header fields`)
  const fields: RequestFields = {
    host: '',
    headers: [],
    hasBody: false,
    contentLength: null,
    contentType: null,
    authorization: null,
    serviceWorker: false,
    webSocketKey: null,
    webSocketVersion: null,
    forwarded: null,
    traceparent: null,
  }
  const { headers } = fields
  let hosts = 0
  let traces = 0
  let cookies = 0
  let connection = ''
  let authority: string | null = null
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!.toLowerCase()
    const value = raw[i + 1]!
    switch (name) {
      case 'host':
        hosts++
        fields.host = value
        break
      case ':authority':
        authority = value
        continue
      case ':method':
      case ':path':
      case ':scheme':
        continue
      case 'cookie':
        cookies++
        break
      case 'traceparent':
        fields.traceparent = ++traces === 1 && TRACEPARENT.test(value) ? value : null
        break
      case 'content-length':
        // Node's parser has checked it: digits only, once, and not next to transfer-encoding.
        fields.contentLength = Number(value)
        fields.hasBody = fields.contentLength > 0
        break
      case 'transfer-encoding':
        // The parser also takes others before it, which we could not undo.
        if (value.toLowerCase() !== 'chunked') throw new HostelError('malformed_request', 'Transfer-Encoding takes only chunked')
        fields.hasBody = true
        break
      case 'content-type':
        fields.contentType ??= value
        break
      case 'authorization':
        fields.authorization = fields.authorization === null ? value : ''
        break
      case 'connection':
        connection += `,${value}`
        break
      case 'service-worker':
        fields.serviceWorker = true
        break
      case 'sec-websocket-key':
        // Two of them fit no pattern.
        fields.webSocketKey = fields.webSocketKey === null ? value : ''
        break
      case 'sec-websocket-version':
        fields.webSocketVersion ??= value
        break
    }
    // Host is added again with the forwarding fields; Expect is between the client and us.
    if (name === 'host' || name === 'expect' || hopByHop.has(name)) continue
    if (isOurs(name)) noteForwarded(fields, name, value)
    else headers.push(name, value)
  }
  if (authority !== null) {
    // HTTP/2 names the host so; a Host field beside it may only say the same (RFC 9113, section 8.3.1).
    if (hosts > 1 || (hosts === 1 && fields.host !== authority)) throw new HostelError('malformed_request', 'Host and :authority differ')
    fields.host = authority
    hosts = 1
  }
  if (hosts !== 1) throw new HostelError('malformed_request', hosts === 0 ? 'the Host header is missing' : 'there is more than one Host header')
  const listed = listedIn(connection)
  if (listed) fields.headers = without(fields.headers, listed)
  // What can't be read starts no trace, and its state says nothing then (W3C Trace Context, section 3.3).
  if (traces > 0 && fields.traceparent === null) fields.headers = without(fields.headers, TRACE_FIELDS)
  // HTTP/2 may send one field for each cookie, which only it may (RFC 9113, section 8.2.3).
  if (cookies > 1) fields.headers = withOneCookie(fields.headers)
  return fields
}

function withOneCookie(headers: FlatHeaders): FlatHeaders {
  const cookies = headers.filter((_value, index) => index % 2 === 1 && headers[index - 1] === 'cookie')
  return [...without(headers, COOKIE_FIELD), 'cookie', cookies.join('; ')]
}

/** Fields that only we may set, also in the spelling that CGI-like environments confuse with it. */
function isOurs(name: string): boolean {
  const first = name.charCodeAt(0)
  // Nearly every name is done with here: f, h, x.
  if (first !== 0x78 && first !== 0x66 && first !== 0x68) return false
  const plain = name.includes('_') ? name.replaceAll('_', '-') : name
  return plain.startsWith('x-forwarded') || plain === 'forwarded' || plain === 'x-real-ip' || plain.startsWith('hostel-')
}

function noteForwarded(fields: RequestFields, name: string, value: string): void {
  const part = name === 'x-forwarded-for' ? 'for' : name === 'x-forwarded-proto' ? 'proto' : name === 'x-forwarded-host' ? 'host' : null
  if (part === null) return
  fields.forwarded ??= { for: '', proto: '', host: '' }
  fields.forwarded[part] += fields.forwarded[part] === '' ? value : `,${value}`
}

/** Tokens of a Connection field beyond the usual two, in lower case; null when there are none. */
function listedIn(connection: string): Set<string> | null {
  if (connection === '' || /^,\s*(keep-alive|close)\s*$/i.test(connection)) return null
  return new Set(
    connection
      .toLowerCase()
      .split(',')
      .map((token) => token.trim()),
  )
}

function without(headers: FlatHeaders, names: Set<string>): FlatHeaders {
  const kept: FlatHeaders = []
  for (let i = 0; i < headers.length; i += 2) if (!names.has(headers[i]!)) kept.push(headers[i]!, headers[i + 1]!)
  return kept
}

/** A response head as it goes to the client. */
export interface ResponseFields {
  headers: FlatHeaders
  /** As the function declared it. */
  contentLength: number | null
}

/**
 * What of a function's fields may go to the client. `cookieHost` is the host whose cookies the function may set: its own, or null
 * where it shares one with others.
 * @throws HostelError `invalid_response`
 */
export function readResponseFields(fromGuest: FlatHeaders, cookieHost: string | null): ResponseFields {
  let headers: FlatHeaders = []
  let contentLength: number | null = null
  let connection = ''
  for (let i = 0; i < fromGuest.length; i += 2) {
    const name = fromGuest[i]!
    let value = fromGuest[i + 1]!
    if (name === 'content-length') {
      if (!/^\d{1,15}$/.test(value) || (contentLength !== null && contentLength !== Number(value)))
        throw new HostelError('invalid_response', undefined, { facts: { rule: 'content-length must be one whole number' } })
      // Added once by whoever writes the head.
      contentLength = Number(value)
      continue
    }
    if (name === 'connection') connection += `,${value}`
    if (hopByHop.has(name) || name.startsWith('hostel-')) continue
    if (name === 'set-cookie') value = ownCookie(value, cookieHost)
    headers.push(name, value)
  }
  const listed = listedIn(connection)
  if (listed) headers = without(headers, listed)
  return { headers, contentLength }
}

/** A Set-Cookie value without a Domain that reaches beyond the function's own host: the cookie is then the host's alone. */
function ownCookie(value: string, cookieHost: string | null): string {
  if (!/domain/i.test(value)) return value
  const [pair, ...attributes] = value.split(';')
  const kept = attributes.filter((attribute) => {
    const [name, domain = ''] = attribute.split('=', 2)
    if (name!.trim().toLowerCase() !== 'domain') return true
    return domain.trim().toLowerCase().replace(/^\./, '') === cookieHost
  })
  return [pair, ...kept].join(';')
}
