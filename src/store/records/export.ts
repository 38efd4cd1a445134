/** All lines of a function, oldest first, segment after segment: for export, however many there are. */
import { setImmediate as nextTurn } from 'node:timers/promises'

import type { LogLine } from '../../functions/types.ts'
import { row, rows } from '../database.ts'
import { idFromBytes } from './ids.ts'
import type { OpenSegments } from './open-segments.ts'
import { listSegments } from './segments.ts'
import type { Position } from './segments.ts'

export interface ExportQuery {
  tenant: string
  function: string
  /** Epoch milliseconds of the lines themselves: from the first on, before the second. */
  sinceMs: number
  untilMs: number
  /** Nothing after this place. */
  until: Position
}

/** One line as a segment holds it. */
export interface LineRow {
  id: number
  version: number
  sandbox: number
  invocation: Uint8Array | null
  sequence: number
  at_ms: number
  level: LogLine['level']
  text: string
}

export const LINE_COLUMNS = 'id, version, sandbox, invocation, sequence, at_ms, level, text'

const PORTION_LINES = 250

export function lineOf(found: LineRow, source: { tenant: string; function: string }): LogLine {
  return {
    tenant: source.tenant,
    function: source.function,
    version: found.version,
    sandbox: found.sandbox,
    invocation: found.invocation && idFromBytes(found.invocation),
    sequence: found.sequence,
    atMs: found.at_ms,
    level: found.level,
    text: found.text,
  }
}

/** In the order of arrival, in portions that fit into memory. @param slackMs how much later than its stated time a line may arrive. */
export async function* exportLines(directory: string, segments: OpenSegments, query: ExportQuery, slackMs: number): AsyncGenerator<LogLine[], void> {
  const all = listSegments(directory).filter(({ number }) => number <= query.until.segment)
  for (const [index, { number, createdAtMs }] of all.entries()) {
    const endedAtMs = all[index + 1]?.createdAtMs ?? Number.POSITIVE_INFINITY
    if (endedAtMs < query.sinceMs || createdAtMs > query.untilMs + slackMs) continue
    const last = number === query.until.segment ? query.until.line : Number.MAX_SAFE_INTEGER
    let after = -1
    for (;;) {
      // Asked for anew in each step: it may have been closed or forgotten in between.
      const open = segments.byNumber(number)
      const source = open && row<{ id: number }>(open.sql('SELECT id FROM sources WHERE tenant = ? AND function = ?'), query.tenant, query.function)?.id
      if (!open || source === undefined) break
      const found = rows<LineRow>(
        open.sql(`SELECT ${LINE_COLUMNS} FROM lines WHERE source = ? AND id > ? AND id <= ? ORDER BY id LIMIT ${PORTION_LINES}`),
        source,
        after,
        last,
      )
      const wanted = found.filter((line) => line.at_ms >= query.sinceMs && line.at_ms < query.untilMs)
      if (wanted.length > 0) yield wanted.map((line) => lineOf(line, query))
      if (found.length < PORTION_LINES) break
      after = found.at(-1)!.id
      await nextTurn()
    }
  }
}
