/** The audit log: every change that was made through the API. */
import type { DatabaseSync } from 'node:sqlite'

import { limits } from '../limits.ts'
import { row, rows, statements } from './database.ts'

export interface AuditEntry {
  id: number
  atMs: number
  /** Id and name of the token that was used. */
  token: string
  tokenName: string
  /** Where the request came from. */
  address: string
  /** Null: about no single tenant. */
  tenant: string | null
  /** The API's operation. */
  action: string
  /** What it was done to, within the tenant. */
  target: string
  /** As it was and as it is; null for nothing, or where there is nothing to tell. */
  before: Record<string, unknown> | null
  after: Record<string, unknown> | null
}

export interface AuditStore {
  add(entry: Omit<AuditEntry, 'id' | 'atMs'>): Promise<void>
  /** Newest first, at most `limit`, before the id `before`. Without a tenant: of all. */
  list(query: { tenant?: string; sinceMs?: number; before?: number; limit: number }): Promise<AuditEntry[]>
  /** Forgets what is too old or too much. */
  forget(nowMs: number): Promise<void>
}

interface AuditRow extends Omit<AuditEntry, 'before' | 'after'> {
  before: string | null
  after: string | null
}

export function auditStore(database: DatabaseSync): AuditStore {
  const sql = statements(database)
  return {
    async add(entry) {
      sql('INSERT INTO audit (at_ms, token, token_name, address, tenant, action, target, before, after) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)').run(
        Date.now(),
        entry.token,
        entry.tokenName,
        entry.address,
        entry.tenant,
        entry.action,
        entry.target,
        bounded(entry.before),
        bounded(entry.after),
      )
    },

    async list({ tenant, sinceMs = 0, before = Number.MAX_SAFE_INTEGER, limit }) {
      const select = 'SELECT id, at_ms AS atMs, token, token_name AS tokenName, address, tenant, action, target, before, after FROM audit'
      const found =
        tenant === undefined
          ? rows<AuditRow>(sql(`${select} WHERE id < ? AND at_ms >= ? ORDER BY id DESC LIMIT ?`), before, sinceMs, limit)
          : rows<AuditRow>(sql(`${select} WHERE tenant = ? AND id < ? AND at_ms >= ? ORDER BY id DESC LIMIT ?`), tenant, before, sinceMs, limit)
      return found.map((entry) => ({ ...entry, before: parsed(entry.before), after: parsed(entry.after) }))
    },

    async forget(nowMs) {
      const newest = row<{ id: number | null }>(sql('SELECT max(id) AS id FROM audit'))?.id ?? 0
      sql('DELETE FROM audit WHERE id <= ? OR at_ms < ?').run(newest - limits.auditMaxEntries, nowMs - limits.auditKeepMs)
    },
  }
}

/** What is longer than an entry may be is told to have been there, and no more. */
function bounded(value: Record<string, unknown> | null): string | null {
  if (value === null) return null
  const text = JSON.stringify(value)
  return text.length <= limits.auditValueMaxChars ? text : JSON.stringify({ tooLong: `${text.length} characters` })
}

function parsed(text: string | null): Record<string, unknown> | null {
  return text === null ? null : (JSON.parse(text) as Record<string, unknown>)
}
