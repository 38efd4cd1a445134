import assert from 'node:assert/strict'
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'

import { checkDatabase, inTransaction, openDatabase, readMigrations, StoreError } from './database.ts'

const first = { number: 1, name: '0001-a.sql', sql: 'CREATE TABLE a (x INTEGER)' }
const second = { number: 2, name: '0002-b.sql', sql: 'CREATE TABLE b (x INTEGER); INSERT INTO a VALUES (1)' }
const broken = { number: 2, name: '0002-c.sql', sql: 'CREATE TABLE b (x INTEGER); CREATE TABLE nonsense' }

describe('a database', () => {
  let directory: string
  let file: string
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'hostel-database-'))
    file = join(directory, 'test.db')
  })
  afterEach(() => rmSync(directory, { recursive: true }))

  const tables = (database: DatabaseSync): unknown[] =>
    database
      .prepare('SELECT name FROM sqlite_schema ORDER BY name')
      .all()
      .map(({ name }) => name)

  it('is brought up to date step by step, each once', () => {
    openDatabase(file, [first]).close()
    const database = openDatabase(file, [first, second])
    assert.deepEqual(tables(database), ['a', 'b'])
    database.close()
    const again = openDatabase(file, [first, second])
    assert.equal(again.prepare('SELECT count(*) AS n FROM a').get()?.['n'], 1)
    again.close()
  })

  it('keeps nothing of a step that fails', () => {
    openDatabase(file, [first]).close()
    assert.throws(() => openDatabase(file, [first, broken]))
    const database = openDatabase(file, [first])
    assert.deepEqual(tables(database), ['a'])
    database.close()
  })

  it('from a newer Hostel is refused with a word on what to do', () => {
    openDatabase(file, [first, second]).close()
    assert.throws(
      () => openDatabase(file, [first]),
      (error: Error) => error instanceof StoreError && /written by a newer Hostel \(schema 2; this one knows 1\)/.test(error.message),
    )
  })

  it('of somebody else is left alone', () => {
    const other = new DatabaseSync(file)
    other.exec('CREATE TABLE theirs (x)')
    other.close()
    assert.throws(() => openDatabase(file, [first]), /not Hostel's/)
  })

  it('that is no database is refused with a word on what to do', () => {
    writeFileSync(file, 'this is a text, and not a short one, since SQLite looks at the first hundred bytes of a file only when there are as many')
    assert.throws(
      () => openDatabase(file, [first]),
      (error: Error) => error instanceof StoreError && /is damaged .*restore it from a backup/.test(error.message),
    )
  })

  it('that is damaged inside is found by a check', () => {
    const database = openDatabase(file, [{ ...first, sql: 'CREATE TABLE a (x TEXT); CREATE INDEX i ON a (x)' }])
    inTransaction(database, () => {
      for (let i = 0; i < 2_000; i++) database.prepare('INSERT INTO a VALUES (?)').run(`value ${i}`)
    })
    checkDatabase(database, file)
    database.exec('PRAGMA wal_checkpoint(TRUNCATE)')
    database.close()
    const damaged = new DatabaseSync(file)
    const pages = Number(damaged.prepare('PRAGMA page_count').get()?.['page_count'])
    damaged.close()
    overwrite(file, 4_096 * (pages - 1), 4_096)
    overwrite(file, 4_096 * 3, 4_096)
    assert.throws(() => {
      const opened = openDatabase(file, [{ ...first, sql: '' }])
      try {
        checkDatabase(opened, file)
      } finally {
        opened.close()
      }
    }, StoreError)
  })

  it('has numbered migrations without a gap', () => {
    const migrations = readMigrations(new URL('migrations/', import.meta.url))
    assert.deepEqual(
      migrations.map(({ number }) => number),
      migrations.map((_, index) => index + 1),
    )
  })
})

function overwrite(file: string, at: number, length: number): void {
  const handle = openSync(file, 'r+')
  writeSync(handle, Buffer.alloc(length, 0xa5), 0, length, at)
  closeSync(handle)
}
