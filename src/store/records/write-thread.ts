/** The writer's thread: owns the newest segment, appends batches to it, and begins the next one when it is full or old. */
import type { DatabaseSync } from 'node:sqlite'
import { parentPort, workerData } from 'node:worker_threads'

import type { ErrorCode } from '../../errors.ts'
import { limits } from '../../limits.ts'
import { checkDatabase, inTransaction, openDatabase, StoreError } from '../database.ts'
import { faultOf, storageFault } from '../faults.ts'
import { appender } from './append.ts'
import type { Appender, Batch } from './append.ts'
import { deleteSegment, listSegments, nextSegment, segmentSchema } from './segments.ts'
import type { Position, Segment } from './segments.ts'
import { tenantTrimmer } from './shares.ts'

export type ToWriter =
  | { type: 'append'; id: number; json: Uint8Array; mayRepeat: boolean }
  | { type: 'forget'; id: number; tenant: string }
  | { type: 'trim'; id: number; tenantMaxBytes: number }
  | { type: 'close' }
export type FromWriter =
  /** The last line that is durable so far. `problem`: why the newest segment was left aside. */
  | { type: 'open'; position: Position; problem?: string }
  /** `trimmed`: the segment that was rewritten, if any was. */
  | { type: 'appended'; id: number; position: Position; trimmed?: Segment }
  | { type: 'failed'; id: number; message: string; code: ErrorCode }
  | { type: 'closed' }

const port = parentPort!
const { directory } = workerData as { directory: string }

interface Current {
  segment: Segment
  database: DatabaseSync
  appender: Appender
}

function open(segment: Segment): Current {
  const database = openDatabase(segment.file, segmentSchema)
  try {
    checkDatabase(database, segment.file)
    return { segment, database, appender: appender(database) }
  } catch (error) {
    database.close()
    throw error
  }
}

function openNext(): Current {
  const segment = nextSegment(directory, listSegments(directory), Date.now())
  try {
    return open(segment)
  } catch (error) {
    // Else each try on a full disk would leave one.
    deleteSegment(segment)
    throw error
  }
}

function openNewest(): { current: Current; problem?: string } {
  const newest = listSegments(directory).at(-1)
  if (!newest) return { current: openNext() }
  try {
    return { current: open(newest) }
  } catch (error) {
    // Losing sight of one stretch of records is better than keeping none from now on.
    if (!(error instanceof StoreError)) throw error
    return { current: openNext(), problem: error.message }
  }
}

function isFull(now: Current): boolean {
  return now.appender.bytes() > limits.segmentMaxBytes || Date.now() - now.segment.createdAtMs > limits.segmentMaxMs
}

function moveOn(): void {
  const next = openNext()
  current.database.close()
  current = next
}

function append(batch: Batch, mayRepeat: boolean): number {
  try {
    return current.appender.append(batch, { mayRepeat })
  } catch (error) {
    if (faultOf(error) !== 'damaged') throw error
    moveOn()
    return current.appender.append(batch, { mayRepeat })
  }
}

/** One that can't be opened can't be read either, and goes in its time. */
function forgetTenant(tenant: string): void {
  for (const segment of listSegments(directory)) {
    if (segment.number === current.segment.number) {
      forgetIn(current.database, tenant)
      continue
    }
    try {
      using database = openDatabase(segment.file, segmentSchema)
      forgetIn(database, tenant)
    } catch (error) {
      if (!(error instanceof StoreError)) throw error
    }
  }
}

function forgetIn(database: DatabaseSync, tenant: string): void {
  inTransaction(database, () => {
    // Its names stay: the appender knows them by their numbers.
    for (const table of ['invocations', 'lines', 'minutes', 'egress'])
      database.prepare(`DELETE FROM ${table} WHERE source IN (SELECT id FROM sources WHERE tenant = ?)`).run(tenant)
  })
}

/** Nothing appended tells where the end is. */
function position(): Position {
  return { segment: current.segment.number, line: current.appender.append({ records: [], logs: [] }, { mayRepeat: false }) }
}

function send(message: FromWriter): void {
  port.postMessage(message)
}

const trim = tenantTrimmer()
const opened = openNewest()
let current = opened.current
send({
  type: 'open',
  position: position(),
  ...(opened.problem && { problem: opened.problem }),
})

port.on('message', (message: ToWriter) => {
  if (message.type === 'close') {
    current.database.close()
    send({ type: 'closed' })
    port.close()
    return
  }
  try {
    if (message.type === 'forget') {
      forgetTenant(message.tenant)
      send({ type: 'appended', id: message.id, position: position() })
      return
    }
    if (message.type === 'trim') {
      const trimmed = trim(listSegments(directory), message.tenantMaxBytes)
      send({ type: 'appended', id: message.id, position: position(), ...(trimmed && { trimmed }) })
      return
    }
    if (isFull(current)) moveOn()
    const line = append(JSON.parse(Buffer.from(message.json.buffer).toString()) as Batch, message.mayRepeat)
    send({ type: 'appended', id: message.id, position: { segment: current.segment.number, line } })
  } catch (error) {
    send({ type: 'failed', id: message.id, message: (error as Error).message, code: storageFault(error)?.code ?? 'internal' })
  }
})
