/** What an operator sees of a real server: figures, readiness, traces, logs as they come. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { request } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { after, before, describe, it } from 'node:test'

import { metricCatalogue } from '../../src/telemetry/catalogue.ts'
import { deploy, eventually } from '../lib/functions.ts'
import { removeData, startServer, type TestServer } from '../lib/server.ts'

const watched = `
const ways = {
  ok: () => new Response('fine'),
  throws: () => { throw new TypeError('no good') },
  exits: () => process.exit(7),
}
export default {
  fetch(request) {
    const way = new URL(request.url).pathname.slice(1)
    console.log('about to', way)
    return ways[way]()
  },
}
`

describe('what an operator sees', () => {
  let server: TestServer

  before(async () => {
    server = await startServer()
    await deploy(server, 'watched', { 'index.mjs': watched })
  })

  after(async () => {
    await server.stop()
    removeData(server.dataDir)
  })

  async function call(path: string): Promise<Response> {
    const response = await fetch(`${server.gateway}/default/watched/${path}`, { signal: AbortSignal.timeout(10_000) })
    await response.arrayBuffer()
    return response
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
})
