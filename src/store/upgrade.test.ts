/** Databases of earlier releases, as they left them, opened by this one. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, it } from 'node:test'

import { readMigrations } from './database.ts'
import { openStore } from './store.ts'

const events = { onProblem: (message: string) => assert.fail(message), onLost: (error: Error) => assert.fail(error) }
const GOLDEN = new URL('../../test/fixtures/schema-1.sql', import.meta.url)

type Rows = Record<string, unknown>[]

/** All rows of all tables there were, without those columns and tables that came later. */
function contents(database: DatabaseSync, columns: Map<string, string[]>): Record<string, Rows> {
  return Object.fromEntries(
    [...columns].map(([table, names]) => [table, database.prepare(`SELECT ${names.join(', ')} FROM ${table} ORDER BY ${names.join(', ')}`).all() as Rows]),
  )
}

function columnsOf(database: DatabaseSync): Map<string, string[]> {
  const tables = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name").all() as { name: string }[]
  return new Map(
    tables.map(({ name }) => [name, (database.prepare('SELECT name FROM pragma_table_info(?)').all(name) as { name: string }[]).map((column) => column.name)]),
  )
}

describe('a database of schema 1', () => {
  const directory = mkdtempSync(join(tmpdir(), 'hostel-upgrade-'))
  const file = join(directory, 'hostel.db')

  it('is brought up to date, and nothing of it is lost', async () => {
    const before = new DatabaseSync(file)
    before.exec(readFileSync(GOLDEN, 'utf8'))
    const columns = columnsOf(before)
    const kept = contents(before, columns)
    before.close()
    assert.ok(
      Object.values(kept).every((rows) => rows.length > 0),
      'there is something in every table',
    )

    const store = await openStore(directory, events)
    try {
      const hello = await store.functions.get('default', 'hello')
      assert.deepEqual(hello?.aliases, { live: 3, old: 1 })
      assert.deepEqual(
        hello.versions.map(({ version, memoryMiB, env, contract }) => [version, memoryMiB, env, contract]),
        [
          [3, 512, { GREETING: 'grüß dich' }, 'fetch'],
          [1, 256, {}, 'fetch'],
        ],
      )
      assert.deepEqual((await store.functions.routes()).map(({ tenant, name }) => `${tenant}/${name}`).sort(), ['acme/orders', 'default/hello'])
      assert.equal(await store.functions.takeVersionNumber('default', 'removed'), 10)
      assert.equal(await store.functions.takeVersionNumber('default', 'hello'), 4)
      for (const [first, name, tenant] of [
        [0x00, 'admin', null],
        [0x20, 'ci', 'acme'],
      ] as const) {
        const token = await store.access.findToken(Buffer.from(Array.from({ length: 32 }, (_, index) => first + index)))
        assert.deepEqual([token?.name, token?.tenant], [name, tenant])
      }
    } finally {
      await store.close()
    }

    const after = new DatabaseSync(file)
    const changed = new Set(['version_numbers', 'tokens'])
    const still = columnsOf(after)
    for (const [table, rows] of Object.entries(
      contents(after, new Map([...columns].map(([name, names]) => [name, names.filter((column) => still.get(name)?.includes(column))]))),
    ))
      if (!changed.has(table)) assert.deepEqual(rows, kept[table], table)
    assert.deepEqual(after.prepare('PRAGMA foreign_key_check').all(), [])
    after.close()
    rmSync(directory, { recursive: true })
  })

  it('was made by the migration that was released', () => {
    const [first] = readMigrations(new URL('migrations/', import.meta.url))
    const schema = (sql: string): unknown => {
      const database = new DatabaseSync(':memory:')
      database.exec(sql)
      const found = database.prepare('SELECT name, sql FROM sqlite_schema ORDER BY name').all()
      database.close()
      return found
    }
    assert.deepEqual(schema(first!.sql), schema(readFileSync(GOLDEN, 'utf8')))
  })
})
