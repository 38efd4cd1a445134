/** The proxy's own answers: problem documents, told to the function that asked. */
import { STATUS_CODES } from 'node:http'
import type { ServerResponse } from 'node:http'

import { problemOf } from '../errors.ts'
import type { HostelError } from '../errors.ts'

/** A whole answer as bytes on the wire, after which the connection is over. */
export function problemText(error: HostelError): string {
  const body = JSON.stringify(problemOf(error, { withHint: true }))
  const head = [
    `HTTP/1.1 ${error.status} ${STATUS_CODES[error.status] ?? 'Error'}`,
    'content-type: application/problem+json',
    `content-length: ${Buffer.byteLength(body)}`,
    `proxy-status: hostel; error=${proxyError(error)}`,
    'connection: close',
  ]
  return `${head.join('\r\n')}\r\n\r\n${body}`
}

/** The same over Node's response; nothing when an answer has begun. */
export function sendProblem(response: ServerResponse, error: HostelError): void {
  if (response.headersSent) return void response.destroy()
  const body = JSON.stringify(problemOf(error, { withHint: true }))
  response.writeHead(error.status, {
    'content-type': 'application/problem+json',
    'content-length': Buffer.byteLength(body),
    'proxy-status': `hostel; error=${proxyError(error)}`,
    connection: 'close',
  })
  response.end(body)
}

/** A word of RFC 9209, which tells the proxy's answers from the target's. */
function proxyError(error: HostelError): string {
  if (error.code === 'egress_refused') return 'destination_ip_prohibited'
  if (error.code === 'egress_busy') return 'connection_limit_reached'
  if (error.code === 'egress_failed') return 'destination_unavailable'
  return error.status < 500 ? 'http_request_error' : 'proxy_internal_error'
}
