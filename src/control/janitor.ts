/** Forgets, in small steps, what has been kept long enough. */
import type { CodeStore } from '../functions/code/store.ts'
import type { Retention, Store } from '../store/store.ts'
import { steadyNowMs } from '../telemetry/clock.ts'
import type { Logger } from '../telemetry/logger.ts'

const STEP_EVERY_MS = 60_000
/** The wall clock ran this much differently from the steady one since the step before: it was set. Summer time is no reason; that is not what it tells. */
const JUMP_MS = 600_000
/** After a jump nothing is forgotten by its age for so long: who set the clock wrong may set it right again. */
const AFTER_JUMP_MS = 3_600_000
/** Numbers of deleted functions: far longer than any sandbox of theirs can live. */
const VERSION_NUMBERS_KEEP_MS = 30 * 24 * 3_600_000

/** Gives the wall clock's time, or undefined when it has jumped lately. */
export function clockWatch(logger: Logger): (wallMs: number, steadyMs: number) => number | undefined {
  let offsetMs: number | undefined
  let holdUntilMs = Number.NEGATIVE_INFINITY
  return (wallMs, steadyMs) => {
    const jumpMs = wallMs - steadyMs - (offsetMs ?? wallMs - steadyMs)
    offsetMs = wallMs - steadyMs
    if (Math.abs(jumpMs) > JUMP_MS) {
      holdUntilMs = steadyMs + AFTER_JUMP_MS
      logger.warn({ jumpMs }, 'the clock was set; nothing is forgotten by its age for an hour')
    }
    return steadyMs < holdUntilMs ? undefined : wallMs
  }
}

/** Starts at once; the result stops it and waits for the step in hand. */
export function startJanitor(store: Store, code: CodeStore, retention: Retention, logger: Logger): () => Promise<void> {
  const believed = clockWatch(logger)
  let step: Promise<void> = Promise.resolve()

  async function work(): Promise<void> {
    const nowMs = believed(Date.now(), steadyNowMs())
    try {
      // By number and size in any case, by age only when it is known.
      await store.forgetOldRecords(nowMs ?? 0, retention)
      if (nowMs !== undefined) {
        await store.functions.forgetVersionNumbers(nowMs - VERSION_NUMBERS_KEEP_MS)
        await store.audit.forget(nowMs)
      }
      await code.collect(store.functions, steadyNowMs())
    } catch (error) {
      // The next step tries again; what stays too long harms nobody yet.
      logger.error({ err: error }, 'forgetting what is old failed')
    }
  }

  function run(): void {
    step = step.then(work)
  }

  const timer = setInterval(run, STEP_EVERY_MS)
  run()
  return async () => {
    clearInterval(timer)
    await step
  }
}
