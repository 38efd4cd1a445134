/** The server's errors in the CLI's terms. */
import { existsSync } from 'node:fs'
import { join, relative } from 'node:path'

import { type ApiError, type ConnectionError, type NoAccess, type Problem } from '../client/errors.ts'
import { errorKinds } from '../errors.ts'
import type { ErrorCode } from '../errors.ts'
import { CliFailure } from './failure.ts'
import type { ExitKind } from './failure.ts'

const exitKinds: Partial<Record<ErrorCode, ExitKind>> = {
  invalid_input: 'usage',
  unauthenticated: 'auth',
  forbidden: 'auth',
  unknown_function: 'notFound',
  not_found: 'notFound',
  too_many_requests: 'busy',
  no_capacity: 'busy',
  shutting_down: 'busy',
  unavailable: 'busy',
  init_failed: 'functionFailed',
  init_timeout: 'functionFailed',
  handler_error: 'functionFailed',
  deadline_exceeded: 'functionFailed',
  out_of_memory: 'functionFailed',
  exited: 'functionFailed',
  killed: 'functionFailed',
  protocol_violation: 'functionFailed',
  invalid_response: 'functionFailed',
  response_too_large: 'functionFailed',
  sandbox_lost: 'functionFailed',
}

/** Exit kind of an error code of the server. */
export function exitKindOf(code: string): ExitKind {
  return exitKinds[code as ErrorCode] ?? 'failure'
}

/**
 * A problem as a failure: what happened, the function's own error with file and line where there is one, and what to do. With the
 * directory of the code its files are told as they are found from here.
 */
export function problemFailure(problem: Problem, more: { why?: string | undefined; cause?: unknown; directory?: string } = {}): CliFailure {
  const kind = exitKindOf(problem.code)
  const guest = guestErrorText(problem.facts?.['guest'], more.directory)
  const stays = problem.facts?.['liveVersion']
  const consequence = typeof stays === 'number' ? `; version ${stays} stays live` : ''
  const story = problem.invocation && kind === 'functionFailed' ? `\`hostel invocations show ${problem.invocation}\` tells the whole story.` : undefined
  return new CliFailure(kind, guest ? problem.title + consequence : (problem.detail ?? problem.title), {
    code: problem.code,
    why: guest ?? more.why,
    fix: [guest ? 'Mend it and deploy again.' : hintOf(problem), story].filter(Boolean).join('\n') || undefined,
    cause: more.cause,
  })
}

/** Hints that only make sense beside their detail, or for something else than what was asked for, are left out. */
function hintOf(problem: Problem): string | undefined {
  if (problem.detail?.startsWith('there is no tenant ')) return 'Name the tenant with --tenant or HOSTEL_TENANT; a token of one tenant sees no other.'
  if (problem.code === 'invalid_input' || problem.code === 'not_found') return undefined
  return problem.hint ?? (problem.code in errorKinds ? errorKinds[problem.code].hint : undefined)
}

/** `TypeError: x is not a function` and where, from a guest's error; strangers' text, so every field may be anything. */
export function guestErrorText(guest: unknown, directory?: string): string | undefined {
  if (typeof guest !== 'object' || guest === null) return undefined
  const { name, message, stack, file, line, column } = guest as Record<string, unknown>
  if (typeof message !== 'string') return undefined
  const headline = typeof name === 'string' && name !== '' && !message.startsWith(`${name}:`) ? `${name}: ${message}` : message
  const place =
    typeof file === 'string'
      ? `\nat ${fromHere(file, directory)}${typeof line === 'number' ? `:${line}` : ''}${typeof line === 'number' && typeof column === 'number' ? `:${column}` : ''}`
      : ''
  if (place) return headline + place
  return typeof stack === 'string' && stack.includes(message) ? stack.split('\n').slice(0, 8).join('\n') : headline
}

/** `index.ts` of a directory elsewhere as a path that an editor opens from here. */
function fromHere(file: string, directory: string | undefined): string {
  if (directory === undefined || !existsSync(join(directory, file))) return file
  const path = relative(process.cwd(), join(directory, file))
  return path.startsWith('..') ? join(directory, file) : path
}

export function apiFailure(error: ApiError, directory?: string): CliFailure {
  return problemFailure(error.problem, { cause: error, ...(directory !== undefined && { directory }) })
}

export function connectionFailure(error: ConnectionError): CliFailure {
  return new CliFailure('unreachable', `the server at ${error.url} does not answer`, {
    why: error.reason,
    fix: 'Start it with `npm start` (or `hostel server`), or point --api at a running one; `hostel doctor` tells more.',
    cause: error,
  })
}

export function noAccessFailure(error: NoAccess): CliFailure {
  if (error.denied) {
    return new CliFailure('auth', `${error.denied} may not be read by this user`, {
      why: 'it holds the token of a server that another user (root, most likely) started',
      fix: 'Run the command as that user (`sudo hostel …`), or give --api and --token.',
      cause: error,
    })
  }
  const tokenMissing = error.message.startsWith('there is no token')
  return new CliFailure(tokenMissing ? 'auth' : 'unreachable', error.message, {
    fix: tokenMissing ? 'Give --token or set HOSTEL_TOKEN.' : 'Start a server with `npm start` (or `hostel server`), or give --api and --token.',
    cause: error,
  })
}
