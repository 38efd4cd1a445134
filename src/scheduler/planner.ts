/** What is booted next: for requests that wait first, at most two at a time; else a refill, one at a time and a moment later. */
import { HostelError } from '../errors.ts'
import type { Logger } from '../telemetry/logger.ts'
import { steadyNowMs } from '../telemetry/clock.ts'
import type { Fleet } from './fleet.ts'
import type { VersionPool } from './pool.ts'
import { noteBootFailure } from './spares.ts'
import type { ClassState, SpareClasses } from './spares.ts'

const PARALLEL_BOOTS_MAX = 2
/** A refill waits until the request that took the spare has likely been answered: a boot takes a core for 50 ms. */
const REFILL_DELAY_MS = 5
/** Boots of a class that fail in a row before those who wait for one are told. */
const FAILURES_MAX = 2

export interface Planner {
  /** Boots what is needed now. Cheap when there is nothing to do. */
  plan(): void
  /** @throws HostelError `unavailable` while no sandbox of its class can be booted. */
  assertBootable(pool: VersionPool): void
  stop(): void
}

export interface PlannerOptions {
  fleet: Fleet
  classes: SpareClasses
  /** Pools with requests waiting. */
  hungry: Set<VersionPool>
  logger: Logger
  /** A spare of the pool's class has become ready. */
  offer(pool: VersionPool): void
}

export function createPlanner(options: PlannerOptions): Planner {
  const { fleet, classes, hungry, logger, offer } = options
  let stopped = false
  let refillTimer: NodeJS.Timeout | null = null

  function plan(): void {
    if (stopped) return
    while (classes.booting < PARALLEL_BOOTS_MAX) {
      const state = mostUrgent()
      if (state === null) break
      if (!fleet.hasRoom(state.spareClass, true)) {
        for (const pool of hungry) if (pool.classKey === state.key) pool.starved = true
        return
      }
      void boot(state)
    }
    if (classes.booting === 0 && classes.shortest(steadyNowMs()) !== null) refillTimer ??= setTimeout(refill, REFILL_DELAY_MS)
  }

  function refill(): void {
    refillTimer = null
    if (stopped || classes.booting > 0) return
    const state = classes.shortest(steadyNowMs())
    if (state !== null && fleet.hasRoom(state.spareClass, false)) void boot(state)
  }

  /** The class with more sandboxes wanted by waiting requests than are booting, and no spare; the longest waiting first. */
  function mostUrgent(): ClassState | null {
    if (hungry.size === 0) return null
    const wanted = new Map<string, number>()
    for (const pool of [...hungry].sort((a, b) => a.waitingSinceMs - b.waitingSinceMs)) {
      const state = classes.byKey.get(pool.classKey)!
      if (state.spares.length > 0) continue
      const sum = (wanted.get(pool.classKey) ?? 0) + pool.wanted
      if (sum > state.booting) return state
      wanted.set(pool.classKey, sum)
    }
    return null
  }

  async function boot(state: ClassState): Promise<void> {
    state.booting++
    try {
      const spare = await fleet.boot(state.spareClass)
      state.failures = 0
      state.retryAtMs = 0
      state.spares.push(spare)
    } catch (error) {
      if (stopped) return
      noteBootFailure(state, steadyNowMs())
      logger.error({ spareClass: state.key, failures: state.failures, error: (error as Error).message }, 'could not boot a sandbox')
      if (state.failures >= FAILURES_MAX) tell(state, error as HostelError)
    } finally {
      state.booting--
    }
    for (const pool of [...hungry].sort((a, b) => a.waitingSinceMs - b.waitingSinceMs)) if (pool.classKey === state.key) offer(pool)
    plan()
  }

  function tell(state: ClassState, error: HostelError): void {
    for (const pool of hungry) if (pool.classKey === state.key && pool.sandboxes.size === 0) pool.refuseAll(unbootable(error.message))
  }

  return {
    plan,
    assertBootable(pool) {
      const state = classes.byKey.get(pool.classKey)
      if (state === undefined || state.failures < FAILURES_MAX || state.spares.length > 0 || pool.sandboxes.size > 0) return
      const leftMs = state.retryAtMs - steadyNowMs()
      if (leftMs > 0) throw unbootable(`${state.failures} boots in a row failed`, Math.ceil(leftMs / 1_000))
    },
    stop() {
      stopped = true
      clearTimeout(refillTimer ?? undefined)
    },
  }
}

function unbootable(why: string, retryAfterSeconds = 1): HostelError {
  return new HostelError('unavailable', 'no sandbox can be started at the moment', { facts: { why }, retryAfterSeconds })
}
