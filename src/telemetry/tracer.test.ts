import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, it } from 'node:test'
import { pino } from 'pino'

import { limits } from '../limits.ts'
import { createRegistry } from './registry.ts'
import type { TracedInvocation } from './spans.ts'
import { beginTrace, formatTraceparent, parseTraceparent } from './trace-context.ts'
import { createTracer } from './tracer.ts'

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const PARENT = '00f067aa0ba902b7'

describe('a traceparent', () => {
  it('is taken as the W3C wrote it down, and anything else as if it were not there', () => {
    assert.deepEqual(parseTraceparent(`00-${TRACE}-${PARENT}-01`), { traceId: TRACE, parentId: PARENT, sampled: true })
    assert.equal(parseTraceparent(`00-${TRACE}-${PARENT}-00`)!.sampled, false)
    assert.equal(parseTraceparent(`cc-${TRACE}-${PARENT}-03-what-comes-later`)!.sampled, true)
    for (const wrong of [
      '',
      `00-${TRACE}-${PARENT}-01-more`,
      `ff-${TRACE}-${PARENT}-01`,
      `00-${'0'.repeat(32)}-${PARENT}-01`,
      `00-${TRACE}-${'0'.repeat(16)}-01`,
      `00-${TRACE.toUpperCase()}-${PARENT}-01`,
      `00-${TRACE}-${PARENT}`,
      `00-${TRACE}-${PARENT}-01\n`,
      `00-${TRACE}x-${PARENT}-01`,
    ])
      assert.equal(parseTraceparent(wrong), null, wrong)
  })

  it('decides for its own trace; the ratio for those that begin here', () => {
    assert.equal(beginTrace(`00-${TRACE}-${PARENT}-00`, 1), null)
    const continued = beginTrace(`00-${TRACE}-${PARENT}-01`, 0)!
    assert.deepEqual([continued.traceId, continued.parentId], [TRACE, PARENT])
    assert.notEqual(continued.spanId, PARENT)
    assert.equal(beginTrace(undefined, 0), null)
    const begun = beginTrace('nonsense', 1)!
    assert.equal(begun.parentId, null)
    assert.deepEqual(parseTraceparent(formatTraceparent(begun)), { traceId: begun.traceId, parentId: begun.spanId, sampled: true })
  })
})

describe('traces on their way to a collector', () => {
  const traced = (): TracedInvocation => ({
    trace: { traceId: TRACE, spanId: PARENT, parentId: null },
    steps: { startedAt: 1, admittedAt: 2, acquiredAt: 0, answeredAt: 3, settledAt: 4, releasedAt: 5 },
    record: {
      id: '01890000-0000-7000-8000-000000000000',
      tenant: 'default',
      function: 'hello',
      version: 1,
      sandbox: null,
      method: 'GET',
      path: '/a?token=hidden',
      status: 503,
      outcome: 'no_capacity',
      start: null,
      startedAtMs: 1,
      acquireMs: 1,
      forwardMs: 0,
      totalMs: 2,
      requestBytes: 0,
      responseBytes: 0,
      detail: null,
    },
  })
  const logger = pino({ level: 'silent' })
  const spans = (registry: ReturnType<typeof createRegistry>, result: string): number => registry.counter('hostel_trace_spans_total', { result }).value

  it('are counted as failed when it does not take them, and go on when it does', async () => {
    const statuses = [503, 200]
    let body = ''
    const server = createServer((req, res) => {
      req.on('data', (chunk: Buffer) => (body += chunk.toString()))
      req.on('end', () => res.writeHead(statuses.shift()!).end())
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const metrics = createRegistry()
    const tracer = createTracer({ url: new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/traces`), ratio: 1, metrics, logger })
    tracer.end(traced())
    await tracer.flush()
    assert.deepEqual([spans(metrics, 'failed'), spans(metrics, 'exported')], [5, 0])
    tracer.end(traced())
    await tracer.flush()
    assert.deepEqual([spans(metrics, 'failed'), spans(metrics, 'exported')], [5, 5])
    assert.doesNotMatch(body, /hidden/)
    server.closeAllConnections()
    server.close()
  })

  it('are dropped and counted beyond what may wait', async () => {
    const metrics = createRegistry()
    const tracer = createTracer({ url: new URL('http://127.0.0.1:1/v1/traces'), ratio: 1, metrics, logger })
    for (let i = 0; i < limits.traceQueueMax + 3; i++) tracer.end(traced())
    assert.equal(spans(metrics, 'dropped'), 15)
    await tracer.flush()
    assert.equal(spans(metrics, 'failed'), limits.traceBatchMax * 5)
  })
})
