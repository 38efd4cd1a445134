// @ts-check
/** One line for each step of set-up: what it is, how long it took, and what to do when it failed. */
import { performance } from 'node:perf_hooks'

/** How often a step that takes long says that it is still at work. */
const STILL_EVERY_MS = 10_000
/** Lines of a failure that are shown: the last ones say why. */
const SHOWN_LINES = 20

/** A set-up that cannot go on: what failed, and what to do. */
export class SetupError extends Error {
  /**
   * @param {string} message
   * @param {string} mend
   * @param {unknown} [cause]
   */
  constructor(message, mend, cause) {
    super(message, { cause })
    this.name = 'SetupError'
    this.mend = mend
  }
}

/**
 * @template T
 * @param {string} name
 * @param {() => Promise<T>} work  A string that it returns stands behind the name.
 * @param {string} mend
 * @returns {Promise<T>}
 */
export async function step(name, work, mend) {
  const start = performance.now()
  const seconds = () => ((performance.now() - start) / 1_000).toFixed(1)
  if (process.stdout.isTTY) process.stdout.write(`  … ${name}\n`)
  const still = setInterval(() => process.stdout.write(`  … ${name}: still at work after ${Math.round(Number(seconds()))} s\n`), STILL_EVERY_MS)
  try {
    const result = await work()
    process.stdout.write(`  ✓ ${name}${typeof result === 'string' ? ` (${result})` : ''}  ${seconds()} s\n`)
    return result
  } catch (error) {
    process.stdout.write(`  ✗ ${name}  ${seconds()} s\n`)
    const [first, ...rest] = (error instanceof Error ? error.message : String(error)).split('\n')
    throw new SetupError([`${name} failed: ${first}`, ...rest.slice(-SHOWN_LINES).map((line) => `  ${line}`)].join('\n'), mend, error)
  } finally {
    clearInterval(still)
  }
}
