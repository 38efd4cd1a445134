/** Why a version did not start, in words for whoever wanted it live. */
import { HostelError, errorKinds } from '../errors.ts'
import type { ErrorCode } from '../errors.ts'
import { describeGuestError } from '../invocations/explain.ts'
import type { LinkCalls } from '../link/messages.ts'

type PrepareError = Extract<LinkCalls['prepare']['result'], { error: unknown }>['error']

/** Why it did not start, and what that means for the function. `fate`: what became of the version. */
export function startFailure(error: PrepareError, version: number, liveVersion: number | undefined, fate: string): HostelError {
  const code: ErrorCode = Object.hasOwn(errorKinds, error.code) ? (error.code as ErrorCode) : 'init_failed'
  const guest = error.guest
  const reason = guest ? describeGuestError(guest) : error.message
  const consequence = liveVersion === undefined ? 'nothing is live' : `version ${liveVersion} stays live`
  return new HostelError(code, `version ${version} did not start and ${fate}; ${consequence}. ${reason}`, {
    facts: { ...error.facts, version, liveVersion: liveVersion ?? null, ...(guest && { guest }) },
  })
}
