/** Keeps the segments open that are being read, the least recently read ones first to close. */
import { existsSync } from 'node:fs'
import type { DatabaseSync, StatementSync } from 'node:sqlite'

import { openForReading, statements } from '../database.ts'
import { faultOf } from '../faults.ts'
import { listSegments } from './segments.ts'
import type { Segment } from './segments.ts'

/** Each open one costs a page cache and three descriptors. */
const OPEN_MAX = 8

export interface OpenSegment {
  segment: Segment
  sql: (text: string) => StatementSync
}

/** A stretch of time, in epoch milliseconds. */
export interface Span {
  fromMs: number
  toMs: number
}

export interface OpenSegments {
  /** Every readable segment that was written to in this time. Use each before asking for the next: it may be closed then. */
  newestFirst(written: Span): Generator<OpenSegment, void>
  byNumber(number: number): OpenSegment | undefined
  release(segment: Segment): void
  close(): void
}

/** `onUnreadable` is called once for each segment that can't be opened; it is passed over from then on. */
export function openSegments(directory: string, onUnreadable: (segment: Segment, error: Error) => void): OpenSegments {
  // In order of use, least recent first.
  const open = new Map<number, OpenSegment & { database: DatabaseSync }>()
  const unreadable = new Set<number>()

  function use(segment: Segment): OpenSegment | undefined {
    // One that is gone has been forgotten in the meantime, which is no problem.
    if (unreadable.has(segment.number) || !existsSync(segment.file)) return undefined
    let found = open.get(segment.number)
    if (!found) {
      try {
        const database = openForReading(segment.file)
        found = { segment, database, sql: statements(database) }
        found.sql('SELECT count(*) FROM sources').get()
      } catch (error) {
        // A full disk passes; the asker is told.
        if (faultOf(error) !== 'damaged') throw error
        unreadable.add(segment.number)
        onUnreadable(segment, error as Error)
        return undefined
      }
    }
    open.delete(segment.number)
    open.set(segment.number, found)
    for (const [number, oldest] of open) {
      if (open.size <= OPEN_MAX) break
      oldest.database.close()
      open.delete(number)
    }
    return found
  }

  return {
    *newestFirst(written) {
      for (const segment of listSegments(directory).toReversed()) {
        const found = segment.createdAtMs <= written.toMs ? use(segment) : undefined
        if (found) yield found
        // Those before it ended when it began.
        if (segment.createdAtMs < written.fromMs) return
      }
    },
    byNumber(number) {
      const segment = open.get(number)?.segment ?? listSegments(directory).find((one) => one.number === number)
      return segment && use(segment)
    },
    release(segment) {
      open.get(segment.number)?.database.close()
      open.delete(segment.number)
      unreadable.delete(segment.number)
    },
    close() {
      for (const { database } of open.values()) database.close()
      open.clear()
    },
  }
}
