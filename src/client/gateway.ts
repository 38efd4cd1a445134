/** Calling functions through the gateway, in the path form `/{tenant}/{function}[:{alias-or-version}]/…`, which works with every host name. */
import { send } from './transport.ts'
import type { Answer, RequestOptions } from './transport.ts'

/** Content type with which an event handler gets the body as its event, and answers its result as JSON. */
export const EVENT_CONTENT_TYPE = 'application/vnd.hostel.event+json'

/** Response header with the invocation's id. */
export const INVOCATION_HEADER = 'hostel-invocation'

/** Longest wait for the head of an answer: the longest timeout a function may have, and a little for the queue. */
export const CALL_TIMEOUT_MS = 930_000

export interface FunctionCall {
  tenant: string
  /** `name` or `name:alias-or-version`. */
  function: string
  /** Path and query as the function sees them, beginning with a slash. */
  path: string
  method: string
  headers: Record<string, string | string[]>
  body?: RequestOptions['body']
  timeoutMs?: number
  signal?: AbortSignal
}

/** The URL of a function in the path form. */
export function functionUrl(gateway: string, call: { tenant: string; function: string; path: string }): string {
  return `${gateway.replace(/\/+$/, '')}/${encodeURIComponent(call.tenant)}/${call.function.split(':').map(encodeURIComponent).join(':')}${call.path}`
}

/** Resolves with the head of whatever answer comes, errors too. @throws ConnectionError */
export function callFunction(gateway: string, call: FunctionCall): Promise<Answer> {
  return send(functionUrl(gateway, call), {
    method: call.method,
    headers: call.headers,
    timeoutMs: call.timeoutMs ?? CALL_TIMEOUT_MS,
    ...(call.body !== undefined && { body: call.body }),
    ...(call.signal && { signal: call.signal }),
  })
}
