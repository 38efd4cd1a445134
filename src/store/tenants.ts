/** Tenants and what they may have. */
import type { DatabaseSync } from 'node:sqlite'

import type { Quotas, TenantQuotas } from '../functions/types.ts'
import { row, rows, statements } from './database.ts'

export interface StoredTenant {
  name: string
  createdAtMs: number
  quotas: Quotas
  /** How many it has. */
  functions: number
  tokens: number
}

export interface TenantStore {
  exists(name: string): Promise<boolean>
  get(name: string): Promise<StoredTenant | undefined>
  /** At most `limit` by name, after the name `after`. */
  list(page: { after: string; limit: number }): Promise<StoredTenant[]>
  count(): Promise<number>
  /** Those with bounds of their own. */
  quotas(): Promise<TenantQuotas[]>
  /** False when it is there already. */
  add(name: string, quotas: Quotas): Promise<boolean>
  setQuotas(name: string, quotas: Quotas): Promise<void>
  /** With its tokens, and whatever else is its own and not a function. False while it has functions. */
  remove(name: string): Promise<boolean>
}

interface TenantRow {
  name: string
  created_at_ms: number
  functions_max: number | null
  sandboxes_max: number | null
  memory_mib_max: number | null
  requests_per_second_max: number | null
  functions: number
  tokens: number
}

const QUOTAS = 'functions_max, sandboxes_max, memory_mib_max, requests_per_second_max'
const SELECT = `SELECT name, created_at_ms, ${QUOTAS}, (SELECT count(*) FROM functions f WHERE f.tenant = t.name) AS functions,
  (SELECT count(*) FROM tokens k WHERE k.tenant = t.name) AS tokens FROM tenants t`

export function tenantStore(database: DatabaseSync): TenantStore {
  const sql = statements(database)
  return {
    async exists(name) {
      return row(sql('SELECT 1 FROM tenants WHERE name = ?'), name) !== undefined
    },

    async get(name) {
      const found = row<TenantRow>(sql(`${SELECT} WHERE name = ?`), name)
      return found && toTenant(found)
    },

    async list(page) {
      return rows<TenantRow>(sql(`${SELECT} WHERE name > ? ORDER BY name LIMIT ?`), page.after, page.limit).map(toTenant)
    },

    async count() {
      return row<{ n: number }>(sql('SELECT count(*) AS n FROM tenants'))!.n
    },

    async quotas() {
      return rows<TenantRow>(sql(`SELECT name, ${QUOTAS} FROM tenants WHERE coalesce(${QUOTAS}) IS NOT NULL`)).map((found) => ({
        tenant: found.name,
        quotas: toQuotas(found),
      }))
    },

    async add(name, quotas) {
      const { changes } = sql(`INSERT INTO tenants (name, created_at_ms, ${QUOTAS}) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`).run(
        name,
        Date.now(),
        quotas.functions,
        quotas.sandboxes,
        quotas.memoryMiB,
        quotas.requestsPerSecond,
      )
      return changes > 0
    },

    async setQuotas(name, quotas) {
      sql('UPDATE tenants SET functions_max = ?, sandboxes_max = ?, memory_mib_max = ?, requests_per_second_max = ? WHERE name = ?').run(
        quotas.functions,
        quotas.sandboxes,
        quotas.memoryMiB,
        quotas.requestsPerSecond,
        name,
      )
    },

    async remove(name) {
      return sql('DELETE FROM tenants WHERE name = ?1 AND NOT EXISTS (SELECT 1 FROM functions WHERE tenant = ?1)').run(name).changes > 0
    },
  }
}

function toTenant(found: TenantRow): StoredTenant {
  return { name: found.name, createdAtMs: found.created_at_ms, quotas: toQuotas(found), functions: found.functions, tokens: found.tokens }
}

function toQuotas(found: TenantRow): Quotas {
  return {
    functions: found.functions_max,
    sandboxes: found.sandboxes_max,
    memoryMiB: found.memory_mib_max,
    requestsPerSecond: found.requests_per_second_max,
  }
}
