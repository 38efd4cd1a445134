/** What may go wrong between client and server. Without imports that cost time, since every command loads it. */
import type { Static } from 'typebox'

import type * as schemas from '../api/schemas.ts'

export type Problem = Static<typeof schemas.Problem>

/** Thrown when there is no way to a server; `message` says what was looked at. */
export class NoAccess extends Error {
  override readonly name = 'NoAccess'
  /** Whether a file is there but may not be read: then a server is likely running as another user. */
  readonly denied: string | undefined

  constructor(message: string, denied?: string) {
    super(message)
    this.denied = denied
  }
}

/** Thrown when no HTTP answer came: refused, unknown host, broken off, too late. */
export class ConnectionError extends Error {
  override readonly name = 'ConnectionError'
  readonly url: string
  /** `ECONNREFUSED`, `ENOTFOUND`, `timeout` … */
  readonly reason: string

  constructor(url: string, reason: string, options?: { cause?: unknown }) {
    super(`no answer from ${url}: ${reason}`, options)
    this.url = url
    this.reason = reason
  }
}

/** The server's answer was an error. `message` is its detail, else its title. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  readonly problem: Problem

  constructor(problem: Problem) {
    super(problem.detail ?? problem.title)
    this.problem = problem
  }
}

/** The problem document in an error answer; made up from the status where a proxy or something else answered. */
export function problemOf(status: number, text: string): Problem {
  try {
    const problem = JSON.parse(text) as Partial<Problem>
    if (typeof problem.code === 'string' && typeof problem.title === 'string') return { ...(problem as Problem), status }
  } catch {
    // Not ours: told below.
  }
  const excerpt = text.trim().slice(0, 200)
  const code = status === 401 ? 'unauthenticated' : status === 403 ? 'forbidden' : status === 404 ? 'not_found' : status === 503 ? 'unavailable' : 'internal'
  return { type: 'about:blank', title: `The server answered ${status}`, status, code, ...(excerpt && { detail: `the server answered ${status}: ${excerpt}` }) }
}
