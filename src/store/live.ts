/** Which version of a function is live, which were before, and taking single versions away. */
import type { DatabaseSync } from 'node:sqlite'

import { LIVE_ALIAS } from '../functions/names.ts'
import { limits } from '../limits.ts'
import { row, rows, statements } from './database.ts'

export interface LiveHistory {
  /** Notes that a version became live; to be called in the step that moves the alias. */
  note(tenant: string, name: string, version: number): void
  /** The version that was live before the present one; undefined when there was none, or it is no longer kept. */
  before(tenant: string, name: string): number | undefined
  /** Points `live` at a version. `back` takes what came after it out of the history, so that the next rollback goes further back. */
  move(tenant: string, name: string, version: number, options: { back: boolean }): void
  /** Takes a version away unless an alias needs it: then the names of those aliases, and nothing has changed. */
  removeVersion(tenant: string, name: string, version: number): string[]
}

export function liveHistory(database: DatabaseSync): LiveHistory {
  const sql = statements(database)

  function note(tenant: string, name: string, version: number): void {
    sql('INSERT INTO live_history (tenant, function, version, at_ms) VALUES (?, ?, ?, ?)').run(tenant, name, version, Date.now())
    sql(
      `DELETE FROM live_history WHERE tenant = ?1 AND function = ?2
       AND id NOT IN (SELECT id FROM live_history WHERE tenant = ?1 AND function = ?2 ORDER BY id DESC LIMIT ${limits.liveHistoryMaxEntries})`,
    ).run(tenant, name)
  }

  function liveVersion(tenant: string, name: string): number | undefined {
    return row<{ version: number }>(sql('SELECT version FROM aliases WHERE tenant = ? AND function = ? AND alias = ?'), tenant, name, LIVE_ALIAS)?.version
  }

  return {
    note,

    before(tenant, name) {
      const live = liveVersion(tenant, name)
      if (live === undefined) return undefined
      return row<{ version: number }>(
        sql('SELECT version FROM live_history WHERE tenant = ? AND function = ? AND version <> ? ORDER BY id DESC LIMIT 1'),
        tenant,
        name,
        live,
      )?.version
    },

    move(tenant, name, version, { back }) {
      sql('UPDATE aliases SET version = ? WHERE tenant = ? AND function = ? AND alias = ?').run(version, tenant, name, LIVE_ALIAS)
      if (!back) return note(tenant, name, version)
      sql(
        `DELETE FROM live_history WHERE tenant = ?1 AND function = ?2
         AND id > (SELECT max(id) FROM live_history WHERE tenant = ?1 AND function = ?2 AND version = ?3)`,
      ).run(tenant, name, version)
    },

    removeVersion(tenant, name, version) {
      const aliases = rows<{ alias: string }>(sql('SELECT alias FROM aliases WHERE tenant = ? AND function = ? AND version = ?'), tenant, name, version)
      if (aliases.length === 0) sql('DELETE FROM versions WHERE tenant = ? AND function = ? AND version = ?').run(tenant, name, version)
      return aliases.map(({ alias }) => alias)
    },
  }
}
