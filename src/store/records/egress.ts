/** Attempts of egress in segments: written by the writer's thread, read newest first. */
import type { EgressRecord } from '../../functions/types.ts'
import { row, rows } from '../database.ts'
import { idFromBytes, idToBytes } from './ids.ts'
import type { OpenSegment } from './open-segments.ts'
import type { DatabaseSync } from 'node:sqlite'

export interface EgressQuery {
  tenant: string
  function: string
  /** Those that began before the attempt of this id. */
  before?: string
  limit: number
}

interface EgressRow {
  id: Uint8Array
  version: number
  sandbox: number
  invocation: Uint8Array | null
  door: EgressRecord['door']
  target: string
  address: string | null
  verdict: EgressRecord['verdict']
  reason: string | null
  started_at_ms: number
  connect_ms: number
  total_ms: number | null
  sent_bytes: number
  received_bytes: number
}

const LAST_ID = Buffer.alloc(16, 0xff)

/** A function that adds records. One of the same attempt that is over takes the place of one while it was open. */
export function egressInserter(database: DatabaseSync, sourceOf: (tenant: string, name: string) => number): (records: readonly EgressRecord[]) => void {
  const insert = database.prepare(
    `INSERT INTO egress VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT DO UPDATE SET reason = excluded.reason, total_ms = excluded.total_ms, sent_bytes = excluded.sent_bytes, received_bytes = excluded.received_bytes
     WHERE excluded.total_ms IS NOT NULL`,
  )
  return (records) => {
    for (const record of records) {
      insert.run(
        sourceOf(record.tenant, record.function),
        idToBytes(record.id),
        record.version,
        record.sandbox,
        record.invocation === null ? null : idToBytes(record.invocation),
        record.door,
        record.target,
        record.address,
        record.verdict,
        record.reason,
        record.startedAtMs,
        record.connectMs,
        record.totalMs,
        record.sentBytes,
        record.receivedBytes,
      )
    }
  }
}

/** Those of one segment, newest first. Segments from before there was egress have none. */
export function readEgress(open: OpenSegment, query: EgressQuery): EgressRecord[] {
  if (!row(open.sql("SELECT 1 FROM sqlite_schema WHERE name = 'egress'"))) return []
  const found = rows<EgressRow>(
    open.sql(
      `SELECT e.* FROM sources s CROSS JOIN egress e ON e.source = s.id
       WHERE s.tenant = ? AND s.function = ? AND e.id < ? ORDER BY e.id DESC LIMIT ?`,
    ),
    query.tenant,
    query.function,
    query.before === undefined ? LAST_ID : idToBytes(query.before),
    query.limit,
  )
  return found.map((one) => ({
    id: idFromBytes(one.id),
    tenant: query.tenant,
    function: query.function,
    version: one.version,
    sandbox: one.sandbox,
    invocation: one.invocation && idFromBytes(one.invocation),
    door: one.door,
    target: one.target,
    address: one.address,
    verdict: one.verdict,
    reason: one.reason,
    startedAtMs: one.started_at_ms,
    connectMs: one.connect_ms,
    totalMs: one.total_ms,
    sentBytes: one.sent_bytes,
    receivedBytes: one.received_bytes,
  }))
}
