/** Errors as answers: `application/problem+json` with what is known and what to do. Everyone who gets one here has a token, or is told only that it takes one. */
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'

import { HostelError, problemOf } from '../errors.ts'
import type { ErrorCode } from '../errors.ts'
import { storageFault } from '../store/faults.ts'
import type { Logger } from '../telemetry/logger.ts'

/** Fastify's own errors that are the sender's to mend, as ours. */
const FASTIFY_ERRORS: Record<string, (error: FastifyError) => HostelError> = {
  FST_ERR_CTP_BODY_TOO_LARGE: () => new HostelError('request_too_large'),
  FST_ERR_CTP_INVALID_MEDIA_TYPE: () =>
    new HostelError('invalid_input', 'this content type is not taken here; bodies are application/json, code is application/gzip'),
  FST_ERR_CTP_EMPTY_JSON_BODY: () => new HostelError('invalid_input', 'the body is empty; it takes a JSON object'),
  FST_ERR_CTP_INVALID_JSON_BODY: () => new HostelError('invalid_input', 'the body is not valid JSON'),
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: () => new HostelError('malformed_request', 'the body is not as long as Content-Length says'),
}

/** Finds the catalogue's error for anything thrown. */
function toHostelError(error: unknown): HostelError {
  if (error instanceof HostelError) return error
  const fault = storageFault(error)
  if (fault) return fault
  const { code, statusCode, message } = error as Partial<FastifyError>
  const known = code === undefined ? undefined : FASTIFY_ERRORS[code]
  if (known) return known(error as FastifyError)
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) return new HostelError('malformed_request', message, { cause: error })
  return new HostelError('internal', undefined, { cause: error })
}

/** What the operator has to know. */
const LOGGED: readonly ErrorCode[] = ['internal', 'storage_full', 'storage_failed']

/** Sends the problem document of whatever a route threw. */
export function sendProblem(error: unknown, request: FastifyRequest, reply: FastifyReply, logger: Logger): FastifyReply {
  const known = toHostelError(error)
  if (LOGGED.includes(known.code)) logger.error({ err: known.cause ?? known, method: request.method, url: request.url }, 'request failed')
  if (known.retryAfterSeconds !== undefined) reply.header('retry-after', String(known.retryAfterSeconds))
  const hasFacts = Object.keys(known.facts).length > 0
  const isFault = FUNCTION_FAULTS.includes(known.code)
  const problem = { ...problemOf(known, { withHint: true }), ...(isFault && AT_DEPLOY), ...(hasFacts && { facts: known.facts }) }
  return reply.code(problem.status).header('content-type', 'application/problem+json').send(JSON.stringify(problem))
}

/** What can be wrong with a function that is being deployed. The gateway's 5xx for these would look like a fault of a server; here the request's content is at fault. */
const FUNCTION_FAULTS: readonly ErrorCode[] = [
  'init_failed',
  'init_timeout',
  'handler_error',
  'out_of_memory',
  'exited',
  'killed',
  'protocol_violation',
  'invalid_response',
]

/** There is no invocation to look at, either: all that is known is in the answer. */
const AT_DEPLOY = { status: 422, hint: 'Mend what the detail names and deploy again.' }
