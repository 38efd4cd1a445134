/** The sandboxes of one version, and the bounded first-in first-out queue of requests that wait for a place in one. */
import { HostelError } from '../errors.ts'
import type { RoutedVersion } from '../functions/types.ts'
import { limits } from '../limits.ts'
import { steadyNowMs } from '../telemetry/clock.ts'
import { backoffMs } from './budget.ts'
import type { Sandbox } from './sandbox.ts'

export interface Waiter {
  give(sandbox: Sandbox): void
  refuse(error: HostelError): void
  readonly sinceMs: number
}

export interface WaitOptions {
  signal: AbortSignal | undefined
  deadlineAtMs: number
}

/**
 * Names are DNS labels, so the key is unambiguous; it is also the label of a specialised sandbox. Other values of its secrets make another
 * key: a sandbox is never used for values that it was not started with.
 */
export function versionKey(version: Pick<RoutedVersion, 'tenant' | 'function' | 'version' | 'secretsRevision'>): string {
  const { tenant, version: number, secretsRevision } = version
  return `${tenant}/${version.function}/${number}${secretsRevision === undefined ? '' : `/${secretsRevision}`}`
}

export class VersionPool {
  readonly version: RoutedVersion
  readonly key: string
  readonly classKey: string
  /** All that are its own and may take requests, now or soon. */
  readonly sandboxes = new Set<Sandbox>()
  /** Those with a free place; the last is the one that was used most recently, so that the others can go idle. */
  readonly free: Sandbox[] = []
  readonly waiters = new Set<Waiter>()
  /** Sandboxes that have been given to it and not yet got SPECIALISE: their places are on their way. */
  assigning = 0
  retired = false
  /** Thrown away; whoever still holds it must look it up again. */
  dropped = false
  /** Memory was what kept it from growing when it last tried. */
  starved = false
  /** Failed starts in a row. */
  failures = 0
  private lastFailure: HostelError | null = null
  lastFailureAtMs = 0
  /** Sandboxes in a row that its own process ended before their second request. */
  crashes = 0
  private lastCrash: HostelError | null = null
  private lastCrashAtMs = 0
  private readonly sandboxesMax: number
  /** Sandboxes that its tenant's quota leaves it. */
  private readonly roomInQuota: () => number
  /** The quota in words, while that is what keeps it from growing. */
  quota: string | null = null

  constructor(version: RoutedVersion, key: string, classKey: string, sandboxes: { max: number; inQuota: () => number }) {
    this.version = version
    this.key = key
    this.classKey = classKey
    this.sandboxesMax = sandboxes.max
    this.roomInQuota = sandboxes.inQuota
  }

  /** Of those that it needs, as many as its tenant may have. */
  get wanted(): number {
    const { needed } = this
    return needed === 0 ? 0 : Math.min(needed, this.roomInQuota())
  }

  /** Sandboxes it needs beyond those it has and those on their way, for the requests that wait. */
  get needed(): number {
    const { concurrency } = this.version
    const waiting = this.waiters.size - this.assigning * concurrency
    if (waiting <= 0) return 0
    const room = this.sandboxesMax - this.sandboxes.size
    // A version that was never started, or failed when it last was, is tried with one sandbox first.
    const proven = this.version.contract !== null && this.failures === 0
    const atOnce = proven || this.hasStarted ? room : Math.min(room, 1 - this.sandboxes.size)
    return Math.max(0, Math.min(Math.ceil(waiting / concurrency), atOnce))
  }

  private get hasStarted(): boolean {
    for (const sandbox of this.sandboxes) if (sandbox.initialised) return true
    return false
  }

  /** Epoch milliseconds since which the first in the queue has waited. */
  get waitingSinceMs(): number {
    for (const waiter of this.waiters) return waiter.sinceMs
    return Number.POSITIVE_INFINITY
  }

  /** @throws HostelError `init_failed` (or what the start failed with) while it is too early to try again. */
  assertNotBackingOff(): void {
    const retryAtMs = this.lastFailureAtMs + backoffMs(this.failures)
    const leftMs = retryAtMs - steadyNowMs()
    if (this.lastFailure === null || leftMs <= 0 || this.free.length > 0 || this.hasStarted) return
    const retryAfterSeconds = Math.ceil(leftMs / 1_000)
    throw new HostelError(this.lastFailure.code, `the function failed to start ${this.failures} times in a row; the next try is in ${retryAfterSeconds} s`, {
      facts: { ...this.lastFailure.facts, failures: this.failures, retryAtMs },
      retryAfterSeconds,
    })
  }

  /** @throws HostelError what its sandboxes ended with, while it is too early for another one. */
  assertNotCrashing(): void {
    const leftMs = this.lastCrashAtMs + this.crashPauseMs - steadyNowMs()
    if (this.lastCrash === null || leftMs <= 0 || this.sandboxes.size > 0) return
    const retryAfterSeconds = Math.ceil(leftMs / 1_000)
    throw new HostelError(this.lastCrash.code, `its process ended in ${this.crashes} sandboxes in a row; the next one starts in ${retryAfterSeconds} s`, {
      facts: { ...this.lastCrash.facts, crashes: this.crashes, retryAtMs: steadyNowMs() + leftMs },
      retryAfterSeconds,
    })
  }

  /** A started sandbox ended through its own fault before its second request. Those that were started together count as one. Returns for how long no other is started. */
  noteCrash(error: HostelError, startedAtMs: number): number {
    if (startedAtMs >= this.lastCrashAtMs) this.crashes++
    this.lastCrash = error
    this.lastCrashAtMs = steadyNowMs()
    return this.crashPauseMs
  }

  /** A sandbox of it has settled more than one request. */
  noteLiving(): void {
    this.crashes = 0
    this.lastCrash = null
  }

  get crashPauseMs(): number {
    return this.crashes < limits.crashesInARowMax ? 0 : backoffMs(this.crashes - limits.crashesInARowMax + 2)
  }

  get lastTroubleAtMs(): number {
    return Math.max(this.lastFailureAtMs, this.lastCrashAtMs)
  }

  /** Failed starts that began together count as one. */
  noteFailure(error: HostelError, begunAtMs: number): void {
    if (begunAtMs >= this.lastFailureAtMs) this.failures++
    this.lastFailure = error
    this.lastFailureAtMs = steadyNowMs()
    // Nobody in the queue would fare better, unless some sandbox of it runs.
    if (!this.hasStarted) this.refuseAll(error)
  }

  noteStarted(): void {
    this.failures = 0
    this.lastFailure = null
  }

  /** @throws HostelError `too_many_requests`, `no_capacity`, `cancelled`, `deadline_exceeded`; as a rejection, also what `refuse` is given. */
  async wait(options: WaitOptions): Promise<Sandbox> {
    const { signal } = options
    if (signal?.aborted) throw new HostelError('cancelled')
    if (this.sandboxesMax < 1) throw new HostelError('no_capacity', `a sandbox of ${this.version.memoryMiB} MiB is more than the server may use in all`)
    if (this.waiters.size >= limits.queueMaxRequests)
      throw new HostelError('too_many_requests', `${limits.queueMaxRequests} requests wait already`, { retryAfterSeconds: 1 })
    const sinceMs = steadyNowMs()
    const leftMs = options.deadlineAtMs - sinceMs
    if (leftMs <= 0) throw new HostelError('deadline_exceeded')
    const { promise, resolve, reject } = Promise.withResolvers<Sandbox>()
    const refuse = (error: HostelError): void => {
      // At once, lest a place be given to one who has left.
      this.waiters.delete(waiter)
      reject(error)
    }
    const waiter: Waiter = { give: resolve, refuse, sinceMs }
    const onAbort = (): void => refuse(new HostelError('cancelled'))
    const timer = setTimeout(
      () =>
        refuse(leftMs <= limits.queueMaxWaitMs ? new HostelError('deadline_exceeded', 'its time was up before there was a free place') : this.waitedTooLong()),
      Math.min(leftMs, limits.queueMaxWaitMs),
    )
    signal?.addEventListener('abort', onAbort, { once: true })
    this.waiters.add(waiter)
    try {
      return await promise
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
    }
  }

  refuseAll(error: HostelError): void {
    for (const waiter of this.waiters) waiter.refuse(error)
  }

  /** A waiter, taken out of the queue. */
  next(): Waiter | undefined {
    for (const waiter of this.waiters) {
      this.waiters.delete(waiter)
      return waiter
    }
    return undefined
  }

  remove(sandbox: Sandbox): void {
    this.sandboxes.delete(sandbox)
    const at = this.free.indexOf(sandbox)
    if (at >= 0) this.free.splice(at, 1)
  }

  private waitedTooLong(): HostelError {
    const waited = `waited ${limits.queueMaxWaitMs / 1_000} s`
    if (this.quota !== null) return new HostelError('too_many_requests', `${waited} for a free place; ${this.quota}`, { retryAfterSeconds: 1 })
    if (this.starved) return new HostelError('no_capacity', `${waited} for memory`, { retryAfterSeconds: 5 })
    return new HostelError('too_many_requests', `${waited} for a free place`, { retryAfterSeconds: 1 })
  }
}
