/** Functions, versions and aliases. */
import type { DatabaseSync } from 'node:sqlite'

import { LIVE_ALIAS } from '../functions/names.ts'
import type { RoutedFunction, RoutedVersion } from '../functions/types.ts'
import { limits } from '../limits.ts'
import type { Contract } from '../sandbox/protocol.ts'
import { inTransaction, row, rows, statements } from './database.ts'
import { liveHistory } from './live.ts'

/** A version as it is kept: it has started once, so its contract is known. */
export interface StoredVersion extends RoutedVersion {
  contract: Contract
  createdAtMs: number
}

export interface StoredFunction {
  tenant: string
  name: string
  createdAtMs: number
  deployedAtMs: number
  aliases: Record<string, number>
  /** Newest first. */
  versions: StoredVersion[]
}

/** A line of the list of functions: the function with the version that an alias points to. */
export interface ListedFunction {
  tenant: string
  name: string
  createdAtMs: number
  deployedAtMs: number
  version: number
  runtime: string
  memoryMiB: number
}

export interface FunctionStore {
  /** At most `limit` by name, after the name `after`. */
  list(tenant: string, alias: string, page: { after: string; limit: number }): Promise<ListedFunction[]>
  count(tenant: string): Promise<number>
  /** How many the tenant may have; null: no bound of its own. */
  quota(tenant: string): Promise<number | null>
  get(tenant: string, name: string): Promise<StoredFunction | undefined>
  /** All functions of all tenants, for the gateway. */
  routes(): Promise<RoutedFunction[]>
  /** Takes the next version number for good, durably: it will never name another version. */
  takeVersionNumber(tenant: string, name: string): Promise<number>
  /**
   * Records a version, makes its function where there is none, points the alias at it, and lets go of the oldest versions that no alias needs.
   * `check` runs inside the same step: when it throws, nothing is recorded.
   */
  addVersion(version: StoredVersion, alias: string, check: () => void): Promise<StoredFunction>
  /** The version that was live before the present one; undefined when there was none, or it is no longer kept. */
  liveBefore(tenant: string, name: string): Promise<number | undefined>
  /** Points `live` at a version that is there; `back`: as a step back along the history of what was live, which the next one continues. */
  moveLive(tenant: string, name: string, version: number, options: { back: boolean }): Promise<StoredFunction>
  /** Takes a version away, unless aliases need it. */
  removeVersion(tenant: string, name: string, version: number): Promise<{ neededBy: string[] } | { left: StoredFunction }>
  /** False when there was none. */
  remove(tenant: string, name: string): Promise<boolean>
  /** Runs `work` unless a version needs this code, with no other change in between. */
  unlessCodeIsUsed(codeDigest: string, work: () => void): Promise<boolean>
  /** Forgets the numbers of functions that were deleted before this time. */
  forgetVersionNumbers(beforeMs: number): Promise<void>
}

interface VersionRow {
  tenant: string
  function: string
  version: number
  code_digest: string
  runtime: string
  handler: string
  memory_mib: number
  timeout_ms: number
  concurrency: number
  auth: string
  env: string
  egress: string
  services: string
  secrets: string
  tree_digest: string | null
  contract: string
  created_at_ms: number
}

const VERSION_COLUMNS =
  'tenant, function, version, code_digest, runtime, handler, memory_mib, timeout_ms, concurrency, auth, env, egress, services, secrets, tree_digest, contract, created_at_ms'

export function functionStore(database: DatabaseSync): FunctionStore {
  const sql = statements(database)
  const history = liveHistory(database)

  function read(tenant: string, name: string): StoredFunction | undefined {
    const found = row<{ created_at_ms: number; deployed_at_ms: number }>(
      sql('SELECT created_at_ms, deployed_at_ms FROM functions WHERE tenant = ? AND name = ?'),
      tenant,
      name,
    )
    if (!found) return undefined
    const aliases = rows<{ alias: string; version: number }>(sql('SELECT alias, version FROM aliases WHERE tenant = ? AND function = ?'), tenant, name)
    const versions = rows<VersionRow>(sql(`SELECT ${VERSION_COLUMNS} FROM versions WHERE tenant = ? AND function = ? ORDER BY version DESC`), tenant, name)
    return {
      tenant,
      name,
      createdAtMs: found.created_at_ms,
      deployedAtMs: found.deployed_at_ms,
      aliases: Object.fromEntries(aliases.map(({ alias, version }) => [alias, version])),
      versions: versions.map(toVersion),
    }
  }

  function insert(version: StoredVersion, alias: string): void {
    const { tenant, createdAtMs } = version
    const name = version.function
    sql(
      `INSERT INTO functions (tenant, name, created_at_ms, deployed_at_ms) VALUES (?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET deployed_at_ms = excluded.deployed_at_ms`,
    ).run(tenant, name, createdAtMs, createdAtMs)
    sql(`INSERT INTO versions (${VERSION_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`).run(
      tenant,
      name,
      version.version,
      version.codeDigest,
      version.runtime,
      version.handler,
      version.memoryMiB,
      version.timeoutMs,
      version.concurrency,
      version.auth ?? 'public',
      JSON.stringify(version.env),
      JSON.stringify(version.egress),
      JSON.stringify(version.services),
      JSON.stringify(version.secrets ?? {}),
      version.treeDigest ?? null,
      version.contract,
      createdAtMs,
    )
    sql(
      `INSERT INTO aliases (tenant, function, alias, version) VALUES (?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET version = excluded.version`,
    ).run(tenant, name, alias, version.version)
    if (alias === LIVE_ALIAS) history.note(tenant, name, version.version)
    sql(
      `DELETE FROM versions WHERE tenant = ?1 AND function = ?2
       AND version NOT IN (SELECT version FROM versions WHERE tenant = ?1 AND function = ?2 ORDER BY version DESC LIMIT ${limits.versionsPerFunctionMax})
       AND version NOT IN (SELECT version FROM aliases WHERE tenant = ?1 AND function = ?2)`,
    ).run(tenant, name)
  }

  return {
    async list(tenant, alias, page) {
      return rows<ListedFunction>(
        sql(
          `SELECT f.tenant, f.name, f.created_at_ms AS createdAtMs, f.deployed_at_ms AS deployedAtMs, v.version, v.runtime, v.memory_mib AS memoryMiB
           FROM functions f
           JOIN aliases a ON a.tenant = f.tenant AND a.function = f.name AND a.alias = ?
           JOIN versions v ON v.tenant = f.tenant AND v.function = f.name AND v.version = a.version
           WHERE f.tenant = ? AND f.name > ? ORDER BY f.name LIMIT ?`,
        ),
        alias,
        tenant,
        page.after,
        page.limit,
      )
    },

    async count(tenant) {
      return row<{ n: number }>(sql('SELECT count(*) AS n FROM functions WHERE tenant = ?'), tenant)!.n
    },

    async quota(tenant) {
      return row<{ max: number | null }>(sql('SELECT functions_max AS max FROM tenants WHERE name = ?'), tenant)?.max ?? null
    },

    async get(tenant, name) {
      return read(tenant, name)
    },

    async routes() {
      const names = rows<{ tenant: string; name: string }>(sql('SELECT tenant, name FROM functions ORDER BY tenant, name'))
      return names.map(({ tenant, name }) => toRouted(read(tenant, name)!))
    },

    async takeVersionNumber(tenant, name) {
      return row<{ last_version: number }>(
        sql(
          `INSERT INTO version_numbers (tenant, function, last_version, changed_at_ms) VALUES (?, ?, 1, ?)
           ON CONFLICT DO UPDATE SET last_version = last_version + 1, changed_at_ms = excluded.changed_at_ms RETURNING last_version`,
        ),
        tenant,
        name,
        Date.now(),
      )!.last_version
    },

    async addVersion(version, alias, check) {
      return inTransaction(database, () => {
        check()
        insert(version, alias)
        return read(version.tenant, version.function)!
      })
    },

    async liveBefore(tenant, name) {
      return history.before(tenant, name)
    },

    async moveLive(tenant, name, version, options) {
      return inTransaction(database, () => {
        history.move(tenant, name, version, options)
        return read(tenant, name)!
      })
    },

    async removeVersion(tenant, name, version) {
      return inTransaction(database, () => {
        const neededBy = history.removeVersion(tenant, name, version)
        return neededBy.length > 0 ? { neededBy } : { left: read(tenant, name)! }
      })
    },

    async remove(tenant, name) {
      return inTransaction(database, () => {
        sql('UPDATE version_numbers SET changed_at_ms = ? WHERE tenant = ? AND function = ?').run(Date.now(), tenant, name)
        return sql('DELETE FROM functions WHERE tenant = ? AND name = ?').run(tenant, name).changes > 0
      })
    },

    async unlessCodeIsUsed(codeDigest, work) {
      if (row(sql('SELECT 1 FROM versions WHERE code_digest = ?1 OR tree_digest = ?1 LIMIT 1'), codeDigest)) return false
      work()
      return true
    },

    async forgetVersionNumbers(beforeMs) {
      sql(
        'DELETE FROM version_numbers WHERE changed_at_ms < ? AND NOT EXISTS (SELECT 1 FROM functions f WHERE f.tenant = version_numbers.tenant AND f.name = version_numbers.function)',
      ).run(beforeMs)
    },
  }
}

/** A function as the gateway needs it. */
export function toRouted(stored: StoredFunction): RoutedFunction {
  return { tenant: stored.tenant, name: stored.name, aliases: stored.aliases, versions: stored.versions.map(({ createdAtMs: _, ...version }) => version) }
}

function toVersion(found: VersionRow): StoredVersion {
  const secrets = found.secrets === '{}' ? undefined : (JSON.parse(found.secrets) as Record<string, string>)
  return {
    tenant: found.tenant,
    function: found.function,
    version: found.version,
    codeDigest: found.code_digest,
    runtime: found.runtime,
    handler: found.handler,
    memoryMiB: found.memory_mib as StoredVersion['memoryMiB'],
    timeoutMs: found.timeout_ms,
    concurrency: found.concurrency,
    ...(found.auth === 'token' && { auth: 'token' as const }),
    env: JSON.parse(found.env) as Record<string, string>,
    egress: JSON.parse(found.egress) as string[],
    services: JSON.parse(found.services) as string[],
    ...(secrets && { secrets }),
    ...(found.tree_digest !== null && { treeDigest: found.tree_digest }),
    contract: found.contract as Contract,
    createdAtMs: found.created_at_ms,
  }
}
