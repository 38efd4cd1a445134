/** What an operator sees of a real server: figures, readiness, traces, logs as they come. */
import { execFile, spawn } from 'node:child_process'
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, request } from 'node:http'
import type { IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createInterface } from 'node:readline'
import { json } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { after, before, describe, it } from 'node:test'

import { metricCatalogue } from '../../src/telemetry/catalogue.ts'
import { deploy, eventually, invocationRecord, logsOf } from '../lib/functions.ts'
import { projectRoot, removeData, startServer, type TestServer } from '../lib/server.ts'

const watched = `
const ways = {
  ok: () => new Response('fine'),
  throws: () => { throw new TypeError('no good') },
  exits: () => process.exit(7),
  tells: () => { console.log('at', Date.now()); return new Response('told') },
  traced: (request) => new Response(request.headers.get('traceparent')),
  later(request, ctx) {
    ctx.waitUntil((async () => {
      for (let tick = 1; tick <= 10; tick++) {
        await pause(100)
        console.log('tick', tick, Date.now())
      }
    })())
    return new Response('early')
  },
  async slow() { console.log('slow began'); await pause(20_000); return new Response('slow') },
  async blocks() { await pause(2_400); for (;;); },
}
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
export default {
  fetch(request, env, ctx) {
    return ways[new URL(request.url).pathname.slice(1)](request, ctx)
  },
}
`

interface OtlpSpan {
  traceId: string
  spanId: string
  parentSpanId: string
  name: string
  kind: number
  startTimeUnixNano: string
  endTimeUnixNano: string
  attributes: { key: string; value: Record<string, unknown> }[]
  status: { code?: number; message?: string }
}
interface OtlpExport {
  resourceSpans: { resource: { attributes: { key: string; value: Record<string, unknown> }[] }; scopeSpans: { scope: { name: string }; spans: OtlpSpan[] }[] }[]
}

describe('what an operator sees', () => {
  let server: TestServer
  const exports: { path: string; body: OtlpExport }[] = []
  const collector = createServer((req, res) => {
    void json(req).then((body) => {
      exports.push({ path: req.url!, body: body as OtlpExport })
      res.end('{}')
    })
  })

  before(async () => {
    collector.listen(0, '127.0.0.1')
    await once(collector, 'listening')
    const { port } = collector.address() as AddressInfo
    server = await startServer({ args: ['--otlp', `http://127.0.0.1:${port}`, '--trace-ratio', '0'] })
    await deploy(server, 'watched', { 'index.mjs': watched }, { timeoutMs: 3_000 })
  })

  after(async () => {
    await server.stop()
    removeData(server.dataDir)
    collector.close()
  })

  async function call(path: string, headers: Record<string, string> = {}): Promise<{ status: number; text: string; id: string }> {
    const response = await fetch(`${server.gateway}/default/watched/${path}`, { headers, signal: AbortSignal.timeout(10_000) })
    return { status: response.status, text: await response.text(), id: response.headers.get('hostel-invocation')! }
  }

  /** `fetch` sets Host itself. */
  async function statusAt(host: string, path: string): Promise<number> {
    const [answer] = (await once(request({ port: server.gatewayPort, host: '127.0.0.1', path, headers: { host } }).end(), 'response')) as [IncomingMessage]
    answer.resume()
    return answer.statusCode!
  }

  async function metrics(): Promise<string> {
    const response = await fetch(`${server.api}/metrics`, { headers: { authorization: `Bearer ${server.token}` } })
    assert.equal(response.status, 200)
    assert.match(response.headers.get('content-type')!, /^text\/plain; version=0\.0\.4/)
    return response.text()
  }

  it('both planes tell load balancers whether they are ready, without a token', async () => {
    await eventually(async () => {
      for (const url of [`${server.gateway}/healthz`, `${server.gateway}/readyz`, `${server.api}/healthz`, `${server.api}/readyz`])
        assert.equal((await fetch(url)).status, 200, url)
    })
    assert.deepEqual(await (await fetch(`${server.api}/readyz`)).json(), { status: 'ready', parts: { store: true, gateway: true, keeper: true } })
    // Below a function's own host the path is the function's.
    assert.equal(await statusAt('nobody.default.localhost', '/readyz'), 404)
    assert.equal(await statusAt('localhost', '/readyz'), 200)
  })

  it('figures of all three processes, of functions by outcome, of sandboxes by state and cause, in the format of Prometheus', async () => {
    assert.equal((await fetch(`${server.api}/metrics`)).status, 401)
    assert.equal((await call('ok')).status, 200)
    assert.equal((await call('throws')).status, 500)
    assert.equal((await call('exits')).status, 502)
    const text = await eventually(async () => {
      const found = await metrics()
      assert.match(found, /^hostel_process_cpu_seconds_total\{process="keeper"\} [\d.]+$/m)
      assert.match(found, /^hostel_sandbox_ends_total\{cause="exited"\} 1$/m)
      return found
    }, 10_000)
    for (const name of ['gateway', 'control']) assert.match(text, new RegExp(`^hostel_process_resident_memory_bytes\\{process="${name}"\\} \\d{7,}$`, 'm'))
    assert.match(text, /^hostel_invocations_total\{tenant="default",function="watched",outcome="ok"\} 1$/m)
    assert.match(text, /^hostel_invocations_total\{tenant="default",function="watched",outcome="handler_error"\} 1$/m)
    assert.match(text, /^hostel_invocation_duration_seconds_count\{tenant="default",function="watched"\} 3$/m)
    assert.match(text, /^hostel_sandboxes\{state="spare"\} \d+$/m)
    assert.match(text, /^hostel_spares\{class="nodejs24\/256\/namespace"\} \d+$/m)
    assert.match(text, /^hostel_batches_total\{result="ok"\} [1-9]/m)
    assert.match(text, /^hostel_api_requests_total\{route="POST \/v1\/tenants\/:tenant\/functions\/:name\/versions",status="20\d"\} 1$/m)
    for (const line of text.trimEnd().split('\n')) {
      const [, name = ''] = /^(?:# (?:HELP|TYPE) )?(\w+?)(?:_bucket|_sum|_count)?(?:\{(?:[a-z]+="(?:[^"\\\n]|\\.)*",?)*\})? \S/.exec(line) ?? []
      assert.ok(name in metricCatalogue, line)
    }
  })

  it('a trace with a span for each step, below the caller’s span, for calls that the caller traces and no others', async () => {
    const traceId = '4bf92f3577b34da6a3ce929d0e0e4736'
    assert.equal((await call('traced')).text, '')
    assert.equal((await call('traced', { traceparent: `00-${traceId}-00f067aa0ba902b7-00` })).text, `00-${traceId}-00f067aa0ba902b7-00`)
    const continued = (await call('traced', { traceparent: `00-${traceId}-00f067aa0ba902b7-01` })).text
    const failed = await call('throws', { traceparent: `00-${traceId}-00f067aa0ba902b7-01` })
    const spans = await eventually(() => {
      const found = exports.flatMap(({ body }) => body.resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap((scope) => scope.spans)))
      assert.equal(found.length, 12)
      return found
    })
    assert.ok(exports.every(({ path }) => path === '/v1/traces'))
    assert.deepEqual(exports[0]!.body.resourceSpans[0]!.resource.attributes, [{ key: 'service.name', value: { stringValue: 'hostel' } }])
    const [root, ...steps] = spans.slice(0, 6) as [OtlpSpan, ...OtlpSpan[]]
    assert.deepEqual(
      { traceId: root.traceId, parent: root.parentSpanId, kind: root.kind, name: root.name },
      { traceId, parent: '00f067aa0ba902b7', kind: 2, name: 'watched' },
    )
    assert.equal(continued, `00-${traceId}-${root.spanId}-01`)
    assert.deepEqual(
      steps.map(({ name }) => name),
      ['admit', 'acquire', 'forward', 'settle', 'release'],
    )
    let endedAt = BigInt(root.startTimeUnixNano)
    for (const step of steps) {
      assert.match(step.spanId, /^[0-9a-f]{16}$/)
      assert.deepEqual([step.traceId, step.parentSpanId, BigInt(step.startTimeUnixNano) - endedAt], [traceId, root.spanId, 0n])
      endedAt = BigInt(step.endTimeUnixNano)
    }
    assert.equal(endedAt, BigInt(root.endTimeUnixNano))
    assert.ok(Math.abs(Number(BigInt(root.startTimeUnixNano) / 1_000_000n) - Date.now()) < 60_000)
    const attributes = new Map(spans[6]!.attributes.map(({ key, value }) => [key, Object.values(value)[0]]))
    assert.equal(attributes.get('faas.invocation_id'), failed.id)
    assert.equal(attributes.get('faas.name'), 'default/watched')
    assert.equal(attributes.get('http.response.status_code'), '500')
    assert.equal(attributes.get('hostel.outcome'), 'handler_error')
    assert.equal(spans[6]!.status.code, 2)
    assert.match(spans[6]!.status.message!, /no good/)
  })

  it('what a function prints, in the command, a moment later', async (t) => {
    const child = spawn(process.execPath, ['src/cli/main.ts', 'logs', 'watched', '--follow', '--json', '--limit', '1'], {
      cwd: projectRoot,
      env: { ...process.env, HOSTEL_API: server.api, HOSTEL_TOKEN: server.token },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const delays: number[] = []
    createInterface(child.stdout).on('line', (line) => {
      const [, at] = /^at (\d+)$/.exec((JSON.parse(line) as { text: string }).text) ?? []
      if (at !== undefined) delays.push(Date.now() - Number(at))
    })
    try {
      // Until the command follows.
      await eventually(async () => {
        await call('tells')
        assert.ok(delays.length > 0)
      }, 10_000)
      await new Promise((resolve) => setTimeout(resolve, 500))
      delays.length = 0
      for (let i = 0; i < 10; i++) {
        await call('tells')
        await new Promise((resolve) => setTimeout(resolve, 37))
      }
      await eventually(() => assert.equal(delays.length, 10))
    } finally {
      child.kill()
    }
    delays.sort((a, b) => a - b)
    t.diagnostic(`from print to command: median ${delays[5]} ms, longest ${delays[9]} ms`)
    assert.ok(delays[5]! < 300, `median ${delays[5]} ms`)
  })

  it('every line that is kept, oldest first, on export', async () => {
    const { stdout } = await promisify(execFile)(process.execPath, ['src/cli/main.ts', 'logs', 'watched', '--all', '--since', '1h', '--json'], {
      cwd: projectRoot,
      env: { ...process.env, HOSTEL_API: server.api, HOSTEL_TOKEN: server.token },
    })
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map((text) => JSON.parse(text) as { sandbox: number; sequence: number; text: string })
    assert.ok(lines.length > 10)
    const next = new Map<number, number>()
    for (const { sandbox, sequence } of lines) {
      assert.equal(sequence, (next.get(sandbox) ?? 0) + 1)
      next.set(sandbox, sequence)
    }
  })

  it('work given to waitUntil goes on after the answer, without being frozen meanwhile', async () => {
    const { text, id } = await call('later')
    const answeredAtMs = Date.now()
    assert.equal(text, 'early')
    const lines = await logsOf(server, 'watched', (found) => found.filter((line) => line.invocation === id).length === 10)
    const ticks = lines.filter((line) => line.invocation === id).map((line) => Number(line.text.split(' ')[2]))
    assert.ok(ticks[0]! > answeredAtMs, 'the answer did not wait')
    const longest = Math.max(...ticks.slice(1).map((at, index) => at - ticks[index]!))
    assert.ok(longest < 500, `${longest} ms between two ticks`)
    assert.equal((await invocationRecord(server, id)).outcome, 'ok')
  })

  it('a request that blocks its sandbox beyond its deadline, told apart from its neighbours, who are told whose fault it was', async () => {
    const blocking = call('blocks')
    await new Promise((resolve) => setTimeout(resolve, 2_200))
    const neighbour = await call('slow')
    const blocked = await blocking
    assert.equal(blocked.status, 504)
    assert.equal(neighbour.status, 502)
    assert.equal((JSON.parse(neighbour.text) as { code: string }).code, 'sandbox_lost')
    const records = [await invocationRecord(server, blocked.id), await invocationRecord(server, neighbour.id)]
    assert.equal(records[0]!.outcome, 'deadline_exceeded')
    assert.equal(records[0]!.sandbox, records[1]!.sandbox)
    assert.equal(records[1]!.outcome, 'sandbox_lost')
    assert.match(String(records[1]!.detail!['explanation']), /another request in the same sandbox blocked it beyond its deadline/)
    await eventually(async () => assert.ok(/^hostel_sandbox_ends_total\{cause="blocked"\} 1$/m.test(await metrics())))
  })
})
