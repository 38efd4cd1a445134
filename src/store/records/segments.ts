/**
 * Segments on disk: `NNNNNNNN-CREATED.db`, number and epoch milliseconds. Only the newest is written to; each ends where the
 * next begins.
 */
import { readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'

import type { Migration } from '../database.ts'

/** The schema of a segment, step by step. Only the newest segment is brought up to date, since only that is written to; the others are left to age. */
export const segmentSchema: Migration[] = ['schema.sql', 'egress.sql'].map((name, index) => ({
  number: index + 1,
  name,
  sql: readFileSync(new URL(name, import.meta.url), 'utf8'),
}))

export interface Segment {
  number: number
  file: string
  createdAtMs: number
}

/** A place in the order of all lines: everything up to and with `line` of that segment. */
export interface Position {
  segment: number
  line: number
}

const NAME = /^(\d{8})-(\d{1,15})\.db$/

/** All segments, oldest first. */
export function listSegments(directory: string): Segment[] {
  const found: Segment[] = []
  for (const name of readdirSync(directory).sort()) {
    const match = NAME.exec(name)
    if (match) found.push({ number: Number(match[1]), file: join(directory, name), createdAtMs: Number(match[2]) })
  }
  return found
}

/** The segment after these. */
export function nextSegment(directory: string, segments: readonly Segment[], nowMs: number): Segment {
  const number = (segments.at(-1)?.number ?? 0) + 1
  return { number, createdAtMs: nowMs, file: join(directory, `${String(number).padStart(8, '0')}-${nowMs}.db`) }
}

/** Bytes of a segment with its write-ahead log. */
export function segmentBytes(segment: Segment): number {
  return [segment.file, `${segment.file}-wal`].reduce((sum, file) => sum + (statSync(file, { throwIfNoEntry: false })?.size ?? 0), 0)
}

/** Deletes its files. Readers that have it open keep what they see until they close it. */
export function deleteSegment(segment: Segment): void {
  for (const suffix of ['', '-wal', '-shm']) rmSync(`${segment.file}${suffix}`, { force: true })
}

/** Which of the segments (oldest first) to forget: those that ended too long ago, and the oldest while there are too many bytes. The newest stays. */
export function forgettable(segments: readonly Segment[], bounds: { nowMs: number; keepMs: number; maxBytes: number }): Segment[] {
  const ended = segments.slice(0, -1)
  let bytes = segments.reduce((sum, segment) => sum + segmentBytes(segment), 0)
  const out: Segment[] = []
  for (const [index, segment] of ended.entries()) {
    const endedAtMs = segments[index + 1]!.createdAtMs
    if (endedAtMs >= bounds.nowMs - bounds.keepMs && bytes <= bounds.maxBytes) break
    bytes -= segmentBytes(segment)
    out.push(segment)
  }
  return out
}
