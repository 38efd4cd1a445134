/** How busy functions are, from the records of what has just ended and the sandboxes that are there. */
import type { Invocation, Sandbox } from '../client/control.ts'

export interface Activity {
  function: string
  /** Of the last seconds. */
  requestsPerSecond: number
  /** Share of them that failed, from 0 to 1. */
  errorShare: number
  /** Times from admission to the end of the answer; null when there were none. */
  p50Ms: number | null
  p99Ms: number | null
  inFlight: number
  sandboxes: { busy: number; idle: number; frozen: number; other: number }
  memoryBytes: number
}

/** Figures are of this long at most. */
export const WINDOW_MS = 10_000
/** Records looked at: when there were more in the window, it is as short as these are. */
export const RECORDS_MAX = 1_000

/** A line for each function that has a sandbox or was called, the busiest first. `invocations` newest first. */
export function activityOf(invocations: Invocation[], sandboxes: Sandbox[], nowMs: number): Activity[] {
  const ended = invocations.filter((item) => endOf(item) > nowMs - WINDOW_MS)
  const isCut = ended.length === invocations.length && invocations.length >= RECORDS_MAX
  const spanMs = isCut ? Math.max(1, nowMs - Math.min(...ended.map(endOf))) : WINDOW_MS
  const names = new Set([...ended.map((item) => item.function), ...sandboxes.flatMap((item) => item.function ?? [])])
  return [...names]
    .map((name) =>
      activity(
        name,
        ended.filter((item) => item.function === name),
        sandboxes.filter((item) => item.function === name),
        spanMs,
      ),
    )
    .sort((a, b) => b.requestsPerSecond - a.requestsPerSecond || b.inFlight - a.inFlight || (a.function < b.function ? -1 : 1))
}

function activity(name: string, ended: Invocation[], sandboxes: Sandbox[], spanMs: number): Activity {
  const times = ended.map((item) => item.totalMs).sort((a, b) => a - b)
  const states = { busy: 0, idle: 0, frozen: 0, other: 0 }
  for (const { state } of sandboxes) states[state === 'busy' || state === 'idle' || state === 'frozen' ? state : 'other'] += 1
  return {
    function: name,
    requestsPerSecond: (ended.length * 1_000) / spanMs,
    errorShare: ended.length === 0 ? 0 : ended.filter((item) => item.outcome !== 'ok').length / ended.length,
    p50Ms: quantile(times, 0.5),
    p99Ms: quantile(times, 0.99),
    inFlight: sandboxes.reduce((sum, item) => sum + item.inFlight, 0),
    sandboxes: states,
    memoryBytes: sandboxes.reduce((sum, item) => sum + (item.memoryBytes ?? 0), 0),
  }
}

function endOf(item: Invocation): number {
  return item.startedAtMs + item.totalMs
}

/** Nearest rank, of sorted values. */
function quantile(sorted: number[], share: number): number | null {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? null
}
