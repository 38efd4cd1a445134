/** Errors as answers: `application/problem+json` (RFC 9457), saying nothing that a stranger should not know. */
import { STATUS_CODES } from 'node:http'
import type { ServerResponse } from 'node:http'

import type { ErrorCode } from '../errors.ts'
import { HostelError, problemOf } from '../errors.ts'
import type { FlatHeaders } from '../sandbox/protocol.ts'

/** Errors about the function or ourselves: what their details say is for the owner, who finds it in the invocation's record. */
const withoutDetail = new Set<ErrorCode>([
  'init_failed',
  'init_timeout',
  'handler_error',
  'deadline_exceeded',
  'out_of_memory',
  'exited',
  'killed',
  'protocol_violation',
  'invalid_response',
  'response_too_large',
  'sandbox_lost',
  'no_capacity',
  'unavailable',
  'internal',
])

/** The fields and body of an error's answer. */
export function problemAnswer(error: HostelError, invocation: string): { headers: FlatHeaders; body: string } {
  const shown = withoutDetail.has(error.code) ? new HostelError(error.code) : error
  const body = JSON.stringify(problemOf(shown, { invocation }))
  const headers = [
    'hostel-invocation',
    invocation,
    'content-type',
    'application/problem+json',
    'cache-control',
    'no-store',
    'content-length',
    String(Buffer.byteLength(body)),
  ]
  if (error.code === 'unauthenticated') headers.push('www-authenticate', 'Bearer realm="hostel"')
  if (error.retryAfterSeconds !== undefined) headers.push('retry-after', String(Math.max(1, Math.ceil(error.retryAfterSeconds))))
  return { headers, body }
}

/** Answers with an error, whole. Nothing may have been sent yet. */
export function sendProblem(res: ServerResponse, error: HostelError, invocation: string, closeAfter: boolean): void {
  const { headers, body } = problemAnswer(error, invocation)
  if (closeAfter) headers.push('connection', 'close')
  res.writeHead(error.status, headers)
  res.end(body)
}

/** The same as bytes, for a connection on which Node has no answer object. */
export function rawProblem(error: HostelError, invocation: string): string {
  const { headers, body } = problemAnswer(error, invocation)
  let head = `HTTP/1.1 ${error.status} ${STATUS_CODES[error.status] ?? 'Error'}\r\ndate: ${new Date().toUTCString()}\r\nconnection: close\r\n`
  for (let i = 0; i < headers.length; i += 2) head += `${headers[i]}: ${headers[i + 1]}\r\n`
  return `${head}\r\n${body}`
}
