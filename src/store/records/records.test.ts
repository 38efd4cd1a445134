import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'

import type { InvocationRecord, LogLine } from '../../functions/types.ts'
import { openDatabase } from '../database.ts'
import { appender } from './append.ts'
import { recordReader } from './reader.ts'
import { deleteSegment, forgettable, listSegments, nextSegment, segmentBytes, segmentSchema } from './segments.ts'
import { startWriter } from './writer.ts'
import type { RecordWriter } from './writer.ts'
import type { Batch } from './append.ts'

const END = { segment: Number.MAX_SAFE_INTEGER, line: 0 }

const append = (writer: RecordWriter, batch: Batch, options: { mayRepeat: boolean }) => writer.append(Buffer.from(JSON.stringify(batch)), options)

describe('records', () => {
  let directory: string
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'hostel-records-'))
  })
  afterEach(() => rmSync(directory, { recursive: true }))

  const unreadable = (): never => assert.fail('every segment should be readable')
  /** Of the time at which record n begins. */
  const id = (n: number): string =>
    `00000000-${(1_000_000 + n).toString(16).slice(-4).padStart(4, '0')}-7000-8000-000000000000`.replace(
      '00000000-',
      `${(1_000_000 + n).toString(16).padStart(12, '0').slice(0, 8)}-`,
    )
  const record = (n: number, changes: Partial<InvocationRecord> = {}): InvocationRecord => ({
    id: id(n),
    tenant: 'default',
    function: 'f',
    version: 1,
    sandbox: null,
    method: 'GET',
    path: '/',
    status: 200,
    outcome: 'ok',
    start: null,
    startedAtMs: 1_000_000 + n,
    acquireMs: 0.5,
    forwardMs: 0.25,
    totalMs: 0.75,
    requestBytes: 0,
    responseBytes: 0,
    detail: null,
    ...changes,
  })
  const line = (n: number, changes: Partial<LogLine> = {}): LogLine => ({
    tenant: 'default',
    function: 'f',
    version: 1,
    sandbox: 1,
    invocation: null,
    sequence: n,
    atMs: 1_000_000 + n,
    level: 'info',
    text: `line ${n}`,
    ...changes,
  })

  /** Writes batches, each into a segment of its own. */
  function segmentsOf(...batches: { records?: InvocationRecord[]; logs?: LogLine[] }[]): void {
    for (const [index, { records = [], logs = [] }] of batches.entries()) {
      const database = openDatabase(nextSegment(directory, listSegments(directory), 1_000_000 + index).file, segmentSchema)
      appender(database).append({ records, logs }, { mayRepeat: false })
      database.close()
    }
  }

  async function sequences(query: Partial<Parameters<ReturnType<typeof recordReader>['lines']>[0]>): Promise<number[]> {
    const reader = recordReader(directory, unreadable)
    const out: number[] = []
    for await (const portion of reader.lines({ tenant: 'default', function: 'f', limit: 10_000, until: END, ...query }))
      out.push(...portion.map(({ sequence }) => sequence))
    reader.close()
    return out
  }

  it('are listed newest first across segments, functions and pages', async () => {
    segmentsOf(
      { records: [record(1), record(4, { function: 'g' })] },
      { records: [record(3), record(2, { function: 'g' }), record(5, { tenant: 'other' })] },
      { records: [record(6)] },
    )
    const reader = recordReader(directory, unreadable)
    const list = async (query: { function?: string; before?: string; limit: number }): Promise<string[]> =>
      (await reader.list({ tenant: 'default', ...query })).map((one) => one.id)
    assert.deepEqual(await list({ limit: 10 }), [6, 4, 3, 2, 1].map(id))
    assert.deepEqual(await list({ function: 'g', limit: 10 }), [4, 2].map(id))
    assert.deepEqual(await list({ limit: 1 }), [6].map(id))
    assert.deepEqual(await list({ before: id(3), limit: 10 }), [2, 1].map(id))
    assert.deepEqual(await list({ function: 'nothing', limit: 10 }), [])
    assert.equal((await reader.get('default', id(4)))?.function, 'g')
    assert.equal(await reader.get('default', id(5)), undefined)
    reader.close()
  })

  it('come back as they were', async () => {
    const full = record(1, { sandbox: 3, start: 'boot', outcome: 'exited', detail: { exit: { exitCode: 3 }, text: 'ünï' }, startedAtMs: 1_000_000.125 })
    segmentsOf({ records: [full], logs: [line(1, { invocation: id(1), atMs: 1_000_000.5, text: '\u0000\ud83d\ude00' })] })
    const reader = recordReader(directory, unreadable)
    assert.deepEqual(await reader.get('default', id(1)), full)
    assert.equal(await reader.countLines('default', id(1)), 1)
    assert.equal(await reader.countLines('other', id(1)), 0)
    for await (const [only] of reader.lines({ tenant: 'default', function: 'f', limit: 10, until: END }))
      assert.deepEqual(only, line(1, { invocation: id(1), atMs: 1_000_000.5, text: '\u0000\ud83d\ude00' }))
    reader.close()
  })

  it('give their lines in the order of arrival across segments, the newest that fit', async () => {
    segmentsOf({ logs: [line(1), line(2), line(3, { function: 'g' })] }, {}, { logs: [line(4), line(6), line(5)] })
    assert.deepEqual(await sequences({}), [1, 2, 4, 6, 5])
    assert.deepEqual(await sequences({ limit: 4 }), [2, 4, 6, 5])
    assert.deepEqual(await sequences({ until: { segment: 3, line: 1 } }), [1, 2, 4])
    assert.deepEqual(await sequences({ until: { segment: 2, line: 0 } }), [1, 2])
    assert.deepEqual(await sequences({ sinceMs: 1_000_004 }), [4, 6, 5])
  })

  it('are found among very many lines', async () => {
    segmentsOf({ logs: Array.from({ length: 10_000 }, (_, n) => line(n, n % 1_000 === 0 ? { invocation: id(7) } : {})) })
    assert.deepEqual(await sequences({ invocation: id(7) }), [0, 1_000, 2_000, 3_000, 4_000, 5_000, 6_000, 7_000, 8_000, 9_000])
    assert.equal((await sequences({ limit: 10_000 })).length, 10_000)
    assert.deepEqual(await sequences({ limit: 2 }), [9_998, 9_999])
  })

  it('are counted by minute', async () => {
    const minute = 60_000
    segmentsOf(
      { records: [record(1, { startedAtMs: 0 }), record(2, { startedAtMs: 5 * minute, outcome: 'exited' })] },
      { records: [record(3, { startedAtMs: 5 * minute + 1 }), record(4, { startedAtMs: 6 * minute })] },
    )
    const reader = recordReader(directory, unreadable)
    assert.deepEqual(await reader.countSince('default', 'f', 0), { invocations: 4, errors: 1 })
    assert.deepEqual(await reader.countSince('default', 'f', 5 * minute), { invocations: 3, errors: 1 })
    assert.deepEqual(await reader.countSince('default', 'g', 0), { invocations: 0, errors: 0 })
    reader.close()
  })

  it('are forgotten by whole segments, the oldest first, and the newest never', () => {
    segmentsOf({ records: [record(1)] }, { records: [record(2)] }, { records: [record(3)] })
    const segments = listSegments(directory)
    const bytes = segments.reduce((sum, segment) => sum + segmentBytes(segment), 0)
    const numbers = (bounds: { nowMs: number; keepMs: number; maxBytes: number }): number[] => forgettable(segments, bounds).map(({ number }) => number)
    assert.deepEqual(numbers({ nowMs: 1_000_002, keepMs: 10, maxBytes: 1e9 }), [])
    assert.deepEqual(numbers({ nowMs: 1_000_012, keepMs: 10, maxBytes: 1e9 }), [1])
    assert.deepEqual(numbers({ nowMs: 2_000_000, keepMs: 10, maxBytes: 1e9 }), [1, 2])
    assert.deepEqual(numbers({ nowMs: 1_000_002, keepMs: 10, maxBytes: bytes - 1 }), [1])
    assert.deepEqual(numbers({ nowMs: 1_000_002, keepMs: 10, maxBytes: 0 }), [1, 2])
    for (const segment of segments) deleteSegment(segment)
    assert.deepEqual(readdirSync(directory), [])
  })

  it('are read without those of a segment that is damaged, which is said once', async () => {
    segmentsOf({ records: [record(1)] }, { records: [record(2)] })
    writeFileSync(listSegments(directory)[0]!.file, 'x'.repeat(10_000))
    const problems: number[] = []
    const reader = recordReader(directory, ({ number }) => problems.push(number))
    for (let i = 0; i < 2; i++)
      assert.deepEqual(
        (await reader.list({ tenant: 'default', limit: 10 })).map((one) => one.id),
        [id(2)],
      )
    assert.deepEqual(problems, [1])
    reader.close()
  })

  it('go into a new segment when the newest is damaged, and the writer says so', async () => {
    segmentsOf({ records: [record(1)] })
    writeFileSync(listSegments(directory)[0]!.file, 'x'.repeat(10_000))
    const writer = await startWriter(directory, assert.fail)
    assert.match(writer.problem ?? '', /damaged/)
    assert.deepEqual(await append(writer, { records: [], logs: [line(1)] }, { mayRepeat: false }), { segment: 2, line: 1 })
    await writer.close()
  })

  it('are all there or not at all when a batch cannot be written', async () => {
    const writer = await startWriter(directory, assert.fail)
    const bad = { records: [record(1)], logs: [line(1), { ...line(2), text: null as unknown as string }] }
    await assert.rejects(append(writer, bad, { mayRepeat: false }), /could not be written/)
    const position = await append(writer, { records: [record(2)], logs: [line(3)] }, { mayRepeat: false })
    assert.equal(position.line, 1)
    await writer.close()
    const reader = recordReader(directory, unreadable)
    assert.deepEqual(
      (await reader.list({ tenant: 'default', limit: 10 })).map((one) => one.id),
      [id(2)],
    )
    reader.close()
    assert.deepEqual(await sequences({}), [3])
  })

  it('that come again are left out when they may', async () => {
    const writer = await startWriter(directory, assert.fail)
    const batch = { records: [record(1)], logs: [line(1), line(2)] }
    await append(writer, batch, { mayRepeat: false })
    await append(writer, { records: batch.records, logs: [...batch.logs, line(3)] }, { mayRepeat: true })
    await writer.close()
    assert.deepEqual(await sequences({}), [1, 2, 3])
  })
})
