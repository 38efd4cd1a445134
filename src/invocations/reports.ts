/**
 * Records and log lines on their way to control: gathered in memory, sent in batches, each after the answer to the one before.
 * While control is away they are kept up to a bound; what is beyond is dropped, counted, and marked by a `gap` line.
 */
import type { EgressRecord, InvocationRecord, LogLine } from '../functions/types.ts'
import { limits } from '../limits.ts'
import type { Link } from '../link/link.ts'
import type { Logger } from '../telemetry/logger.ts'
import type { Registry } from '../telemetry/registry.ts'
import { steadyNowMs } from '../telemetry/clock.ts'

export interface Reports {
  record(record: InvocationRecord): void
  log(line: LogLine): void
  egress(record: EgressRecord): void
  /** Sends over this link from now on; what was not answered on the one before is sent again, so control may see it twice. */
  attach(link: Link): void
  /** Sends all there is, for at most so long. */
  flush(withinMs: number): Promise<void>
}

interface Batch {
  records: InvocationRecord[]
  logs: LogLine[]
  egress?: EgressRecord[]
}

/** Lines dropped from one sandbox's log: the first of them, and how many. */
interface Gap {
  first: LogLine
  lines: number
}

export function createReports(logger: Logger, metrics: Registry): Reports {
  const records: InvocationRecord[] = []
  const logs: LogLine[] = []
  const egress: EgressRecord[] = []
  let logBytes = 0
  let droppedRecords = 0
  let droppedEgress = 0
  const gaps = new Map<number, Gap>()
  let link: Link | null = null
  /** Under way, or to be sent again. */
  let batch: Batch | null = null
  let sending = false
  let timer: NodeJS.Timeout | null = null

  const recordsLost = metrics.counter('hostel_records_dropped_total')
  const linesLost = metrics.counter('hostel_log_lines_dropped_total', { reason: 'store' })
  metrics.source(() => [
    { name: 'hostel_reports_pending', labels: { kind: 'records' }, value: records.length + (batch?.records.length ?? 0) },
    { name: 'hostel_reports_pending', labels: { kind: 'lines' }, value: logs.length + (batch?.logs.length ?? 0) },
  ])

  const idle = (): boolean => batch === null && records.length === 0 && logs.length === 0 && egress.length === 0 && gaps.size === 0

  const wake = (delayMs: number): void => {
    if (timer || sending || !link) return
    timer = setTimeout(() => {
      timer = null
      void send()
    }, delayMs)
  }

  const takeBatch = (): Batch => {
    const taken: Batch = {
      records: records.splice(0, limits.batchMaxItems),
      logs: [],
      ...(egress.length > 0 && { egress: egress.splice(0, limits.batchMaxItems) }),
    }
    let bytes = 0
    let count = 0
    while (count < logs.length && count < limits.batchMaxItems && bytes < limits.batchMaxLogBytes) bytes += logs[count++]!.text.length
    taken.logs = logs.splice(0, count)
    logBytes -= bytes
    // Only once the lines before a gap are on their way: a sandbox's lines stay in order.
    if (logs.length === 0) closeGaps(taken)
    if (droppedRecords > 0) logger.error({ droppedRecords }, 'invocation records were dropped while control was away')
    droppedRecords = 0
    if (droppedEgress > 0) logger.error({ droppedEgress }, 'records of egress were dropped while control was away')
    droppedEgress = 0
    return taken
  }

  const closeGaps = (into: Batch): void => {
    for (const { first, lines } of gaps.values())
      into.logs.push({ ...first, level: 'gap', text: `${lines} lines were dropped here: they could not be stored in time` })
    gaps.clear()
  }

  const send = async (): Promise<void> => {
    if (sending || !link || idle()) return
    sending = true
    batch ??= takeBatch()
    let delayMs: number = limits.batchDelayMs
    try {
      await link.call('batch', batch, { timeoutMs: limits.batchTimeoutMs })
      batch = null
      if (records.length + logs.length + egress.length >= limits.batchMaxItems) delayMs = 0
    } catch (error) {
      // With the link gone there is a new one to come; without that something is wrong.
      logger[link ? 'warn' : 'info']({ err: error }, 'control did not take a batch; it is kept')
      delayMs = limits.batchRetryMs
    } finally {
      sending = false
    }
    if (!idle()) wake(delayMs)
  }

  return {
    record(record) {
      if (records.length >= limits.reportsMaxRecords) {
        droppedRecords++
        recordsLost.value++
      } else records.push(record)
      wake(limits.batchDelayMs)
    },
    log(line) {
      const gap = gaps.get(line.sandbox)
      if (gap) {
        gap.lines++
        linesLost.value++
      } else if (logs.length >= limits.reportsMaxLogLines || logBytes >= limits.reportsMaxLogBytes) {
        gaps.set(line.sandbox, { first: line, lines: 1 })
        linesLost.value++
      } else {
        logs.push(line)
        logBytes += line.text.length
      }
      wake(limits.batchDelayMs)
    },
    egress(record) {
      if (egress.length >= limits.reportsMaxEgress) droppedEgress++
      else egress.push(record)
      wake(limits.batchDelayMs)
    },
    attach(newLink) {
      link = newLink
      // A pause after a failure on the old link needs not be waited out.
      if (timer) clearTimeout(timer)
      timer = null
      void newLink.closed.then(() => {
        if (link === newLink) link = null
      })
      wake(limits.batchDelayMs)
    },
    async flush(withinMs) {
      const until = steadyNowMs() + withinMs
      while (!idle() && link && steadyNowMs() < until) {
        await send()
        if (!idle()) await new Promise((resolve) => setTimeout(resolve, 10))
      }
    },
  }
}
