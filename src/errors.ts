/**
 * The one catalogue of errors: code, HTTP status, whether trying again may help, and what to do.
 * `docs/reference/errors.md` is generated from it. Codes are stable; texts are not.
 */

interface ErrorKind {
  /** HTTP status of the answer that carries it. */
  status: number
  /** Whether the same request may succeed later without a change. */
  retryable: boolean
  /** What happened, as a short sentence without a full stop. */
  title: string
  /** What the reader can do about it. */
  hint: string
}

export const errorKinds = {
  // The request itself.
  malformed_request: {
    status: 400,
    retryable: false,
    title: 'The request is malformed',
    hint: 'Check the URL, the Host header and the headers against docs/reference/http.md.',
  },
  invalid_input: { status: 400, retryable: false, title: 'The input does not fit', hint: 'The detail names the field and what it takes.' },
  unauthenticated: { status: 401, retryable: false, title: 'A token is needed', hint: 'Send `Authorization: Bearer TOKEN`; the CLI finds its own.' },
  forbidden: { status: 403, retryable: false, title: 'This token may not do that', hint: 'Use a token with the needed scope for this tenant.' },
  unknown_function: {
    status: 404,
    retryable: false,
    title: 'There is no such function',
    hint: 'See `hostel ls` for what is deployed, and check tenant, name and alias in the URL.',
  },
  not_found: { status: 404, retryable: false, title: 'There is no such thing', hint: 'Check the name; `hostel ls` lists functions.' },
  request_timeout: { status: 408, retryable: true, title: 'The request took too long to arrive', hint: 'Send the request head at once.' },
  conflict: { status: 409, retryable: false, title: 'It clashes with what is there', hint: 'Look at the present state and try again.' },
  request_too_large: {
    status: 413,
    retryable: false,
    title: 'The request body is too large',
    hint: 'Send less at once; docs/reference/limits.md has the bounds.',
  },
  uri_too_long: { status: 414, retryable: false, title: 'The request target is too long', hint: 'Move data from the URL into the body.' },
  headers_too_large: { status: 431, retryable: false, title: 'The request headers are too large', hint: 'Send fewer or smaller headers and cookies.' },
  not_supported: { status: 501, retryable: false, title: 'This is not supported', hint: 'The detail names what is missing.' },
  cancelled: { status: 499, retryable: true, title: 'The client went away before the answer', hint: 'Nothing to mend on the server.' },

  // Capacity.
  too_many_requests: {
    status: 429,
    retryable: true,
    title: 'The function is at its concurrency limit and its queue is full',
    hint: 'Try again after the time in Retry-After, or raise concurrency.',
  },
  no_capacity: {
    status: 503,
    retryable: true,
    title: 'There is no room for another sandbox',
    hint: 'Try again after the time in Retry-After, or give the server more memory.',
  },
  shutting_down: { status: 503, retryable: true, title: 'The server is stopping', hint: 'Try again in a moment.' },
  unavailable: {
    status: 503,
    retryable: true,
    title: 'A part of the server is not there at the moment',
    hint: 'Try again in a moment; `hostel doctor` tells more.',
  },

  // Dependencies.
  build_failed: {
    status: 422,
    retryable: false,
    title: 'The dependencies could not be installed',
    hint: 'The detail says why; docs/how-to/dependencies.md tells what builds can do.',
  },

  // The function.
  init_failed: {
    status: 502,
    retryable: false,
    title: 'The function failed to start',
    hint: 'See `hostel invocations show ID` for the error with file and line.',
  },
  init_timeout: { status: 504, retryable: false, title: 'The function took too long to start', hint: 'Do less at the top level of the module.' },
  handler_error: { status: 500, retryable: false, title: 'The function threw an error', hint: 'See `hostel logs NAME --invocation ID`.' },
  deadline_exceeded: {
    status: 504,
    retryable: true,
    title: 'The function did not answer within its timeout',
    hint: 'Raise --timeout, or find what it waits for in `hostel logs`.',
  },
  out_of_memory: { status: 502, retryable: false, title: 'The function used more memory than it may', hint: 'Raise --memory, or use less.' },
  exited: { status: 502, retryable: false, title: 'The function ended its process', hint: 'Return an answer instead of calling exit.' },
  killed: { status: 502, retryable: false, title: "The function's process was ended by a signal", hint: 'See the signal in `hostel invocations show ID`.' },
  protocol_violation: {
    status: 502,
    retryable: false,
    title: 'The function broke the sandbox protocol',
    hint: "Code in the sandbox wrote to the runtime's own channel; see `hostel invocations show ID`.",
  },
  invalid_response: {
    status: 502,
    retryable: false,
    title: 'The function answered with something that is no HTTP answer',
    hint: 'Return a Response, or status, headers and body as documented.',
  },
  response_too_large: { status: 502, retryable: false, title: "The function's answer is too large", hint: 'Answer with less, or stream to somewhere else.' },
  sandbox_lost: { status: 502, retryable: true, title: "The sandbox ended for a reason that was not this request's", hint: 'Try again.' },

  // Doors: answers of the proxy inside a sandbox to the function's own requests.
  egress_refused: {
    status: 403,
    retryable: false,
    title: 'The function may not go there',
    hint: 'The detail names the rule, and what to add to `egress` where that helps; see docs/how-to/egress.md and `hostel egress NAME`.',
  },
  egress_failed: {
    status: 502,
    retryable: true,
    title: 'The target could not be reached',
    hint: 'The detail says at which step; `hostel egress NAME` shows all attempts.',
  },
  egress_busy: { status: 429, retryable: true, title: 'Too many connections are open through the doors', hint: 'Close connections, or use fewer at once.' },

  // Storage. What runs goes on from memory; what would have to be kept is refused.
  storage_full: {
    status: 507,
    retryable: true,
    title: 'The disk that holds the data directory is full',
    hint: 'Make room on it; functions go on meanwhile, and the server writes again by itself.',
  },
  storage_failed: {
    status: 500,
    retryable: false,
    title: 'The data directory cannot be read or written',
    hint: 'See the server log, check the disk, and restore a backup if files are damaged.',
  },

  // Ourselves.
  internal: { status: 500, retryable: true, title: 'Hostel made a mistake', hint: 'Please report it with the invocation id; the server log has the details.' },
} as const satisfies Record<string, ErrorKind>

/** A stable error code. */
export type ErrorCode = keyof typeof errorKinds

/** An error with a place in the catalogue. `message` is the detail: safe to show to whoever made the request. */
export class HostelError extends Error {
  readonly code: ErrorCode
  /** Facts for the record of the invocation and for those with a token; never for anonymous callers. */
  readonly facts: Readonly<Record<string, unknown>>
  /** Seconds for a Retry-After header, where there is one. */
  readonly retryAfterSeconds: number | undefined

  constructor(code: ErrorCode, detail?: string, options: { cause?: unknown; facts?: Record<string, unknown>; retryAfterSeconds?: number } = {}) {
    super(detail ?? errorKinds[code].title, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'HostelError'
    this.code = code
    this.facts = options.facts ?? {}
    this.retryAfterSeconds = options.retryAfterSeconds
  }

  get status(): number {
    return errorKinds[this.code].status
  }
}

/** An `application/problem+json` document (RFC 9457). */
export interface Problem {
  type: string
  title: string
  status: number
  code: ErrorCode
  detail?: string
  hint?: string
  invocation?: string
}

/** The problem document of an error, for the wire. `withHint` only where the reader may be the owner. */
export function problemOf(error: HostelError, options: { invocation?: string; withHint?: boolean } = {}): Problem {
  const kind = errorKinds[error.code]
  return {
    type: `urn:hostel:error:${error.code}`,
    title: kind.title,
    status: kind.status,
    code: error.code,
    ...(error.message !== kind.title && { detail: error.message }),
    ...(options.withHint && { hint: kind.hint }),
    ...(options.invocation && { invocation: options.invocation }),
  }
}
