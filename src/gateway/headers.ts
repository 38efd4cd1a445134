/** Header fields on their way through the gateway: what is taken off, what is added, what is refused (RFC 9110, section 7.6.1). */
import { HostelError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { FlatHeaders } from '../sandbox/protocol.ts'

/** What the gateway needs to know of a request's fields; `headers` is what may go on to the function. */
export interface RequestFields {
  host: string
  headers: FlatHeaders
  hasBody: boolean
  /** Declared size; null when there is no body or it is chunked. */
  contentLength: number | null
  contentType: string | null
  serviceWorker: boolean
  /** As it was sent; null when it is missing or there is more than one, which tells nothing. */
  traceparent: string | null
  /** `Sec-WebSocket-Key`, if there is just one. */
  webSocketKey: string | null
  webSocketVersion: string | null
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

/** @throws HostelError `malformed_request`, `headers_too_large` */
export function readRequestFields(raw: string[]): RequestFields {
  if (raw.length > limits.requestHeadMaxFields * 2) throw new HostelError('headers_too_large', `more than ${limits.requestHeadMaxFields} header fields`)
  const fields: RequestFields = {
    host: '',
    headers: [],
    hasBody: false,
    contentLength: null,
    contentType: null,
    serviceWorker: false,
    traceparent: null,
    webSocketKey: null,
    webSocketVersion: null,
  }
  const { headers } = fields
  let hosts = 0
  let traceparents = 0
  let connection = ''
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!.toLowerCase()
    const value = raw[i + 1]!
    switch (name) {
      case 'host':
        hosts++
        fields.host = value
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
      case 'connection':
        connection += `,${value}`
        break
      case 'traceparent':
        traceparents++
        fields.traceparent = traceparents === 1 ? value : null
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
    if (name !== 'host' && name !== 'expect' && !hopByHop.has(name) && !isOurs(name)) headers.push(name, value)
  }
  if (hosts !== 1) throw new HostelError('malformed_request', hosts === 0 ? 'the Host header is missing' : 'there is more than one Host header')
  const listed = listedIn(connection)
  if (listed) fields.headers = without(headers, listed)
  return fields
}

/** Fields that only we may set, also in the spelling that CGI-like environments confuse with it. No proxy is trusted. */
function isOurs(name: string): boolean {
  const first = name.charCodeAt(0)
  // Nearly every name is done with here: f, h, x.
  if (first !== 0x78 && first !== 0x66 && first !== 0x68) return false
  const plain = name.includes('_') ? name.replaceAll('_', '-') : name
  return plain.startsWith('x-forwarded') || plain === 'forwarded' || plain === 'x-real-ip' || plain.startsWith('hostel-')
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
