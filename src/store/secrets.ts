/** Secrets as they are kept: sealed. Nothing in here can open one. */
import { randomBytes } from 'node:crypto'
import type { DatabaseSync } from 'node:sqlite'

import { inTransaction, row, rows, statements } from './database.ts'

export interface StoredSecret {
  tenant: string
  name: string
  keyId: string
  nonce: Uint8Array
  box: Uint8Array
  /** Another one for each value. */
  revision: string
  createdAtMs: number
  updatedAtMs: number
}

type SealedSecret = Pick<StoredSecret, 'keyId' | 'nonce' | 'box'>

export interface SecretStore {
  all(): Promise<StoredSecret[]>
  /** The key that new values are sealed with; undefined before the first. */
  currentKey(): Promise<string | undefined>
  /** Keeps it, in place of the one before; its key becomes the current one. */
  put(secret: SealedSecret & Pick<StoredSecret, 'tenant' | 'name'>): Promise<StoredSecret>
  remove(tenant: string, name: string): Promise<void>
  /** Every secret sealed anew by `reseal`, and their key the current one: all in one step, or nothing. Gives them as they are now. */
  resealAll(keyId: string, reseal: (secret: StoredSecret) => SealedSecret): Promise<StoredSecret[]>
}

interface SecretRow {
  tenant: string
  name: string
  key_id: string
  nonce: Uint8Array
  box: Uint8Array
  revision: string
  created_at_ms: number
  updated_at_ms: number
}

export function secretStore(database: DatabaseSync): SecretStore {
  const sql = statements(database)

  function makeCurrent(keyId: string): void {
    sql('DELETE FROM secret_key WHERE id <> ?').run(keyId)
    sql('INSERT OR IGNORE INTO secret_key (id, created_at_ms) VALUES (?, ?)').run(keyId, Date.now())
  }

  function read(): StoredSecret[] {
    return rows<SecretRow>(sql('SELECT tenant, name, key_id, nonce, box, revision, created_at_ms, updated_at_ms FROM secrets ORDER BY tenant, name')).map(
      toSecret,
    )
  }

  return {
    async all() {
      return read()
    },

    async currentKey() {
      return row<{ id: string }>(sql('SELECT id FROM secret_key'))?.id
    },

    async put(secret) {
      return inTransaction(database, () => {
        makeCurrent(secret.keyId)
        return toSecret(
          row<SecretRow>(
            sql(
              `INSERT INTO secrets (tenant, name, key_id, nonce, box, revision, created_at_ms, updated_at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)
               ON CONFLICT DO UPDATE SET key_id = excluded.key_id, nonce = excluded.nonce, box = excluded.box, revision = excluded.revision,
                 updated_at_ms = excluded.updated_at_ms
               RETURNING tenant, name, key_id, nonce, box, revision, created_at_ms, updated_at_ms`,
            ),
            secret.tenant,
            secret.name,
            secret.keyId,
            secret.nonce,
            secret.box,
            randomBytes(8).toString('hex'),
            Date.now(),
          )!,
        )
      })
    },

    async remove(tenant, name) {
      sql('DELETE FROM secrets WHERE tenant = ? AND name = ?').run(tenant, name)
    },

    async resealAll(keyId, reseal) {
      return inTransaction(database, () => {
        for (const secret of read()) {
          const { nonce, box } = reseal(secret)
          sql('UPDATE secrets SET key_id = ?, nonce = ?, box = ? WHERE tenant = ? AND name = ?').run(keyId, nonce, box, secret.tenant, secret.name)
        }
        makeCurrent(keyId)
        return read()
      })
    },
  }
}

function toSecret(found: SecretRow): StoredSecret {
  return {
    tenant: found.tenant,
    name: found.name,
    keyId: found.key_id,
    nonce: found.nonce,
    box: found.box,
    revision: found.revision,
    createdAtMs: found.created_at_ms,
    updatedAtMs: found.updated_at_ms,
  }
}
