/** What is counted of every log line. */
import type { LogLine } from '../functions/types.ts'
import type { Counter, Registry } from './registry.ts'

export function countLogs(registry: Registry): (line: LogLine, dropped: number) => void {
  const byLevel = new Map<LogLine['level'], Counter>()
  const dropped = registry.counter('hostel_log_lines_dropped_total', { reason: 'rate' })
  return ({ level }, lost) => {
    dropped.value += lost
    let counter = byLevel.get(level)
    if (!counter) byLevel.set(level, (counter = registry.counter('hostel_log_lines_total', { level })))
    counter.value++
  }
}
