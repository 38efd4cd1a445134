import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'

import type { LogLine } from '../../functions/types.ts'
import { openDatabase } from '../database.ts'
import { appender } from './append.ts'
import { recordReader } from './reader.ts'
import type { ExportQuery } from './export.ts'
import { listSegments, nextSegment, segmentBytes, segmentSchema } from './segments.ts'
import { startWriter } from './writer.ts'

const END = { segment: Number.MAX_SAFE_INTEGER, line: 0 }
/** Times as in use: a minute for each segment, a millisecond for each line. */
const FIRST_MS = 1_700_000_000_000
const SEGMENT_MS = 60_000

describe('what is kept of log lines', () => {
  let directory: string
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'hostel-export-'))
  })
  afterEach(() => rmSync(directory, { recursive: true }))

  const line = (segment: number, n: number, changes: Partial<LogLine> = {}): LogLine => ({
    tenant: 'default',
    function: 'f',
    version: 1,
    sandbox: 1 + (n % 3),
    invocation: null,
    sequence: segment * 1_000 + n,
    atMs: FIRST_MS + segment * SEGMENT_MS + n,
    level: 'stdout',
    text: `line ${segment}.${n}`,
    ...changes,
  })

  /** So many segments, each with these lines. */
  function segmentsOf(...batches: LogLine[][]): void {
    for (const [index, logs] of batches.entries()) {
      const database = openDatabase(nextSegment(directory, listSegments(directory), FIRST_MS + index * SEGMENT_MS).file, segmentSchema)
      appender(database).append({ records: [], logs }, { mayRepeat: false })
      database.close()
    }
  }

  async function exported(query: Partial<ExportQuery> = {}): Promise<string[]> {
    const reader = recordReader(directory, () => assert.fail('every segment should be readable'))
    const out: string[] = []
    for await (const portion of reader.export({ tenant: 'default', function: 'f', sinceMs: 0, untilMs: Number.MAX_SAFE_INTEGER, until: END, ...query }))
      out.push(...portion.map(({ text }) => text))
    reader.close()
    return out
  }

  it('is exported whole and in order across segments, beyond what a page holds, of the one function', async () => {
    const many = (segment: number): LogLine[] => Array.from({ length: 6_000 }, (_, n) => line(segment, n))
    segmentsOf(many(0), [line(1, 0, { function: 'g' }), line(1, 1, { tenant: 'other' })], many(2))
    const expected = [0, 2].flatMap((segment) => Array.from({ length: 6_000 }, (_, n) => `line ${segment}.${n}`))
    assert.deepEqual(await exported(), expected)
  })

  it('is exported of a stretch of time, to a place', async () => {
    segmentsOf([line(0, 0), line(0, 1)], [line(1, 0), line(1, 1)], [line(2, 0), line(2, 1)], [line(3, 0)])
    assert.deepEqual(await exported({ sinceMs: FIRST_MS + SEGMENT_MS + 1, untilMs: FIRST_MS + 2 * SEGMENT_MS + 1 }), ['line 1.1', 'line 2.0'])
    assert.deepEqual(await exported({ until: { segment: 3, line: 1 } }), ['line 0.0', 'line 0.1', 'line 1.0', 'line 1.1', 'line 2.0'])
  })

  it('of a tenant with too much goes, its oldest first, and nothing of others; the room is given back', async () => {
    const text = 'x'.repeat(1_000)
    const both = (segment: number): LogLine[] => [...Array.from({ length: 1_000 }, (_, n) => line(segment, n, { tenant: 'loud', text })), line(segment, 1_000)]
    segmentsOf(both(0), both(1), both(2), both(3))
    const writer = await startWriter(directory, () => assert.fail('the writer should not be lost'))
    const before = segmentBytes(listSegments(directory)[0]!)
    // Two ended segments of it fit; the newest counts for nobody.
    const trimmed = []
    for (let i = 0; i < 3; i++) trimmed.push((await writer.trim(2_500_000))?.number)
    await writer.close()
    assert.deepEqual(trimmed, [1, undefined, undefined])
    assert.ok(segmentBytes(listSegments(directory)[0]!) < before / 10)
    assert.equal((await exported({ tenant: 'loud' })).length, 3_000)
    assert.deepEqual(await exported(), ['line 0.1000', 'line 1.1000', 'line 2.1000', 'line 3.1000'])
  })
})
