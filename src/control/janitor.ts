/** Forgets, in small steps, what has been kept long enough. */
import type { CodeStore } from '../functions/code/store.ts'
import type { Store } from '../store/store.ts'
import type { Logger } from '../telemetry/logger.ts'

const STEP_EVERY_MS = 60_000
/** Numbers of deleted functions: far longer than any sandbox of theirs can live. */
const VERSION_NUMBERS_KEEP_MS = 30 * 24 * 3_600_000

/** Starts at once; the result stops it and waits for the step in hand. */
export function startJanitor(store: Store, code: CodeStore, logger: Logger): () => Promise<void> {
  let step: Promise<void> = Promise.resolve()

  async function work(): Promise<void> {
    const nowMs = Date.now()
    try {
      store.forgetOldRecords(nowMs)
      await store.functions.forgetVersionNumbers(nowMs - VERSION_NUMBERS_KEEP_MS)
      await store.audit.forget(nowMs)
      await code.collect(store.functions, nowMs)
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
