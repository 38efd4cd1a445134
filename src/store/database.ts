/** Opens SQLite files: the settings every one of ours has, numbered migrations, and clear words when a file can't be used. */
import { readdirSync, readFileSync, statfsSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { SQLInputValue, StatementSync } from 'node:sqlite'

import { faultOf } from './faults.ts'

/** Marks a file as ours ("Host" in ASCII), so that somebody else's database is never migrated. */
const APPLICATION_ID = 0x486f_7374

/** How long a statement waits for another connection's lock. */
const BUSY_TIMEOUT_MS = 5_000

/** A database file that cannot be used as it is; `message` says which, why and what to do. */
export class StoreError extends Error {
  override readonly name = 'StoreError'
}

/** One numbered step of a schema. */
export interface Migration {
  number: number
  name: string
  sql: string
}

/** The steps in a directory of `NNNN-name.sql` files, which must be numbered 1, 2, 3 … */
export function readMigrations(directory: URL): Migration[] {
  const files = readdirSync(directory)
    .filter((file) => file.endsWith('.sql'))
    .sort()
  return files.map((file, index) => {
    const number = Number(file.slice(0, 4))
    if (number !== index + 1) throw new Error(`migration ${file} should have number ${index + 1}`)
    return { number, name: file, sql: readFileSync(new URL(file, directory), 'utf8') }
  })
}

/**
 * Opens or makes a database for writing and brings its schema up to date. Commits are durable (`synchronous=FULL`).
 * @throws StoreError when the file is damaged, from a newer Hostel, or not Hostel's.
 */
export function openDatabase(file: string, migrations: Migration[]): DatabaseSync {
  return explained(file, () => {
    const database = new DatabaseSync(file, { timeout: BUSY_TIMEOUT_MS })
    try {
      database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON')
      migrate(database, file, migrations)
      return database
    } catch (error) {
      database.close()
      throw error
    }
  })
}

/** Opens an existing database for reading only. */
export function openForReading(file: string): DatabaseSync {
  return explained(file, () => new DatabaseSync(file, { readOnly: true, timeout: BUSY_TIMEOUT_MS }))
}

/** Reads the whole file and its indexes once. @throws StoreError when something does not fit. */
export function checkDatabase(database: DatabaseSync, file: string): void {
  explained(file, () => {
    const result = Object.values(database.prepare('PRAGMA quick_check(1)').get() ?? {})[0]
    if (result !== 'ok') throw damaged(file, String(result))
  })
}

/** Runs `work` in one transaction: all of it is durable afterwards, or none of it happened. */
export function inTransaction<T>(database: DatabaseSync, work: () => T): T {
  database.exec('BEGIN IMMEDIATE')
  try {
    const result = work()
    database.exec('COMMIT')
    return result
  } catch (error) {
    if (database.isTransaction) database.exec('ROLLBACK')
    throw error
  }
}

/** Prepares each text once for a connection. */
export function statements(database: DatabaseSync): (sql: string) => StatementSync {
  const prepared = new Map<string, StatementSync>()
  return (sql) => {
    let statement = prepared.get(sql)
    if (!statement) {
      statement = database.prepare(sql)
      prepared.set(sql, statement)
    }
    return statement
  }
}

/** Rows of a statement as the type its columns have. */
export function rows<T>(statement: StatementSync, ...values: SQLInputValue[]): T[] {
  return statement.all(...values) as T[]
}

/** The first row, if there is one. */
export function row<T>(statement: StatementSync, ...values: SQLInputValue[]): T | undefined {
  return statement.get(...values) as T | undefined
}

function migrate(database: DatabaseSync, file: string, migrations: Migration[]): void {
  const pragma = (name: string): number => Number(Object.values(database.prepare(`PRAGMA ${name}`).get() ?? {})[0])
  const present = pragma('user_version')
  const application = pragma('application_id')
  const isEmpty = present === 0 && database.prepare('SELECT 1 FROM sqlite_schema').get() === undefined
  if (application !== APPLICATION_ID && !isEmpty)
    throw new StoreError(`${file} is a database, but not Hostel's; move it away, or choose another directory with --data`)
  if (present > migrations.length) {
    throw new StoreError(
      `${file} was written by a newer Hostel (schema ${present}; this one knows ${migrations.length}); start that version, or restore a backup from before it`,
    )
  }
  if (isEmpty) database.exec(`PRAGMA application_id = ${APPLICATION_ID}`)
  for (const migration of migrations.slice(present)) {
    inTransaction(database, () => database.exec(`${migration.sql}; PRAGMA user_version = ${migration.number}`))
  }
}

function damaged(file: string, why: string, cause?: unknown): StoreError {
  return new StoreError(`${file} is damaged (${why}); restore it from a backup, or move it away to start with nothing deployed`, { cause })
}

/** Less than SQLite needs to begin. */
const FULL_BYTES = 64 * 1024

function isFull(file: string): boolean {
  const { bavail, bsize } = statfsSync(dirname(file))
  return bavail * bsize < FULL_BYTES
}

function explained<T>(file: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    const why = (error as Error).message
    // A write-ahead log that finds no room for its index says that the disk fails.
    const fault = faultOf(error)
    switch (fault === 'failing' && isFull(file) ? 'full' : fault) {
      case 'damaged':
        throw damaged(file, why, error)
      case 'full':
        throw new StoreError(`${file} can't be written: its disk is full; make room and start again`, { cause: error })
      case 'read-only':
        throw new StoreError(`${file} can't be written: its disk or the file is read-only (${why})`, { cause: error })
      case 'failing':
        throw new StoreError(`${file} can't be opened: ${why}; check its disk and who owns it`, { cause: error })
      default:
        throw error
    }
  }
}
