/** From a request's head to the call that it asks for, or the reason why there is none. */
import type { IncomingMessage } from 'node:http'

import { HostelError } from '../errors.ts'
import type { RoutedVersion } from '../functions/types.ts'
import type { Call } from '../invocations/invocation.ts'
import { limits } from '../limits.ts'
import type { Address, HostRules } from './address.ts'
import { parseAddress } from './address.ts'
import type { TrustedProxies } from './client.ts'
import { originOf } from './client.ts'
import type { Connection } from './connections.ts'
import type { RequestFields } from './headers.ts'
import { readRequestFields } from './headers.ts'
import { clientKey } from './rate-limit.ts'
import type { RateLimiter } from './rate-limit.ts'
import type { RoutingTable } from './routes.ts'
import { checkHandshake } from './upgrade.ts'

/** A POST with this content type brings the event itself. */
const EVENT_CONTENT_TYPE = 'application/vnd.hostel.event+json'

export type RequestKind = 'http1' | 'http2' | 'websocket'

export interface Accepted {
  call: Call
  fields: RequestFields
  /** The host whose cookies the function may set; null where it shares one. */
  cookieHost: string | null
  /** Largest request body taken. */
  bodyMaxBytes: number
}

export interface AcceptOptions {
  table: RoutingTable
  proxies: TrustedProxies
  /** For each client's address; null for no limit. */
  clientLimiter: RateLimiter | null
  /** Who may call what; may take fields off. Throws for those who may not. */
  access?: { admit(version: RoutedVersion, fields: RequestFields): void }
}

/** @throws HostelError */
export function acceptRequest(options: AcceptOptions, rules: HostRules, req: IncomingMessage, connection: Connection, id: string, kind: RequestKind): Accepted {
  const { table, clientLimiter } = options
  const isHttp2 = kind === 'http2'
  if (connection.calls.size >= (isHttp2 ? limits.http2StreamsMax : limits.pipelinedRequestsMax))
    throw new HostelError('too_many_requests', `too many requests at once on one connection`, { retryAfterSeconds: 1 })
  const fields = readRequestFields(req.rawHeaders)
  if (isHttp2 && fields.contentLength === null) fields.hasBody = !(req as unknown as { stream: { endAfterHeaders: boolean } }).stream.endAfterHeaders
  if (kind === 'websocket') checkHandshake(req, fields, connection)
  const {
    address: client,
    scheme,
    host,
  } = connection.isProxy && fields.forwarded !== null
    ? originOf(connection.remoteAddress, fields.forwarded, options.proxies, connection.scheme)
    : { address: connection.remoteAddress, scheme: connection.scheme, host: null }
  if (clientLimiter !== null) limitClient(clientLimiter, client)
  const address = parseAddress(req.url!, host ?? fields.host, rules)
  refuseUnsupported(req, fields, address)
  if (!table.filled) throw new HostelError('unavailable', undefined, { retryAfterSeconds: 1 })
  const version = table.find(address)
  options.access?.admit(version, fields)
  if (kind === 'websocket' && version.contract === 'event')
    throw new HostelError('not_supported', 'this function handles events; WebSockets need a fetch handler')
  const isEvent = req.method === 'POST' && fields.contentType !== null && mediaType(fields.contentType) === EVENT_CONTENT_TYPE
  const bodyMaxBytes = isEvent || version.contract === 'event' ? limits.eventMaxBytes : limits.requestBodyMaxBytes
  if (fields.contentLength !== null && fields.contentLength > bodyMaxBytes)
    throw new HostelError('request_too_large', `the body has ${fields.contentLength} bytes, ${bodyMaxBytes} are taken`)
  fields.headers.push('host', address.host, 'x-forwarded-for', client, 'x-forwarded-proto', scheme, 'x-forwarded-host', address.host)
  if (address.prefix !== null) fields.headers.push('x-forwarded-prefix', address.prefix)
  const call: Call = {
    id,
    version,
    method: req.method!,
    url: `${scheme}://${address.host}${address.path}`,
    path: address.path,
    headers: fields.headers,
    isEvent,
    hasBody: fields.hasBody,
  }
  if (fields.traceparent !== null) call.traceparent = fields.traceparent
  if (kind === 'websocket') {
    fields.headers.push('connection', 'Upgrade', 'upgrade', 'websocket')
    call.upgrade = 'websocket'
    call.hasBody = true
  }
  return { call, fields, cookieHost: address.prefix === null ? address.hostname : null, bodyMaxBytes }
}

function limitClient(limiter: RateLimiter, client: string): void {
  const seconds = limiter.take(clientKey(client), performance.now())
  if (seconds > 0) throw new HostelError('too_many_requests', 'more requests a second from one client than are taken', { retryAfterSeconds: seconds })
}

/** @throws HostelError `not_supported` */
function refuseUnsupported(req: IncomingMessage, fields: RequestFields, address: Address): void {
  if (req.method === 'TRACE') throw new HostelError('not_supported', 'TRACE is not supported')
  // Its scope would cover the other functions at this host.
  if (fields.serviceWorker && address.prefix !== null)
    throw new HostelError('not_supported', "service workers are served at the function's own host only: FUNCTION.TENANT.DOMAIN")
}

function mediaType(contentType: string): string {
  const end = contentType.indexOf(';')
  return (end < 0 ? contentType : contentType.slice(0, end)).trim().toLowerCase()
}
