/** Reads records and lines across segments. Every query is bounded by its limit, whatever lies in the segments. */
import { performance } from 'node:perf_hooks'
import { setImmediate as nextTurn } from 'node:timers/promises'

import type { EgressRecord, InvocationRecord, LogLine } from '../../functions/types.ts'
import { limits } from '../../limits.ts'
import { row, rows } from '../database.ts'
import { readEgress } from './egress.ts'
import type { EgressQuery } from './egress.ts'
import { exportLines, LINE_COLUMNS, lineOf } from './export.ts'
import type { ExportQuery, LineRow } from './export.ts'
import { idFromBytes, idTimeMs, idToBytes } from './ids.ts'
import { openSegments } from './open-segments.ts'
import type { OpenSegment, Span } from './open-segments.ts'
import type { Position, Segment } from './segments.ts'

export interface LogQuery {
  tenant: string
  function: string
  invocation?: string
  sinceMs?: number
  /** The newest so many. */
  limit: number
  /** Nothing after this place. */
  until: Position
}

export interface RecordReader {
  get(tenant: string, id: string): Promise<InvocationRecord | undefined>
  /** Newest first, those before the id `before`. */
  list(query: { tenant: string; function?: string; before?: string; limit: number }): Promise<InvocationRecord[]>
  countLines(tenant: string, invocation: string): Promise<number>
  /** Invocations and errors of a function since a time, to the minute. */
  countSince(tenant: string, name: string, sinceMs: number): Promise<{ invocations: number; errors: number }>
  /** Attempts of egress of a function, newest first. */
  egress(query: EgressQuery): Promise<EgressRecord[]>
  /** In order of arrival, in portions that fit into memory. */
  lines(query: LogQuery): AsyncGenerator<LogLine[], void>
  /** All of a function, oldest first, likewise. */
  export(query: ExportQuery): AsyncGenerator<LogLine[], void>
  /** Closes a segment that is about to be deleted. */
  release(segment: Segment): void
  close(): void
}

/** How much later than its stated time a line may arrive, beyond which a search backwards for a time ends. */
const ARRIVAL_SLACK_MS = 60_000
/** The longest timeout, four times, for what waits while control is away. */
const WRITTEN_WITHIN_MS = 4 * limits.timeoutMaxMs
const PORTION_LINES = 250
/** The main thread answers others after so long. */
const TURN_MS = 10
const STEP_LINES = 2_000

interface RecordRow {
  id: Uint8Array
  tenant: string
  function: string
  version: number
  sandbox: number | null
  method: string
  path: string
  status: number
  outcome: string
  start: InvocationRecord['start']
  started_at_ms: number
  acquire_ms: number
  forward_ms: number
  total_ms: number
  request_bytes: number
  response_bytes: number
  detail: string | null
}

/** By source and id; CROSS JOIN keeps the order: a look-up for each source. */
const RECORD = 'SELECT i.*, s.tenant, s.function FROM sources s CROSS JOIN invocations i ON i.source = s.id WHERE'
const EVERYTHING: Span = { fromMs: 0, toMs: Number.POSITIVE_INFINITY }
const LAST_ID = Buffer.alloc(16, 0xff)

export function recordReader(directory: string, onUnreadable: (segment: Segment, error: Error) => void): RecordReader {
  const segments = openSegments(directory, onUnreadable)

  /** Where the id's time says that it should be and, when nothing was found there, everywhere: the clock may have jumped when it was made. */
  function* likelyFirst(id: string, isFound: () => boolean = () => false): Generator<OpenSegment> {
    yield* segments.newestFirst(writtenWithin(id))
    if (!isFound()) yield* segments.newestFirst(EVERYTHING)
  }

  function sourceId(open: OpenSegment, tenant: string, name: string): number | undefined {
    return row<{ id: number }>(open.sql('SELECT id FROM sources WHERE tenant = ? AND function = ?'), tenant, name)?.id
  }

  /** The newest ids before `before` of these sources, newest first: one look-up a source and one an id, however many records there are. */
  function newestIds(open: OpenSegment, sources: number[], before: Uint8Array, limit: number): { source: number; id: Uint8Array }[] {
    const previous = open.sql('SELECT id FROM invocations WHERE source = ? AND id < ? ORDER BY id DESC LIMIT 1')
    const heads: { source: number; id: Buffer }[] = []
    const add = (source: number, below: Uint8Array): void => {
      const found = row<{ id: Uint8Array }>(previous, source, below)
      if (!found) return
      const head = { source, id: Buffer.from(found.id) }
      let low = 0
      let high = heads.length
      while (low < high) {
        const middle = (low + high) >>> 1
        if (Buffer.compare(heads[middle]!.id, head.id) < 0) low = middle + 1
        else high = middle
      }
      heads.splice(low, 0, head)
    }
    for (const source of sources) add(source, before)
    const out: { source: number; id: Uint8Array }[] = []
    while (out.length < limit) {
      const head = heads.pop()
      if (!head) break
      out.push(head)
      add(head.source, head.id)
    }
    return out
  }

  /** Numbers of the lines asked for in one segment, newest first; `reachedTime` when lines before it need no look. */
  async function lineNumbers(number: number, query: LogQuery, wanted: number): Promise<{ numbers: number[]; reachedTime: boolean }> {
    const numbers: number[] = []
    const sinceMs = query.sinceMs ?? 0
    const invocation = query.invocation === undefined ? [] : [idToBytes(query.invocation)]
    let before = number === query.until.segment ? query.until.line + 1 : Number.MAX_SAFE_INTEGER
    for (;;) {
      // Asked for anew in each step: other readers may have had it closed in between.
      const open = segments.byNumber(number)
      const source = open && sourceId(open, query.tenant, query.function)
      if (source === undefined) return { numbers, reachedTime: false }
      const step = open!.sql(
        `SELECT id, at_ms FROM lines WHERE source = ?1 AND id < ?2 ${invocation.length > 0 ? 'AND invocation = ?3' : ''} ORDER BY id DESC LIMIT ${STEP_LINES}`,
      )
      const found = rows<{ id: number; at_ms: number }>(step, source, before, ...invocation)
      for (const line of found) {
        if (line.at_ms < sinceMs - ARRIVAL_SLACK_MS) return { numbers, reachedTime: true }
        if (line.at_ms >= sinceMs) numbers.push(line.id)
        if (numbers.length === wanted) return { numbers, reachedTime: false }
      }
      if (found.length < STEP_LINES) return { numbers, reachedTime: false }
      before = found.at(-1)!.id
      await nextTurn()
    }
  }

  return {
    async get(tenant, id) {
      for (const open of likelyFirst(id)) {
        const found = row<RecordRow>(open.sql(`${RECORD} s.tenant = ? AND i.id = ?`), tenant, idToBytes(id))
        if (found) return toRecord(found)
      }
      return undefined
    },

    async list(query) {
      const out: InvocationRecord[] = []
      const before = query.before === undefined ? LAST_ID : idToBytes(query.before)
      for (const open of segments.newestFirst(query.before === undefined ? EVERYTHING : { ...writtenWithin(query.before), fromMs: 0 })) {
        if (out.length >= query.limit) break
        const sources =
          query.function === undefined
            ? rows<{ id: number }>(open.sql('SELECT id FROM sources WHERE tenant = ?'), query.tenant).map(({ id }) => id)
            : [sourceId(open, query.tenant, query.function)].filter((id) => id !== undefined)
        for (const { source, id } of newestIds(open, sources, before, query.limit - out.length))
          out.push(toRecord(row<RecordRow>(open.sql(`${RECORD} s.id = ? AND i.id = ?`), source, id)!))
        await nextTurn()
      }
      // A record is written when it ends, so that neighbouring segments overlap a little in ids.
      return out.sort((a, b) => (a.id < b.id ? 1 : -1))
    },

    async countLines(tenant, invocation) {
      let sum = 0
      for (const open of likelyFirst(invocation, () => sum > 0)) {
        const found = row<{ n: number }>(
          open.sql('SELECT count(*) AS n FROM lines l JOIN sources s ON s.id = l.source WHERE l.invocation = ? AND s.tenant = ?'),
          idToBytes(invocation),
          tenant,
        )
        sum += found!.n
      }
      return sum
    },

    async countSince(tenant, name, sinceMs) {
      const sum = { invocations: 0, errors: 0 }
      for (const open of segments.newestFirst({ fromMs: sinceMs - ARRIVAL_SLACK_MS, toMs: Number.POSITIVE_INFINITY })) {
        const source = sourceId(open, tenant, name)
        if (source !== undefined) {
          const found = row<{ invocations: number | null; errors: number | null }>(
            open.sql('SELECT sum(invocations) AS invocations, sum(errors) AS errors FROM minutes WHERE source = ? AND minute >= ?'),
            source,
            Math.floor(sinceMs / 60_000),
          )
          sum.invocations += found?.invocations ?? 0
          sum.errors += found?.errors ?? 0
        }
      }
      return sum
    },

    async egress(query) {
      // The newer segment knows an attempt's end, where an older one only saw it open.
      const out = new Map<string, EgressRecord>()
      // Written when it ended, which may be hours after it began.
      for (const open of segments.newestFirst({ fromMs: 0, toMs: Number.POSITIVE_INFINITY })) {
        for (const record of readEgress(open, query)) if (!out.has(record.id)) out.set(record.id, record)
        if (out.size >= query.limit) break
        await nextTurn()
      }
      return [...out.values()].sort((a, b) => (a.id < b.id ? 1 : -1)).slice(0, query.limit)
    },

    async *lines(query) {
      // First the numbers, newest first, which is cheap; then the lines themselves in their order.
      const places: { number: number; lines: number[] }[] = []
      let wanted = query.limit
      const since = { fromMs: (query.sinceMs ?? 0) - ARRIVAL_SLACK_MS, toMs: Number.POSITIVE_INFINITY }
      const candidates =
        query.invocation === undefined ? segments.newestFirst(since) : likelyFirst(query.invocation, () => places.some(({ lines }) => lines.length > 0))
      for (const open of candidates) {
        if (open.segment.number > query.until.segment) continue
        const { numbers, reachedTime } = await lineNumbers(open.segment.number, query, wanted)
        wanted -= numbers.length
        places.unshift({ number: open.segment.number, lines: numbers.toReversed() })
        if (wanted === 0 || reachedTime) break
      }
      let turnStartMs = performance.now()
      for (const place of places) {
        for (let from = 0; from < place.lines.length; from += PORTION_LINES) {
          const open = segments.byNumber(place.number)
          // Deleted or damaged in the meantime: what is left is still worth reading.
          if (!open) break
          const source = sourceId(open, query.tenant, query.function)!
          const one = open.sql(`SELECT ${LINE_COLUMNS} FROM lines WHERE source = ? AND id = ?`)
          yield place.lines.slice(from, from + PORTION_LINES).flatMap((id) => {
            const found = row<LineRow>(one, source, id)
            return found ? [lineOf(found, query)] : []
          })
          if (performance.now() - turnStartMs > TURN_MS) {
            await nextTurn()
            turnStartMs = performance.now()
          }
        }
      }
    },

    export: (query) => exportLines(directory, segments, query, ARRIVAL_SLACK_MS),

    release(segment) {
      segments.release(segment)
    },

    close() {
      segments.close()
    },
  }
}

/** When an invocation's record and lines can have been written: from its id's time on, until long after the longest can have ended. */
function writtenWithin(id: string): Span {
  const startedAtMs = idTimeMs(id)
  return { fromMs: startedAtMs - ARRIVAL_SLACK_MS, toMs: startedAtMs + WRITTEN_WITHIN_MS }
}

function toRecord(found: RecordRow): InvocationRecord {
  return {
    id: idFromBytes(found.id),
    tenant: found.tenant,
    function: found.function,
    version: found.version,
    sandbox: found.sandbox,
    method: found.method,
    path: found.path,
    status: found.status,
    outcome: found.outcome,
    start: found.start,
    startedAtMs: found.started_at_ms,
    acquireMs: found.acquire_ms,
    forwardMs: found.forward_ms,
    totalMs: found.total_ms,
    requestBytes: found.request_bytes,
    responseBytes: found.response_bytes,
    detail: found.detail === null ? null : (JSON.parse(found.detail) as Record<string, unknown>),
  }
}
