/** What the scheduler does about sandboxes that end or are about to: learning from it, and waiting for it. */
import { HostelError } from '../errors.ts'
import { steadyNowMs } from '../telemetry/clock.ts'
import type { VersionPool } from './pool.ts'
import type { Sandbox } from './sandbox.ts'

/** A function that fails to start, or whose process ends again and again as soon as it is called, is not given a new sandbox each time. */
export function noteTrouble(pool: VersionPool, sandbox: Sandbox, error: HostelError): void {
  if (!sandbox.initialised) {
    pool.noteFailure(error, sandbox.specialisedAtEpochMs)
    return
  }
  if (sandbox.settled > 1) return
  const pauseMs = pool.noteCrash(error, sandbox.specialisedAtEpochMs)
  if (pauseMs > 0)
    sandbox.logs.system(
      `${pool.crashes} sandboxes in a row have ended before their second request; for ${pauseMs / 1_000} s calls are refused instead of starting another`,
    )
}

/** After an await, where the compiler would still believe in the state before. */
export function hasLeft(sandbox: Sandbox): boolean {
  return sandbox.state === 'ending'
}

export async function started(sandbox: Sandbox): Promise<void> {
  if (sandbox.state === 'ending') throw new HostelError('sandbox_lost')
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  sandbox.initWaiters.push((error) => (error === null ? resolve() : reject(error)))
  await promise
}

const POLL_MS = 20

export async function until(isSo: () => boolean, deadlineAtMs: number): Promise<void> {
  while (!isSo() && steadyNowMs() < deadlineAtMs) await new Promise((resolve) => setTimeout(resolve, POLL_MS))
}
