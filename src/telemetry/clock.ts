/** Time that does not jump. */
import { performance } from 'node:perf_hooks'

/**
 * Epoch milliseconds as the wall clock had them when this process began, and evenly on from there, however that clock is set meanwhile.
 * For deadlines, ages and waits; what people are shown, and what must agree with other machines, takes `Date.now()`.
 */
export function steadyNowMs(): number {
  return Math.floor(performance.timeOrigin + performance.now())
}
