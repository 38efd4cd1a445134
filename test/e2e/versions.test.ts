import assert from 'node:assert/strict'
import { Agent, get } from 'node:http'
import { after, before, describe, it } from 'node:test'
import type { TestContext } from 'node:test'

import { ApiError, createControlClient } from '../../src/client/control.ts'
import type { ControlClient } from '../../src/client/control.ts'
import { deploy, eventually } from '../lib/functions.ts'
import { removeData, startServer } from '../lib/server.ts'
import type { TestServer } from '../lib/server.ts'

let server: TestServer
let client: ControlClient

before(async () => {
  server = await startServer()
  client = createControlClient(server)
})
after(async () => {
  await server.stop()
  removeData(server.dataDir)
})

/** A function that says which one it is. */
const saying = (word: string) => ({ 'index.js': `export default { fetch: () => new Response('${word}') }` })

const text = async (path: string, headers: Record<string, string> = {}): Promise<string> => {
  const response = await fetch(`${server.gateway}${path}`, { headers, signal: AbortSignal.timeout(10_000) })
  const body = await response.text()
  return response.ok ? body : `${response.status} ${body}`
}

/** Fetch does not let a Host be set. */
const textFrom = (host: string): Promise<string> =>
  new Promise((resolve, reject) => {
    get({ port: server.gatewayPort, host: '127.0.0.1', headers: { host }, timeout: 10_000 }, (response) => {
      let body = ''
      response.on('data', (chunk: Buffer) => (body += chunk.toString())).on('end', () => resolve(body))
    }).on('error', reject)
  })

const refusal = async (work: Promise<unknown>): Promise<{ status: number; code: string; detail: string }> => {
  const error = await work.then(
    () => assert.fail('it was not refused'),
    (cause: unknown) => cause,
  )
  assert.ok(error instanceof ApiError, String(error))
  return { status: error.problem.status, code: error.problem.code, detail: error.message }
}

describe('versions', () => {
  it('that are not live are called by number in both forms of the URL', async () => {
    for (const word of ['one', 'two', 'three']) await deploy(server, 'numbered', saying(word))
    assert.equal(await text('/default/numbered/'), 'three')
    assert.equal(await text('/default/numbered:1/'), 'one')
    assert.equal(await text('/default/numbered:live/'), 'three')
    assert.equal(await textFrom('2--numbered.default.localhost'), 'two')
    assert.match(await text('/default/numbered:4/'), /^404 .*no alias or version 4/)
  })

  it('are listed newest first, page by page, with their aliases', async () => {
    const versions = await client.versions('default', 'numbered')
    assert.deepEqual(
      versions.map(({ version, aliases }) => [version, aliases]),
      [
        [3, ['live']],
        [2, []],
        [1, []],
      ],
    )
    const page = (query: string): Promise<{ versions: { version: number }[]; next: number | null }> =>
      fetch(`${server.api}/v1/tenants/default/functions/numbered/versions?${query}`, { headers: { authorization: `Bearer ${server.token}` } }).then(
        (response) => response.json() as Promise<{ versions: { version: number }[]; next: number | null }>,
      )
    assert.equal((await page('limit=2')).next, 2)
    assert.deepEqual([(await page('limit=2&before=2')).versions.map(({ version }) => version), (await page('limit=2&before=2')).next], [[1], null])
  })

  it('go away one by one, but not one that an alias needs', async () => {
    const live = await refusal(client.removeVersion('default', 'numbered', 3))
    assert.equal(live.status, 409)
    assert.match(live.detail, /version 3 of numbered is needed by live/)
    await client.removeVersion('default', 'numbered', 1)
    await eventually(async () => assert.match(await text('/default/numbered:1/'), /^404 /))
    const gone = await refusal(client.version('default', 'numbered', 1))
    assert.equal(gone.code, 'not_found')
    assert.match(gone.detail, /has no version 1; it has 3, 2\. The 50 newest are kept/)
    assert.equal((await deploy(server, 'numbered', saying('four'))).version, 4)
  })
})

describe('a rollback', () => {
  const live = async (): Promise<number> => (await client.function('default', 'back')).aliases['live']!

  it('goes back by what was live, not by number, and further each time', async () => {
    for (const word of ['one', 'two', 'three']) await deploy(server, 'back', saying(word))
    assert.equal((await client.rollBack('default', 'back', 1)).from, 3)
    assert.equal(await text('/default/back/'), 'one')
    // 1, 2, 3, 1: before 1 came 3, then 2, then 1.
    for (const [version, word] of [
      [3, 'three'],
      [2, 'two'],
      [1, 'one'],
    ] as const) {
      assert.equal((await client.rollBack('default', 'back')).version, version)
      assert.equal(await text('/default/back/'), word)
    }
    const end = await refusal(client.rollBack('default', 'back'))
    assert.equal(end.status, 409)
    assert.match(end.detail, /no version of back that is still kept was live before version 1/)
    await deploy(server, 'back', saying('four'))
    assert.equal((await client.rollBack('default', 'back')).version, 1)
    assert.equal((await client.rollBack('default', 'back', 1)).unchanged, true)
    assert.match((await refusal(client.rollBack('default', 'back', 9))).detail, /back has no version 9; it has 4, 3, 2, 1/)
    assert.equal(await live(), 1)
  })

  it('is done within 100 ms, and the first call after it is warm', async (t: TestContext) => {
    const times: number[] = []
    for (let round = 0; round < 10; round++) {
      // Those who go back do so once: a spare is ready then.
      await eventually(async () => assert.ok((await client.sandboxes('default')).some((one) => one.state === 'spare' && one.runtime === 'nodejs24')))
      const { totalMs, version } = await client.rollBack('default', 'back', round % 2 === 0 ? 2 : 3)
      times.push(totalMs)
      assert.equal(await text('/default/back/'), version === 2 ? 'two' : 'three')
    }
    times.sort((a, b) => a - b)
    t.diagnostic(`rollback: median ${times[5]!.toFixed(1)} ms, longest ${times[9]!.toFixed(1)} ms`)
    assert.ok(times[5]! < 100, `median ${times[5]} ms`)
  })

  it('to a version that does not start any more leaves live what was', async () => {
    const until = Date.now() + 2_000
    const perishable = `if (Date.now() > Number(process.env.UNTIL)) throw new Error('too late')\nexport default { fetch: () => new Response('fresh') }`
    await deploy(server, 'perishable', { 'index.js': perishable }, { env: { UNTIL: String(until) } })
    await deploy(server, 'perishable', saying('lasting'))
    await eventually(async () =>
      assert.equal((await client.sandboxes('default')).filter((one) => one.function === 'perishable' && one.version === 1).length, 0),
    )
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, until - Date.now()) + 50))
    const refused = await refusal(client.rollBack('default', 'perishable'))
    assert.equal(refused.status, 422)
    assert.match(refused.detail, /version 1 did not start and did not become live; version 2 stays live\. .*too late/)
    assert.equal(await text('/default/perishable/'), 'lasting')
  })
})

describe('a switch', () => {
  it('under constant load fails no request, and each answer is of the version before or after', { timeout: 120_000 }, async (t) => {
    const { version: first } = await deploy(server, 'busy', saying('1'))
    const load = startLoad('/default/busy/', first)
    try {
      const switches: number[] = []
      const moveTo = async (target: number, work: () => Promise<{ version: number }>): Promise<void> => {
        const before = load.allowed
        load.allowed = [...before, target]
        assert.equal((await work()).version, target)
        load.allowed = [target]
        switches.push(target)
      }
      for (let round = 0; round < 10; round++) {
        const next = 2 + round
        await moveTo(next, () => deploy(server, 'busy', saying(String(next))))
        await load.atLeast(100)
        await moveTo(next - 1, () => client.rollBack('default', 'busy', next - 1))
        await load.atLeast(100)
      }
      const { answers, perSecond, failures } = await load.stop()
      t.diagnostic(`${answers} answers at ${Math.round(perSecond)} a second, ${switches.length} switches, ${failures.length} failures`)
      assert.deepEqual(failures.slice(0, 5), [])
      assert.equal(switches.length, 20)
      assert.ok(answers > 2_000, `${answers} answers`)
    } finally {
      await load.stop()
    }
  })

  it('lets a stream on the old version finish, and ends its sandbox afterwards', async () => {
    const streaming = `export default { fetch() {
      let left = 12
      return new Response(new ReadableStream({ async pull(controller) {
        await new Promise((resolve) => setTimeout(resolve, 100))
        controller.enqueue(new TextEncoder().encode('old '))
        if (--left === 0) controller.close()
      } }))
    } }`
    await deploy(server, 'stream', { 'index.js': streaming })
    const response = await fetch(`${server.gateway}/default/stream/`, { signal: AbortSignal.timeout(10_000) })
    const reading = response.text()
    await deploy(server, 'stream', saying('new'))
    assert.equal(await text('/default/stream/'), 'new')
    const old = async () => (await client.sandboxes('default')).filter((one) => one.function === 'stream' && one.version === 1)
    assert.deepEqual(
      (await old()).map(({ state }) => state),
      ['busy'],
    )
    assert.equal(await reading, 'old '.repeat(12))
    await eventually(async () => assert.deepEqual(await old(), []))
  })
})

interface Load {
  /** Versions whose answers are right at this moment. */
  allowed: number[]
  /** Resolves after so many more answers. */
  atLeast(count: number): Promise<void>
  stop(): Promise<{ answers: number; perSecond: number; failures: string[] }>
}

/** Constant load over 12 connections, each with a pause between its requests. */
function startLoad(path: string, version: number): Load {
  const agent = new Agent({ keepAlive: true, maxSockets: 12 })
  const failures: string[] = []
  const startedAt = performance.now()
  let answers = 0
  let stopped = false
  const load: Load = {
    allowed: [version],
    async atLeast(count) {
      const goal = answers + count
      await eventually(() => assert.ok(answers >= goal, `${answers} of ${goal} answers`), 20_000)
    },
    async stop() {
      stopped = true
      await Promise.all(workers)
      agent.destroy()
      return { answers, perSecond: answers / ((performance.now() - startedAt) / 1_000), failures }
    },
  }
  async function work(): Promise<void> {
    while (!stopped) {
      const before = load.allowed
      const answer = await call(agent, path)
      const right = [...before, ...load.allowed].map(String)
      if (!right.includes(answer)) failures.push(`${answer} instead of ${right.join(' or ')}`)
      answers++
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }
  const workers = Array.from({ length: 12 }, work)
  return load
}

function call(agent: Agent, path: string): Promise<string> {
  return new Promise((resolve) => {
    const request = get({ agent, host: '127.0.0.1', port: server.gatewayPort, path, timeout: 5_000 }, (response) => {
      let body = ''
      response.on('data', (chunk: Buffer) => (body += chunk.toString()))
      response.on('end', () => resolve(response.statusCode === 200 ? body : `${response.statusCode} ${body}`))
    })
    request.on('timeout', () => request.destroy(new Error('no answer within 5 s')))
    request.on('error', (error) => resolve(error.message))
  })
}
