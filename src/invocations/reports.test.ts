import assert from 'node:assert/strict'
import { describe, it } from 'node:test'

import { socketPair } from '../../test/gateway/lib/guest.ts'
import type { InvocationRecord, LogLine } from '../functions/types.ts'
import { limits } from '../limits.ts'
import { Link } from '../link/link.ts'
import type { LinkCalls } from '../link/messages.ts'
import { createLogger } from '../telemetry/logger.ts'
import { createRegistry } from '../telemetry/registry.ts'
import { createReports } from './reports.ts'

type Batch = LinkCalls['batch']['params']

/** The two ends of a link; control's end keeps what it gets and answers as told. */
async function controlEnd(answer: () => Promise<void> = async () => {}): Promise<{ link: Link; batches: Batch[]; close(): void }> {
  const [near, far] = await socketPair()
  const batches: Batch[] = []
  const control = new Link(far, {
    calls: {
      async batch(batch) {
        batches.push(batch)
        await answer()
        return {}
      },
    },
  })
  const link = new Link(near, {})
  return {
    link,
    batches,
    close() {
      link.close()
      control.close()
    },
  }
}

const record = (id: string): InvocationRecord => ({ id }) as InvocationRecord
const line = (sequence: number, sandbox = 1, text = 'x'): LogLine => ({
  tenant: 'default',
  function: 'hello',
  version: 1,
  sandbox,
  invocation: null,
  sequence,
  atMs: 1,
  level: 'stdout',
  text,
})
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

describe('records and log lines on their way to control', () => {
  const logger = createLogger('test')

  it('go together in one batch, shortly after the first of them', async () => {
    const { link, batches, close } = await controlEnd()
    const reports = createReports(logger, createRegistry())
    reports.attach(link)
    reports.record(record('a'))
    reports.log(line(1))
    reports.record(record('b'))
    await reports.flush(2_000)
    assert.deepEqual(batches, [{ records: [record('a'), record('b')], logs: [line(1)] }])
    close()
  })

  it('wait for the answer to the batch before', async () => {
    const proceed = Promise.withResolvers<void>()
    const { link, batches, close } = await controlEnd(() => proceed.promise)
    const reports = createReports(logger, createRegistry())
    reports.attach(link)
    reports.record(record('a'))
    await pause(limits.batchDelayMs * 2)
    reports.record(record('b'))
    await pause(limits.batchDelayMs * 3)
    assert.equal(batches.length, 1)
    proceed.resolve()
    await reports.flush(2_000)
    assert.deepEqual(
      batches.map((batch) => batch.records),
      [[record('a')], [record('b')]],
    )
    close()
  })

  it('are kept while there is no control, and sent again when it went without an answer', async () => {
    const reports = createReports(logger, createRegistry())
    reports.record(record('a'))
    const silent = await controlEnd(() => new Promise(() => {}))
    reports.attach(silent.link)
    await pause(limits.batchDelayMs * 3)
    assert.equal(silent.batches.length, 1)
    silent.close()
    reports.record(record('b'))
    await pause(20)
    const next = await controlEnd()
    reports.attach(next.link)
    await reports.flush(2_000)
    assert.deepEqual(
      next.batches.flatMap((batch) => batch.records),
      [record('a'), record('b')],
    )
    next.close()
  })

  it('come in batches of bounded size and number', async () => {
    const { link, batches, close } = await controlEnd()
    const reports = createReports(logger, createRegistry())
    for (let i = 0; i < limits.batchMaxItems + 1; i++) reports.record(record(String(i)))
    for (let i = 0; i < 300; i++) reports.log(line(i, 1, 'x'.repeat(limits.logLineMaxBytes)))
    reports.attach(link)
    await reports.flush(5_000)
    assert.deepEqual(
      batches.slice(0, 2).map((batch) => batch.records.length),
      [limits.batchMaxItems, 1],
    )
    for (const batch of batches) assert.ok(batch.logs.reduce((bytes, { text }) => bytes + text.length, 0) <= limits.batchMaxLogBytes + limits.logLineMaxBytes)
    assert.equal(batches.flatMap((batch) => batch.logs).length, 300)
    close()
  })

  it('beyond what is kept are dropped: lines of each sandbox with a mark at their place, that counts them', async () => {
    const { link, batches, close } = await controlEnd()
    const reports = createReports(logger, createRegistry())
    for (let i = 0; i < limits.reportsMaxLogLines; i++) reports.log(line(i, 1))
    for (let i = 0; i < 3; i++) reports.log(line(limits.reportsMaxLogLines + i, 1))
    for (let i = 0; i < 2; i++) reports.log(line(i, 2))
    reports.attach(link)
    await reports.flush(10_000)
    const logs = batches.flatMap((batch) => batch.logs)
    assert.equal(logs.length, limits.reportsMaxLogLines + 2)
    const marks = logs.filter((entry) => entry.level === 'gap')
    assert.deepEqual(
      marks.map(({ sandbox, sequence, text }) => [sandbox, sequence, text.split(' ')[0]]),
      [
        [1, limits.reportsMaxLogLines, '3'],
        [2, 0, '2'],
      ],
    )
    reports.log(line(9, 2))
    await reports.flush(2_000)
    assert.equal(batches.at(-1)!.logs[0]!.sequence, 9)
    close()
  })
})
