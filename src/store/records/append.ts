/** Writes batches of invocation records and log lines into one segment, each in one transaction. Runs in the writer's thread. */
import type { DatabaseSync } from 'node:sqlite'

import type { EgressRecord, InvocationRecord, LogLine } from '../../functions/types.ts'
import { inTransaction, row, rows, statements } from '../database.ts'
import { egressInserter } from './egress.ts'
import { idToBytes } from './ids.ts'

export interface Batch {
  records: InvocationRecord[]
  logs: LogLine[]
  egress?: EgressRecord[]
}

export interface Appender {
  /** Durable on return. Gives the number of the last line. */
  append(batch: Batch, options: { mayRepeat: boolean }): number
  /** Bytes of the database, without its write-ahead log. */
  bytes(): number
}

/** How far back a repeated batch is looked for: more lines than one batch holds. */
const REPEAT_WINDOW_LINES = 100_000

/** Takes over an open segment. */
export function appender(database: DatabaseSync): Appender {
  const sql = statements(database)
  // Keyed by tenant, then function: neither can hold a line break.
  const sources = new Map<string, number>()
  for (const { id, tenant, function: name } of rows<{ id: number; tenant: string; function: string }>(sql('SELECT id, tenant, function FROM sources')))
    sources.set(`${tenant}\n${name}`, id)
  let lastLine = row<{ id: number | null }>(sql('SELECT max((SELECT max(id) FROM lines WHERE source = sources.id)) AS id FROM sources'))?.id ?? 0

  const insertRecord = sql('INSERT OR IGNORE INTO invocations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)')
  const insertLine = sql('INSERT INTO lines VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)')
  const addEgress = egressInserter(database, sourceOf)
  const addMinute = sql(
    `INSERT INTO minutes VALUES (?, ?, ?, ?)
     ON CONFLICT DO UPDATE SET invocations = invocations + excluded.invocations, errors = errors + excluded.errors`,
  )

  function sourceOf(tenant: string, name: string): number {
    const key = `${tenant}\n${name}`
    let id = sources.get(key)
    if (id === undefined) {
      id = Number(sql('INSERT INTO sources (tenant, function) VALUES (?, ?)').run(tenant, name).lastInsertRowid)
      sources.set(key, id)
    }
    return id
  }

  function addRecords(records: InvocationRecord[]): void {
    const minutes = new Map<string, { source: number; minute: number; invocations: number; errors: number }>()
    for (const record of records) {
      const source = sourceOf(record.tenant, record.function)
      const { changes } = insertRecord.run(
        source,
        idToBytes(record.id),
        record.version,
        record.sandbox,
        record.method,
        record.path,
        record.status,
        record.outcome,
        record.start,
        record.startedAtMs,
        record.acquireMs,
        record.forwardMs,
        record.totalMs,
        record.requestBytes,
        record.responseBytes,
        record.detail === null ? null : JSON.stringify(record.detail),
      )
      if (Number(changes) === 0) continue
      const minute = Math.floor(record.startedAtMs / 60_000)
      const key = `${source} ${minute}`
      let sum = minutes.get(key)
      if (!sum) minutes.set(key, (sum = { source, minute, invocations: 0, errors: 0 }))
      sum.invocations += 1
      if (record.outcome !== 'ok') sum.errors += 1
    }
    for (const sum of minutes.values()) addMinute.run(sum.source, sum.minute, sum.invocations, sum.errors)
  }

  function addLines(logs: LogLine[], known: Set<string>): void {
    for (const line of logs) {
      if (known.has(lineKey(line.sandbox, line.sequence, line.atMs))) continue
      lastLine += 1
      insertLine.run(
        sourceOf(line.tenant, line.function),
        lastLine,
        line.version,
        line.sandbox,
        line.invocation === null ? null : idToBytes(line.invocation),
        line.sequence,
        line.atMs,
        line.level,
        line.text,
      )
    }
  }

  /** Keys of the lines that came last, to find those that come again. */
  function recentLines(): Set<string> {
    const recent = rows<{ sandbox: number; sequence: number; at_ms: number }>(
      sql('SELECT sandbox, sequence, at_ms FROM sources CROSS JOIN lines ON lines.source = sources.id AND lines.id > ?'),
      lastLine - REPEAT_WINDOW_LINES,
    )
    return new Set(recent.map((line) => lineKey(line.sandbox, line.sequence, line.at_ms)))
  }

  return {
    append(batch, options) {
      const before = lastLine
      const sourcesBefore = sources.size
      try {
        inTransaction(database, () => {
          addRecords(batch.records)
          addEgress(batch.egress ?? [])
          addLines(batch.logs, options.mayRepeat ? recentLines() : new Set())
        })
      } catch (error) {
        lastLine = before
        // What was rolled back must not be remembered.
        if (sources.size > sourcesBefore) for (const key of [...sources.keys()].slice(sourcesBefore)) sources.delete(key)
        throw error
      }
      return lastLine
    },

    bytes() {
      return row<{ bytes: number }>(sql('SELECT page_count * page_size AS bytes FROM pragma_page_count(), pragma_page_size()'))!.bytes
    },
  }
}

function lineKey(sandbox: number, sequence: number, atMs: number): string {
  return `${sandbox} ${sequence} ${atMs}`
}
