/** How much of the segments each tenant fills, and forgetting the oldest of one that fills too much. Runs in the writer's thread. */
import { inTransaction, openDatabase, rows, StoreError } from '../database.ts'
import { segmentSchema } from './segments.ts'
import type { Segment } from './segments.ts'

/** About what a line and a record cost besides their texts: keys, numbers, indexes. */
const LINE_OVERHEAD_BYTES = 80
const RECORD_OVERHEAD_BYTES = 200

/**
 * A function that trims one segment at most and says which, since rewriting one takes a moment and others wait for the thread.
 * The newest segment counts for nobody: it is still written to, and is of bounded size.
 */
export function tenantTrimmer(): (segments: readonly Segment[], tenantMaxBytes: number) => Segment | undefined {
  /** Ended segments do not change but by this. */
  const known = new Map<number, Map<string, number>>()

  return (segments, tenantMaxBytes) => {
    const sums = new Map<string, number>()
    for (const number of known.keys()) if (!segments.some((segment) => segment.number === number)) known.delete(number)
    for (const segment of segments.slice(0, -1).toReversed()) {
      const sizes = known.get(segment.number) ?? sizesOf(segment)
      known.set(segment.number, sizes)
      const over: string[] = []
      for (const [tenant, bytes] of sizes) {
        const sum = (sums.get(tenant) ?? 0) + bytes
        sums.set(tenant, sum)
        if (sum > tenantMaxBytes && bytes > 0) over.push(tenant)
      }
      if (over.length === 0) continue
      known.delete(segment.number)
      forget(segment, over)
      return segment
    }
    return undefined
  }
}

/** One that can't be opened can't be read either, and goes in its time. */
function sizesOf(segment: Segment): Map<string, number> {
  try {
    using database = openDatabase(segment.file, segmentSchema)
    const found = rows<{ tenant: string; bytes: number }>(
      database.prepare(
        `SELECT s.tenant, sum((SELECT coalesce(sum(length(text) + ${LINE_OVERHEAD_BYTES}), 0) FROM lines WHERE source = s.id)
           + (SELECT coalesce(sum(length(path) + coalesce(length(detail), 0) + ${RECORD_OVERHEAD_BYTES}), 0) FROM invocations WHERE source = s.id)) AS bytes
         FROM sources s GROUP BY s.tenant`,
      ),
    )
    return new Map(found.map(({ tenant, bytes }) => [tenant, bytes]))
  } catch (error) {
    if (!(error instanceof StoreError)) throw error
    return new Map()
  }
}

function forget(segment: Segment, tenants: readonly string[]): void {
  using database = openDatabase(segment.file, segmentSchema)
  inTransaction(database, () => {
    for (const tenant of tenants)
      for (const table of ['invocations', 'lines', 'minutes', 'egress'])
        database.prepare(`DELETE FROM ${table} WHERE source IN (SELECT id FROM sources WHERE tenant = ?)`).run(tenant)
  })
  database.exec('VACUUM')
}
