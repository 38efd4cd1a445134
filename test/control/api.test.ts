import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { after, before, describe, it } from 'node:test'

import type { Deployed, FunctionDetail, InvocationDetail, Problem, System } from '../../src/api/schemas.ts'
import type { SandboxInfo } from '../../src/functions/types.ts'
import { archiveOf, deploy, lineOf, recordOf, startControl, temporaryDirectory } from './harness.ts'
import type { StandInGateway, TestControl } from './harness.ts'

const golden = new URL('../../docs/reference/openapi.json', import.meta.url)

const directory = temporaryDirectory()
let control: TestControl
let gateway: StandInGateway

before(async () => {
  control = await startControl(directory.path)
})
after(async () => {
  await control.stop()
  directory[Symbol.dispose]()
})

describe('without a gateway', () => {
  it('a deploy says that it is not there, and leaves nothing', async () => {
    const { digest } = await upload({ 'index.ts': 'first' })
    const problem = await control.json<Problem>('POST', '/v1/tenants/default/functions/early/versions', { code: digest }, 503)
    assert.equal(problem.code, 'unavailable')
    await control.json('GET', '/v1/tenants/default/functions/early', undefined, 404)
    assert.equal((await control.json<System>('GET', '/v1/system')).gatewayConnected, false)
    await control.json('GET', '/v1/tenants/default/sandboxes', undefined, 503)
  })
})

describe('the control API', () => {
  before(async () => {
    gateway = await control.connectGateway()
  })

  it('is described by docs/reference/openapi.json', async () => {
    const document = `${JSON.stringify(await (await control.request('GET', '/openapi.json', { token: null })).json(), null, 2)}\n`
    if (process.env['UPDATE_OPENAPI'] === 'yes') writeFileSync(golden, document)
    assert.equal(
      document,
      readFileSync(golden, 'utf8'),
      'the API has changed: run `UPDATE_OPENAPI=yes npm test -- test/control/api.test.ts`, and look at the difference before you commit it',
    )
  })

  it('tells what the server is', async () => {
    const system = await control.json<System>('GET', '/v1/system')
    assert.equal(system.gatewayUrl, 'http://127.0.0.1:8080')
    assert.equal(system.apiUrl, control.url)
    assert.equal(system.gatewayConnected, true)
    assert.deepEqual(
      system.runtimes.map(({ name }) => name),
      ['nodejs24', 'python3'],
    )
  })

  it('deploys code, tells the gateway, and answers with where it is', async () => {
    gateway.changes.length = 0
    const { digest } = await upload({ 'index.ts': 'v1' })
    const deployed = await control.json<Deployed>('POST', '/v1/tenants/default/functions/hello/versions', {
      code: digest,
      env: { B: '2', A: 'secret' },
      timeoutMs: 1_000,
    })
    assert.equal(deployed.version, 1)
    assert.equal(deployed.unchanged, false)
    assert.equal(deployed.contract, 'fetch')
    assert.equal(deployed.timings.initMs, 12.5)
    assert.deepEqual(deployed.urls, { path: 'http://127.0.0.1:8080/default/hello/', host: 'http://hello.default.localhost:8080/' })
    assert.deepEqual(deployed.envNames, ['A', 'B'])
    assert.ok(!JSON.stringify(deployed).includes('secret'))
    assert.equal(gateway.prepared.at(-1)?.env['A'], 'secret')
    await eventually(() => gateway.changes.length === 1)
    const change = gateway.changes[0] as { payload: { function: { aliases: unknown; versions: { contract: string }[] } } }
    assert.deepEqual(change.payload.function.aliases, { live: 1 })
    assert.equal(change.payload.function.versions[0]?.contract, 'fetch')
  })

  it('does nothing when code and configuration are those of the live version', async () => {
    const before = gateway.prepared.length
    const { digest } = await upload({ 'index.ts': 'v1' })
    const again = await control.json<Deployed>('POST', '/v1/tenants/default/functions/hello/versions', {
      code: digest,
      env: { A: 'secret', B: '2' },
      timeoutMs: 1_000,
    })
    assert.equal(again.unchanged, true)
    assert.equal(again.version, 1)
    assert.equal(gateway.prepared.length, before)
    const other = await control.json<Deployed>('POST', '/v1/tenants/default/functions/hello/versions', { code: digest, env: { A: 'other' }, timeoutMs: 1_000 })
    assert.equal(other.unchanged, false)
    assert.equal(other.version, 2)
  })

  it('plans: says what a deploy would change, with or without the code, and changes nothing', async () => {
    interface Plan {
      live: number | null
      codeKnown: boolean
      changes: { field: string; kind: string; from?: unknown; to?: unknown }[]
    }
    const plan = (name: string, wanted: object): Promise<Plan> => control.json<Plan>('POST', `/v1/tenants/default/functions/${name}/plan`, wanted)
    const before = await control.json<FunctionDetail>('GET', '/v1/tenants/default/functions/hello')
    const { digest } = await upload({ 'index.ts': 'v1' })
    const same = { code: digest, env: { A: 'other' }, timeoutMs: 1_000 }
    assert.deepEqual(await plan('hello', same), { live: 2, codeKnown: true, changes: [] })
    const other = 'f'.repeat(64)
    assert.deepEqual(await plan('hello', { ...same, code: other, env: { A: 'changed-secret', B: 'x' }, memoryMiB: 512 }), {
      live: 2,
      codeKnown: false,
      changes: [
        { field: 'code', kind: 'changed', from: digest, to: other },
        { field: 'memoryMiB', kind: 'changed', from: 256, to: 512 },
        { field: 'env.A', kind: 'changed' },
        { field: 'env.B', kind: 'added' },
      ],
    })
    assert.deepEqual((await plan('hello', { code: digest, timeoutMs: 1_000 })).changes, [{ field: 'env.A', kind: 'removed' }])
    const fresh = await plan('not-there-yet', { code: digest })
    assert.equal(fresh.live, null)
    assert.deepEqual(
      fresh.changes.find(({ field }) => field === 'handler'),
      { field: 'handler', kind: 'added', to: 'index.ts' },
    )
    await control.json('POST', '/v1/tenants/default/functions/hello/plan', { code: other, runtime: 'cobol' }, 400)
    assert.deepEqual(await control.json<FunctionDetail>('GET', '/v1/tenants/default/functions/hello'), before)
    await control.json('GET', '/v1/tenants/default/functions/not-there-yet', undefined, 404)
  })

  it('keeps what is live when the new version does not start, and says why', async () => {
    gateway.answer = () => ({
      error: {
        code: 'init_failed',
        message: 'it failed',
        guest: { kind: 'init', name: 'SyntaxError', message: 'Unexpected token', file: 'index.ts', line: 3, column: 7 },
        facts: { x: 1 },
      },
    })
    const { digest } = await upload({ 'index.ts': 'broken' })
    const problem = await control.json<Problem>('POST', '/v1/tenants/default/functions/hello/versions', { code: digest }, 422)
    gateway.answer = () => ({ contract: 'event', initMs: 1 })
    assert.equal(problem.code, 'init_failed')
    assert.equal(problem.detail, 'version 3 did not start and was not kept; version 2 stays live. SyntaxError: Unexpected token, at index.ts:3:7')
    assert.equal(problem.hint, 'Mend what the detail names and deploy again.')
    assert.deepEqual(problem.facts?.['guest'], { kind: 'init', name: 'SyntaxError', message: 'Unexpected token', file: 'index.ts', line: 3, column: 7 })
    const detail = await control.json<FunctionDetail>('GET', '/v1/tenants/default/functions/hello')
    assert.equal(detail.aliases['live'], 2)
    assert.deepEqual(
      detail.versions.map(({ version }) => version),
      [2, 1],
    )
    // A number is never used again: sandboxes go by it.
    assert.equal((await deploy(control, 'hello', { 'index.ts': 'mended' })).version, 4)
  })

  it('brings the last of several deploys at once live', async () => {
    const { digest } = await upload({ 'index.ts': 'many' })
    // The earlier ones take longer to start.
    gateway.answer = async ({ version }) => {
      await new Promise((resolve) => setTimeout(resolve, (6 - version) * 30))
      return { contract: 'event', initMs: 1 }
    }
    const versions = await Promise.all(
      [1, 2, 3, 4, 5].map((n) => control.json<Deployed>('POST', '/v1/tenants/default/functions/many/versions', { code: digest, env: { N: String(n) } })),
    )
    const detail = await control.json<FunctionDetail>('GET', '/v1/tenants/default/functions/many')
    assert.deepEqual(
      versions.map(({ version }) => version).sort((a, b) => a - b),
      [1, 2, 3, 4, 5],
    )
    assert.equal(detail.aliases['live'], 5)
  })

  it('does not take up the numbers of a removed function', async () => {
    await deploy(control, 'brief', { 'index.ts': 'x' })
    await control.json('DELETE', '/v1/tenants/default/functions/brief')
    await eventually(() => gateway.changes.some(({ name, payload }) => name === 'unroute' && (payload as { name: string }).name === 'brief'))
    await control.json('GET', '/v1/tenants/default/functions/brief', undefined, 404)
    await control.json('DELETE', '/v1/tenants/default/functions/brief', undefined, 404)
    assert.equal((await deploy(control, 'brief', { 'index.ts': 'x' })).version, 2)
  })

  it('says of each field that does not fit what it takes', async () => {
    const { digest } = await upload({ 'index.ts': 'x' })
    const cases: [unknown, RegExp][] = [
      [{}, /^code is missing; it takes a code digest/],
      [{ code: 'ABC' }, /^code takes a code digest .*; got "ABC"$/],
      [{ code: '0'.repeat(64) }, /^code takes the digest of code that was uploaded/],
      [{ code: digest, memory: 1 }, /^the body takes no field "memory"; it takes code, runtime, handler, memoryMiB/],
      [{ code: digest, memoryMiB: 300 }, /^memoryMiB takes one of 128, 256, 512, 1024, 2048, 4096 \(MiB\); got 300$/],
      [{ code: digest, memoryMiB: '256' }, /^memoryMiB takes one of .*; got "256"$/],
      [{ code: digest, timeoutMs: 0 }, /^timeoutMs takes a whole number of milliseconds from 1 to 900000; got 0$/],
      [{ code: digest, timeoutMs: '1000' }, /^timeoutMs takes .*; got "1000"$/],
      [{ code: digest, concurrency: 1.5 }, /^concurrency takes a whole number/],
      [{ code: digest, env: { A: 1 } }, /^env takes an object of texts by name/],
      [{ code: digest, env: { 'A B': '1' } }, /^env takes names of letters/],
      [{ code: digest, env: { HOSTEL_X: '1' } }, /^env takes names that do not start with HOSTEL_/],
      [{ code: digest, env: { A: 'x'.repeat(40_000) } }, /^env takes at most 32768 bytes/],
      [{ code: digest, runtime: 'cobol' }, /^runtime takes one of the installed runtimes \(nodejs24, python3\); got "cobol"$/],
      [{ code: digest, runtime: 'python3' }, /^handler takes a file of the code to start with; none was given, and the code's root has none of main.py$/],
      [{ code: digest, handler: 'main.ts' }, /^handler takes a file of the code; there is no main.ts in it$/],
      [{ code: digest, handler: '../../hostel.db' }, /^handler takes a file inside the code/],
      [{ code: digest, handler: 'index.ts:1x' }, /^handler takes `file` or `file:export`/],
      [[], /^the body takes a JSON object/],
      ['{', /^the body is not valid JSON$/],
    ]
    for (const [body, says] of cases) {
      const response = await control.request('POST', '/v1/tenants/default/functions/fields/versions', { body, headers: { 'content-type': 'application/json' } })
      const problem = (await response.json()) as Problem
      assert.equal(response.status, 400, JSON.stringify(body))
      assert.match(problem.detail ?? '', says)
      assert.ok(problem.hint)
    }
    const badQuery = await control.json<Problem>('GET', '/v1/tenants/default/functions?limit=0', undefined, 400)
    assert.match(badQuery.detail ?? '', /^limit takes a whole number from 1 to 1000; 100 when left out; got 0$/)
    const badName = await control.json<Problem>('GET', '/v1/tenants/default/functions/No_Name', undefined, 400)
    assert.match(badName.detail ?? '', /^name takes 1 to 63 lower-case letters/)
  })

  it('refuses bodies that are too large or of another kind', async () => {
    const path = '/v1/tenants/default/functions/big/versions'
    const large = await control.request('POST', path, { body: { code: 'x'.repeat(600_000) } })
    assert.equal(large.status, 413)
    assert.equal(((await large.json()) as Problem).code, 'request_too_large')
    const text = await control.request('POST', path, { body: 'code=1', headers: { 'content-type': 'text/plain' } })
    assert.equal(text.status, 400)
    const archive = await control.request('PUT', '/v1/tenants/default/code', {
      body: await archiveOf({ 'index.ts': '' }),
      headers: { 'content-type': 'application/octet-stream' },
    })
    assert.equal(archive.status, 400)
    assert.match(((await archive.json()) as Problem).detail ?? '', /code is application\/gzip/)
  })

  it('gives lists page by page', async () => {
    const names: string[] = []
    let after: string | null = null
    do {
      const page: { functions: { name: string; live: number }[]; next: string | null } = await control.json(
        'GET',
        `/v1/tenants/default/functions?limit=1${after ? `&after=${after}` : ''}`,
      )
      assert.equal(page.functions.length, 1)
      names.push(page.functions[0]!.name)
      after = page.next
    } while (after)
    assert.deepEqual(names, ['brief', 'hello', 'many'])
  })

  it('explains an invocation, with the count of its lines', async () => {
    const record = recordOf({
      outcome: 'handler_error',
      status: 500,
      detail: { explanation: 'the function threw: Error: no, at index.ts:2', guest: { name: 'Error' } },
    })
    await gateway.link.call(
      'batch',
      { records: [record], logs: [lineOf({ invocation: record.id }), lineOf({ invocation: record.id }), lineOf()] },
      { timeoutMs: 5_000 },
    )
    const shown = await control.json<InvocationDetail>('GET', `/v1/tenants/default/invocations/${record.id}`)
    const { explanation, logLines, ...kept } = shown
    assert.deepEqual(kept, record)
    assert.equal(logLines, 2)
    assert.equal(explanation.summary, 'The function threw an error, after 4.8 ms: the function threw: Error: no, at index.ts:2')
    assert.equal(explanation.hint, `See \`hostel logs hello --invocation ${record.id}\`.`)
    await control.json('GET', '/v1/tenants/default/invocations/01890000-0000-7000-8000-000000000000', undefined, 404)
    await control.json('GET', '/v1/tenants/default/invocations/nonsense', undefined, 400)
  })

  it('lists invocations newest first, of all functions or of one', async () => {
    const records = [recordOf({ function: 'many' }), recordOf({ function: 'hello' }), recordOf({ function: 'many', outcome: 'out_of_memory' })]
    await gateway.link.call('batch', { records, logs: [] }, { timeoutMs: 5_000 })
    type Page = { invocations: { id: string }[]; next: string | null }
    const many = await control.json<Page>('GET', '/v1/tenants/default/invocations?function=many')
    assert.deepEqual(
      many.invocations.map(({ id }) => id),
      [records[2]!.id, records[0]!.id],
    )
    assert.equal(many.next, null)
    const first = await control.json<Page>('GET', '/v1/tenants/default/invocations?limit=2')
    assert.deepEqual(
      first.invocations.map(({ id }) => id),
      [records[2]!.id, records[1]!.id],
    )
    const second = await control.json<Page>('GET', `/v1/tenants/default/invocations?limit=1&before=${first.next}`)
    assert.deepEqual(
      second.invocations.map(({ id }) => id),
      [records[0]!.id],
    )
    const detail = await control.json<FunctionDetail>('GET', '/v1/tenants/default/functions/many')
    assert.deepEqual(detail.lastHour, { invocations: 2, errors: 1 })
  })

  it('shows the sandboxes of the tenant and the spares', async () => {
    const sandbox: SandboxInfo = {
      sandbox: 1,
      state: 'spare',
      runtime: 'nodejs24',
      memoryMiB: 256,
      isolation: 'namespace',
      tenant: null,
      function: null,
      version: null,
      inFlight: 0,
      invocations: 0,
      startedAtMs: 1,
      memoryBytes: null,
    }
    gateway.sandboxes = [
      sandbox,
      { ...sandbox, sandbox: 2, tenant: 'default', function: 'hello', version: 1 },
      { ...sandbox, sandbox: 3, tenant: 'other', function: 'x', version: 1 },
    ]
    const { sandboxes } = await control.json<{ sandboxes: SandboxInfo[] }>('GET', '/v1/tenants/default/sandboxes')
    assert.deepEqual(
      sandboxes.map((one) => one.sandbox),
      [1, 2],
    )
  })

  it('does not answer a request without a Host', async () => {
    const socket = connect(control.port, '127.0.0.1')
    socket.end('GET /healthz HTTP/1.0\r\n\r\n')
    let text = ''
    for await (const chunk of socket) text += String(chunk)
    assert.match(text, /^HTTP\/1\.[01] 400 /)
  })

  it('goes on when the gateway is another one', async () => {
    const before = gateway
    gateway = await control.connectGateway()
    assert.deepEqual(gateway.routes.map(({ name }) => name).sort(), ['brief', 'hello', 'many'])
    await before.link.closed
    assert.equal((await deploy(control, 'after', { 'main.py': '' })).version, 1)
    assert.equal(gateway.prepared.at(-1)?.runtime, 'python3')
    assert.equal(gateway.prepared.at(-1)?.handler, 'main.py')
  })
})

async function upload(files: Record<string, string>): Promise<{ digest: string; files: number }> {
  const response = await control.request('PUT', '/v1/tenants/default/code', { body: await archiveOf(files), headers: { 'content-type': 'application/gzip' } })
  assert.equal(response.status, 200)
  return (await response.json()) as { digest: string; files: number }
}

async function eventually(condition: () => boolean): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    if (condition()) return
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  assert.fail('it did not happen within 5 s')
}
