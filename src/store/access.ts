/** Tokens. */
import { randomBytes, timingSafeEqual } from 'node:crypto'
import type { DatabaseSync } from 'node:sqlite'

import type { InvokeToken, Scope } from '../functions/types.ts'
import { inTransaction, row, rows, statements } from './database.ts'
import { faultOf } from './faults.ts'

export interface TokenInfo {
  id: string
  /** Unique within its tenant, and among those of all tenants. */
  name: string
  scopes: Scope[]
  /** Null: all tenants. */
  tenant: string | null
  createdAtMs: number
  /** Null: never. */
  expiresAtMs: number | null
  lastUsedAtMs: number | null
}

export interface AccessStore {
  /** The token with this SHA-256, expired or not; notes its use, at most once a minute. */
  findToken(hash: Buffer): Promise<TokenInfo | undefined>
  /** Notes the use of tokens by their hashes in hex; unknown ones are passed over. */
  noteUse(hashes: readonly string[]): Promise<void>
  /** Tokens of a tenant, or those of all tenants (null): at most `limit` by name, after the name `after`. */
  tokens(tenant: string | null, page: { after: string; limit: number }): Promise<TokenInfo[]>
  count(tenant: string | null): Promise<number>
  /** Undefined when there is one of that name already. */
  addToken(token: Pick<TokenInfo, 'name' | 'scopes' | 'tenant' | 'expiresAtMs'>, hash: Buffer): Promise<TokenInfo | undefined>
  /** The one that was removed. */
  removeToken(tenant: string | null, name: string): Promise<TokenInfo | undefined>
  /** Those that may call functions. */
  invokeTokens(): Promise<InvokeToken[]>
  /** Makes this the server's own token, instead of the one before. */
  setAdminToken(hash: Buffer): Promise<void>
}

/** The name of the token that the keeper hands out. */
export const SERVER_TOKEN_NAME = 'admin'
const LAST_USED_STEP_MS = 60_000
const ID_BYTES = 6

interface TokenRow {
  id: string
  hash: Uint8Array
  name: string
  scopes: string
  tenant: string | null
  created_at_ms: number
  expires_at_ms: number | null
  last_used_at_ms: number | null
}

const COLUMNS = 'id, hash, name, scopes, tenant, created_at_ms, expires_at_ms, last_used_at_ms'

export function accessStore(database: DatabaseSync): AccessStore {
  const sql = statements(database)

  function used(hash: Uint8Array): void {
    const nowMs = Date.now()
    sql('UPDATE tokens SET last_used_at_ms = ?1 WHERE hash = ?2 AND ifnull(last_used_at_ms, 0) < ?3').run(nowMs, hash, nowMs - LAST_USED_STEP_MS)
  }

  return {
    async findToken(hash) {
      const found = row<TokenRow>(sql(`SELECT ${COLUMNS} FROM tokens WHERE hash = ?`), hash)
      if (!found || !timingSafeEqual(found.hash, hash)) return undefined
      try {
        if (Date.now() - (found.last_used_at_ms ?? 0) > LAST_USED_STEP_MS) used(hash)
      } catch (error) {
        // A disk that can't be written keeps nobody out.
        if (!faultOf(error)) throw error
      }
      return toToken(found)
    },

    async noteUse(hashes) {
      inTransaction(database, () => {
        for (const hash of hashes) used(Buffer.from(hash, 'hex'))
      })
    },

    async tokens(tenant, page) {
      return rows<TokenRow>(
        sql(`SELECT ${COLUMNS} FROM tokens WHERE ifnull(tenant, '') = ? AND name > ? ORDER BY name LIMIT ?`),
        tenant ?? '',
        page.after,
        page.limit,
      ).map(toToken)
    },

    async count(tenant) {
      return row<{ n: number }>(sql("SELECT count(*) AS n FROM tokens WHERE ifnull(tenant, '') = ?"), tenant ?? '')!.n
    },

    async addToken(token, hash) {
      const added = row<TokenRow>(
        sql(
          `INSERT INTO tokens (id, hash, name, scopes, tenant, created_at_ms, expires_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?)
           ON CONFLICT DO NOTHING RETURNING ${COLUMNS}`,
        ),
        randomBytes(ID_BYTES).toString('hex'),
        hash,
        token.name,
        token.scopes.join(' '),
        token.tenant,
        Date.now(),
        token.expiresAtMs,
      )
      return added && toToken(added)
    },

    async removeToken(tenant, name) {
      const removed = row<TokenRow>(sql(`DELETE FROM tokens WHERE ifnull(tenant, '') = ? AND name = ? RETURNING ${COLUMNS}`), tenant ?? '', name)
      return removed && toToken(removed)
    },

    async invokeTokens() {
      return rows<TokenRow>(sql(`SELECT ${COLUMNS} FROM tokens`))
        .filter(({ scopes }) => /\b(invoke|admin)\b/.test(scopes))
        .map(({ hash, tenant, expires_at_ms: expiresAtMs }) => ({ hash: Buffer.from(hash).toString('hex'), tenant, expiresAtMs }))
    },

    async setAdminToken(hash) {
      if (row(sql('SELECT 1 FROM tokens WHERE hash = ? AND name = ? AND tenant IS NULL'), hash, SERVER_TOKEN_NAME)) return
      inTransaction(database, () => {
        sql('DELETE FROM tokens WHERE (name = ? AND tenant IS NULL) OR hash = ?').run(SERVER_TOKEN_NAME, hash)
        sql("INSERT INTO tokens (id, hash, name, scopes, tenant, created_at_ms) VALUES (?, ?, ?, 'admin', NULL, ?)").run(
          randomBytes(ID_BYTES).toString('hex'),
          hash,
          SERVER_TOKEN_NAME,
          Date.now(),
        )
      })
    },
  }
}

function toToken(found: TokenRow): TokenInfo {
  return {
    id: found.id,
    name: found.name,
    scopes: found.scopes.split(' ') as Scope[],
    tenant: found.tenant,
    createdAtMs: found.created_at_ms,
    expiresAtMs: found.expires_at_ms,
    lastUsedAtMs: found.last_used_at_ms,
  }
}
