/** All that control keeps, opened as one. Behind asynchronous interfaces, so that another database can stand here later. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'

import { accessStore } from './access.ts'
import type { AccessStore } from './access.ts'
import { auditStore } from './audit.ts'
import type { AuditStore } from './audit.ts'
import { checkDatabase, openDatabase, readMigrations } from './database.ts'
import { functionStore } from './functions.ts'
import type { FunctionStore } from './functions.ts'
import { recordReader } from './records/reader.ts'
import type { RecordReader } from './records/reader.ts'
import { deleteSegment, forgettable, listSegments } from './records/segments.ts'
import { tenantStore } from './tenants.ts'
import type { TenantStore } from './tenants.ts'
import { startWriter } from './records/writer.ts'
import type { RecordWriter } from './records/writer.ts'
import { secretStore } from './secrets.ts'
import type { SecretStore } from './secrets.ts'

export interface Store {
  access: AccessStore
  tenants: TenantStore
  audit: AuditStore
  functions: FunctionStore
  records: Pick<RecordReader, 'get' | 'list' | 'egress' | 'countLines' | 'countSince' | 'lines' | 'export'> & Pick<RecordWriter, 'append' | 'position'>
  secrets: SecretStore
  /** Number of the last migration. */
  readonly schema: number
  /** Files of the segments of records, oldest first. */
  segments(): string[]
  /** Deletes segments that are too old or too many, and what is oldest of a tenant that has too much; of that, one segment's at a time. */
  forgetOldRecords(nowMs: number, retention: Retention): Promise<void>
  /** Deletes the records and log lines of a tenant. */
  forgetRecordsOf(tenant: string): Promise<void>
  close(): Promise<void>
}

/** What is kept of records and log lines. */
export interface Retention {
  keepMs: number
  /** In all, and of one tenant. */
  maxBytes: number
  tenantMaxBytes: number
}

export interface StoreEvents {
  /** Something that an operator should know and that does not stop the server. */
  onProblem(message: string, error?: Error): void
  /** The writer of records is gone; nothing can be recorded any more. */
  onLost(error: Error): void
}

/** @throws StoreError when the database can't be used. */
export async function openStore(directory: string, events: StoreEvents): Promise<Store> {
  const file = join(directory, 'hostel.db')
  const migrations = readMigrations(new URL('migrations/', import.meta.url))
  const database = openDatabase(file, migrations)
  try {
    checkDatabase(database, file)
    const logs = join(directory, 'logs')
    mkdirSync(logs, { recursive: true, mode: 0o700 })
    const writer = await startWriter(logs, (error) => events.onLost(error))
    if (writer.problem) events.onProblem(writer.problem)
    const reader = recordReader(logs, (segment, error) => events.onProblem(`${segment.file} can't be read; its records are missing from answers`, error))
    return {
      access: accessStore(database),
      tenants: tenantStore(database),
      audit: auditStore(database),
      functions: functionStore(database),
      secrets: secretStore(database),
      records: {
        ...reader,
        append: (batch, options) => writer.append(batch, options),
        get position() {
          return writer.position
        },
      },
      schema: migrations.length,
      segments: () => listSegments(logs).map((segment) => segment.file),
      async forgetOldRecords(nowMs, { keepMs, maxBytes, tenantMaxBytes }) {
        for (const segment of forgettable(listSegments(logs), { nowMs, keepMs, maxBytes })) {
          reader.release(segment)
          deleteSegment(segment)
        }
        const trimmed = await writer.trim(tenantMaxBytes)
        if (trimmed) reader.release(trimmed)
      },
      forgetRecordsOf: (tenant) => writer.forgetTenant(tenant),
      async close() {
        await writer.close()
        reader.close()
        database.close()
      },
    }
  } catch (error) {
    database.close()
    throw error
  }
}
