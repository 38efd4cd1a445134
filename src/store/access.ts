/** Tenants and tokens. */
import { timingSafeEqual } from 'node:crypto'
import type { DatabaseSync } from 'node:sqlite'

import { inTransaction, row, statements } from './database.ts'

/** What a token allows. `admin`: everything in its tenant, or in all of them. */
export type Scope = 'admin'

export interface TokenInfo {
  name: string
  scope: Scope
  /** Null: all tenants. */
  tenant: string | null
}

export interface AccessStore {
  tenantExists(name: string): Promise<boolean>
  /** The token with this SHA-256; notes its use, at most once a minute. */
  findToken(hash: Buffer): Promise<TokenInfo | undefined>
  /** Makes this the one administrator's token, instead of the one before. */
  setAdminToken(hash: Buffer): Promise<void>
}

/** The name of the token that the keeper hands out. */
const ADMIN_NAME = 'admin'
const LAST_USED_STEP_MS = 60_000

export function accessStore(database: DatabaseSync): AccessStore {
  const sql = statements(database)
  return {
    async tenantExists(name) {
      return row(sql('SELECT 1 FROM tenants WHERE name = ?'), name) !== undefined
    },

    async findToken(hash) {
      const found = row<{ hash: Uint8Array; name: string; scope: Scope; tenant: string | null; last_used_at_ms: number | null }>(
        sql('SELECT hash, name, scope, tenant, last_used_at_ms FROM tokens WHERE hash = ?'),
        hash,
      )
      if (!found || !timingSafeEqual(found.hash, hash)) return undefined
      const nowMs = Date.now()
      if (nowMs - (found.last_used_at_ms ?? 0) > LAST_USED_STEP_MS) sql('UPDATE tokens SET last_used_at_ms = ? WHERE hash = ?').run(nowMs, hash)
      return { name: found.name, scope: found.scope, tenant: found.tenant }
    },

    async setAdminToken(hash) {
      if (row(sql('SELECT 1 FROM tokens WHERE hash = ? AND name = ?'), hash, ADMIN_NAME)) return
      inTransaction(database, () => {
        sql('DELETE FROM tokens WHERE name = ? OR hash = ?').run(ADMIN_NAME, hash)
        sql("INSERT INTO tokens (hash, name, scope, tenant, created_at_ms) VALUES (?, ?, 'admin', NULL, ?)").run(hash, ADMIN_NAME, Date.now())
      })
    },
  }
}
