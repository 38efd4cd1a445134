import assert from 'node:assert/strict'
import { describe, it } from 'node:test'

import type { InvocationRecord } from '../functions/types.ts'
import { limits } from '../limits.ts'
import { metricCatalogue } from './catalogue.ts'
import { exposition } from './exposition.ts'
import { countInvocations, OTHERS } from './invocations.ts'
import { processFigures } from './process.ts'
import { createRegistry } from './registry.ts'

const record = (changes: Partial<InvocationRecord> = {}): InvocationRecord => ({
  id: '01890000-0000-7000-8000-000000000000',
  tenant: 'default',
  function: 'hello',
  version: 1,
  sandbox: 1,
  method: 'GET',
  path: '/',
  status: 200,
  outcome: 'ok',
  start: 'warm',
  startedAtMs: 1_000_000,
  acquireMs: 0.2,
  forwardMs: 3,
  totalMs: 3.2,
  requestBytes: 10,
  responseBytes: 20,
  detail: null,
  ...changes,
})

describe('figures', () => {
  it('follow the conventions of Prometheus: base units, _total for what only rises, a sentence of help', () => {
    for (const [name, { type, help }] of Object.entries(metricCatalogue)) {
      assert.match(name, /^hostel_[a-z_]+$/)
      assert.equal(name.endsWith('_total'), type === 'counter', name)
      if (type === 'histogram') assert.match(name, /_seconds$/)
      assert.doesNotMatch(name, /_ms|_mib|_kb/)
      assert.match(help, /[^.]$/)
    }
  })

  it('are written so that Prometheus reads them, whatever a label holds', () => {
    const registry = createRegistry()
    registry.counter('hostel_api_requests_total', { route: 'GET "\\\n', status: '200' }).value = 2
    const histogram = registry.histogram('hostel_queue_wait_seconds')
    histogram.observe(0.0005)
    histogram.observe(0.3)
    histogram.observe(1_000)
    const text = exposition(registry.samples())
    assert.match(text, /^# HELP hostel_queue_wait_seconds How long/)
    assert.match(text, /^# TYPE hostel_queue_wait_seconds histogram$/m)
    assert.match(text, /^hostel_queue_wait_seconds_bucket\{le="0\.0005"\} 1$/m)
    assert.match(text, /^hostel_queue_wait_seconds_bucket\{le="0\.25"\} 1$/m)
    assert.match(text, /^hostel_queue_wait_seconds_bucket\{le="0\.5"\} 2$/m)
    assert.match(text, /^hostel_queue_wait_seconds_bucket\{le="\+Inf"\} 3$/m)
    assert.match(text, /^hostel_queue_wait_seconds_sum 1000\.3005$/m)
    assert.match(text, /^hostel_queue_wait_seconds_count 3$/m)
    assert.ok(text.includes('hostel_api_requests_total{route="GET \\"\\\\\\n",status="200"} 2\n'))
  })

  it('count invocations by function and outcome, and how their places were come by', () => {
    const registry = createRegistry()
    const count = countInvocations(registry)
    count(record())
    count(record({ start: 'spare', acquireMs: 4 }))
    count(record({ outcome: 'exited', status: 502 }))
    count(record({ outcome: 'no_capacity', status: 503, start: null, sandbox: null }))
    const text = exposition(registry.samples())
    assert.match(text, /^hostel_invocations_total\{tenant="default",function="hello",outcome="ok"\} 2$/m)
    assert.match(text, /^hostel_invocations_total\{tenant="default",function="hello",outcome="exited"\} 1$/m)
    assert.match(text, /^hostel_cold_starts_total\{kind="spare"\} 1$/m)
    assert.match(text, /^hostel_acquire_duration_seconds_count\{start="none"\} 1$/m)
    assert.match(text, /^hostel_forward_duration_seconds_count 3$/m)
    assert.match(text, /^hostel_request_body_bytes_total 40$/m)
  })

  it('tell apart so many functions and no more, until one has been silent for long', () => {
    const registry = createRegistry()
    const count = countInvocations(registry)
    for (let i = 0; i < limits.metricsFunctionsMax + 5; i++) count(record({ function: `f${i}`, startedAtMs: 1_000 }))
    let text = exposition(registry.samples())
    assert.equal(text.match(/^hostel_invocations_total/gm)!.length, limits.metricsFunctionsMax + 1)
    assert.ok(text.includes(`hostel_invocations_total{tenant="${OTHERS}",function="${OTHERS}",outcome="ok"} 5\n`))
    count(record({ function: 'late', startedAtMs: 1_000 + limits.metricsFunctionSilentMs }))
    text = exposition(registry.samples())
    assert.match(text, /function="late",outcome="ok"\} 1/)
    assert.doesNotMatch(text, /function="f0",/)
    assert.match(text, /function="f1",/)
  })

  it('of the process are those that the kernel tells', () => {
    const samples = processFigures('test')()
    const of = (name: string): number => samples.find((sample) => sample.name === name)!.value as number
    assert.ok(of('hostel_process_cpu_seconds_total') > 0)
    assert.ok(of('hostel_process_resident_memory_bytes') > 10_000_000)
    assert.ok(of('hostel_process_open_fds') >= 3)
    assert.ok(Math.abs(of('hostel_process_start_time_seconds') - Date.now() / 1_000) < 60)
    assert.deepEqual(
      samples.flatMap(({ labels }) => labels['quantile'] ?? []),
      ['0.5', '0.99', '1'],
    )
  })
})
