/** What is looked after from time to time: idle sandboxes are frozen and later ended, surplus spares and empty pools go, memory is measured. */
import { limits } from '../limits.ts'
import type { Logger } from '../telemetry/logger.ts'
import { steadyNowMs } from '../telemetry/clock.ts'
import { endReasons } from './causes.ts'
import type { Fleet } from './fleet.ts'
import type { VersionPool } from './pool.ts'
import { backoffMs } from './budget.ts'
import type { SpareClasses } from './spares.ts'

const SWEEP_EVERY_MS = 100
const MEASURE_EVERY_MS = 5_000
/** A pool without sandboxes remembers failed starts and crashes for so long after its back-off. */
const FORGET_FAILURES_AFTER_MS = 600_000

export interface HousekeepingOptions {
  fleet: Fleet
  classes: SpareClasses
  pools: Map<string, VersionPool>
  keepWarmMs: number
  logger: Logger
  plan(): void
}

export function startHousekeeping(options: HousekeepingOptions): { stop(): void } {
  const { fleet, classes, pools, keepWarmMs, logger, plan } = options

  function sweep(): void {
    const nowMs = steadyNowMs()
    for (const sandbox of fleet.sandboxes.values()) {
      if (!sandbox.isIdle) continue
      const idleMs = nowMs - sandbox.idleSinceMs
      if (idleMs >= keepWarmMs) fleet.end(sandbox, endReasons.idle(), limits.endGraceMs)
      else if (idleMs >= limits.freezeAfterIdleMs && !sandbox.frozen && sandbox.thawing === null && sandbox.connection.unsentBytes === 0) fleet.freeze(sandbox)
    }
    const surplus = classes.surplus(nowMs)
    if (surplus !== null) fleet.end(surplus, endReasons.surplus(), limits.endGraceMs)
    plan()
  }

  function measure(): void {
    fleet.forgetLost()
    for (const pool of pools.values()) {
      const remembers = pool.failures + pool.crashes > 0 && steadyNowMs() - pool.lastTroubleAtMs < backoffMs(pool.failures) + FORGET_FAILURES_AFTER_MS
      if (pool.sandboxes.size > 0 || pool.waiters.size > 0 || remembers) continue
      pool.dropped = true
      pools.delete(pool.key)
    }
    if (fleet.sandboxes.size === 0) return
    fleet.measure().catch((error: Error) => logger.warn({ error: error.message }, 'could not measure the sandboxes'))
  }

  const timers = [setInterval(sweep, SWEEP_EVERY_MS).unref(), setInterval(measure, MEASURE_EVERY_MS).unref()]
  return {
    stop() {
      for (const timer of timers) clearInterval(timer)
    },
  }
}
