import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'

import { ApiError, createControlClient } from '../../src/client/control.ts'
import type { ControlClient, CreatedToken, NewToken } from '../../src/client/control.ts'
import { archiveOf, eventually } from '../lib/functions.ts'
import { removeData, startServer } from '../lib/server.ts'
import type { TestServer } from '../lib/server.ts'

let server: TestServer
let admin: ControlClient

before(async () => {
  server = await startServer()
  admin = createControlClient(server)
})
after(async () => {
  await server.stop()
  removeData(server.dataDir)
})

const as = (token: string): ControlClient => createControlClient({ api: server.api, token })
const tokenFor = (tenant: string | null, name: string, scopes: NewToken['scopes'], more: Partial<NewToken> = {}): Promise<CreatedToken> =>
  admin.createToken(tenant, { name, scopes, ...more })

async function deployTo(client: ControlClient, tenant: string, name: string, code: string, options: object = {}): Promise<number> {
  const { digest } = await client.uploadCode(tenant, await archiveOf({ 'index.js': code }))
  return (await client.createVersion(tenant, name, { code: digest, ...options })).version
}

const saying = (word: string): string => `export default { fetch: () => new Response('${word}') }`

async function call(tenant: string, name: string, headers: Record<string, string> = {}): Promise<{ status: number; text: string; headers: Headers }> {
  const response = await fetch(`${server.gateway}/${tenant}/${name}/`, { headers, signal: AbortSignal.timeout(20_000) })
  return { status: response.status, text: await response.text(), headers: response.headers }
}

async function refusal(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => assert.fail('it was not refused'),
    (cause: unknown) => cause,
  )
  assert.ok(error instanceof ApiError, String(error))
  return `${error.problem.status} ${error.problem.code}: ${error.message}`
}

describe('tenants', () => {
  it('are made with names that are free, and listed', async () => {
    await admin.createTenant('shop', { functions: 2 })
    await admin.createTenant('other', {})
    assert.deepEqual(
      (await admin.tenants()).map(({ name }) => name),
      ['default', 'other', 'shop'],
    )
    assert.match(await refusal(admin.createTenant('shop', {})), /^409 conflict: there is a tenant shop already/)
    assert.match(await refusal(admin.createTenant('www', {})), /^400 invalid_input: name takes a name that is not reserved; www is one of admin, /)
    assert.match(await refusal(admin.createTenant('Shop', {})), /^400 invalid_input: name takes 1 to 63 lower-case letters/)
    assert.match(await refusal(admin.functions('nobody')), /^404 not_found: there is no tenant nobody/)
  })

  it('have functions of their own, as many as their quota says', async () => {
    await deployTo(admin, 'shop', 'hello', saying('shop'))
    await deployTo(admin, 'other', 'hello', saying('other'))
    assert.equal((await call('shop', 'hello')).text, 'shop')
    assert.equal((await call('other', 'hello')).text, 'other')
    await deployTo(admin, 'shop', 'second', saying('second'))
    assert.match(await refusal(deployTo(admin, 'shop', 'third', saying('third'))), /^409 conflict: tenant shop may have 2 functions, and has as many/)
    assert.equal(await deployTo(admin, 'shop', 'second', saying('second, changed')), 2)
    await admin.setQuotas('shop', { functions: 3 })
    await deployTo(admin, 'shop', 'third', saying('third'))
  })

  it('go away when they are empty, or with all that is theirs when told so', async () => {
    await admin.createTenant('brief', {})
    await deployTo(admin, 'brief', 'hello', `export default { fetch: () => { console.log('of brief'); return new Response('brief') } }`)
    const { headers } = await call('brief', 'hello')
    const id = headers.get('hostel-invocation')!
    await eventually(() => admin.invocation('brief', id))
    const token = await tokenFor('brief', 'ci', ['read'])
    assert.match(await refusal(admin.removeTenant('brief', false)), /^409 conflict: tenant brief has functions: hello; remove them first/)
    assert.equal((await call('brief', 'hello')).status, 200)
    await admin.removeTenant('brief', true)
    assert.match(await refusal(as(token.token).functions('brief')), /^401 unauthenticated/)
    assert.match(await refusal(admin.functions('brief')), /^404 not_found: there is no tenant brief/)
    await eventually(async () => assert.equal((await call('brief', 'hello')).status, 404))
    // Its sandbox's last words are on their way for a moment. What it left must not come back with another of its name.
    await new Promise((resolve) => setTimeout(resolve, 500))
    await admin.createTenant('brief', {})
    assert.match(await refusal(admin.invocation('brief', id)), /^404 not_found/)
    await deployTo(admin, 'brief', 'hello', saying('again'))
    const lines = []
    for await (const line of admin.logs('brief', 'hello', {})) lines.push(line)
    assert.deepEqual(lines, [])
    await admin.removeTenant('brief', true)
    assert.match(await refusal(admin.removeTenant('default', true)), /^409 conflict: default is always there/)
    assert.match(await refusal(admin.removeTenant('brief', true)), /^404 not_found/)
  })
})

describe('a token', () => {
  it('does in its tenant what it is for, and nothing elsewhere', async () => {
    const reader = await tokenFor('shop', 'reader', ['read'])
    assert.match(reader.token, /^hst_[\w-]{43}$/)
    assert.equal((await as(reader.token).function('shop', 'hello')).name, 'hello')
    assert.match(await refusal(as(reader.token).removeFunction('shop', 'hello')), /^403 forbidden: the token reader has the scope read; this takes deploy/)
    // The same answer as for a tenant that is not there.
    assert.match(await refusal(as(reader.token).function('other', 'hello')), /^404 not_found: there is no tenant other/)
    assert.match(await refusal(as(reader.token).tenants()), /^403 forbidden: the token reader is for tenant shop/)
    const deployer = await tokenFor('shop', 'deployer', ['deploy'])
    await deployTo(as(deployer.token), 'shop', 'hello', saying('deployed'))
    assert.equal((await as(deployer.token).function('shop', 'hello')).name, 'hello')
    assert.match(await refusal(deployTo(as(deployer.token), 'other', 'hello', saying('taken over'))), /^404 not_found/)
    assert.equal((await call('other', 'hello')).text, 'other')
  })

  it('is shown once, is gone when taken back, and is over when its time is', async () => {
    const brief = await tokenFor('shop', 'brief', ['read'], { expiresAtMs: Date.now() + 1_500 })
    const gone = await tokenFor('shop', 'gone', ['read'])
    assert.match(await refusal(tokenFor('shop', 'gone', ['read'])), /^409 conflict: tenant shop has a token gone already/)
    assert.match(await refusal(tokenFor('shop', 'past', ['read'], { expiresAtMs: Date.now() - 1 })), /^400 invalid_input: expiresAtMs takes a time from now/)
    await as(gone.token).functions('shop')
    const listed = await admin.tokens('shop')
    assert.ok(listed.every((token) => !('token' in token) && !('hash' in token)))
    assert.ok(listed.find(({ name }) => name === 'gone')!.lastUsedAtMs! > Date.now() - 10_000)
    assert.equal(listed.find(({ name }) => name === 'brief')!.lastUsedAtMs, null)
    await admin.removeToken('shop', 'gone')
    assert.match(await refusal(as(gone.token).functions('shop')), /^401 unauthenticated/)
    await as(brief.token).functions('shop')
    await eventually(async () => assert.match(await refusal(as(brief.token).functions('shop')), /^401 unauthenticated: the token brief has expired/))
    assert.match(await refusal(admin.removeToken(null, 'admin')), /^409 conflict: admin is the server's own token/)
  })
})

describe('a function that asks for a token', () => {
  const echo = `export default { fetch: (request) => Response.json({ authorization: request.headers.get('authorization') }) }`

  it('is called with the scope invoke of its tenant only, and never sees the token', async () => {
    await admin.setQuotas('shop', { functions: null })
    await deployTo(admin, 'shop', 'closed', echo, { auth: 'token' })
    const invoker = await tokenFor('shop', 'invoker', ['invoke'])
    const bearer = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` })
    const none = await call('shop', 'closed')
    assert.equal(none.status, 401)
    assert.equal(none.headers.get('www-authenticate'), 'Bearer realm="hostel"')
    // What was answered is in force: no waiting.
    const opened = await call('shop', 'closed', bearer(invoker.token))
    assert.deepEqual([opened.status, opened.text], [200, '{"authorization":null}'])
    for (const other of [(await tokenFor('shop', 'only-deploys', ['deploy'])).token, (await tokenFor('other', 'invoker', ['invoke'])).token, 'hst_made-up'])
      assert.equal((await call('shop', 'closed', bearer(other))).status, 401)
    assert.equal((await call('shop', 'closed', bearer(server.token))).status, 200)
    await admin.removeToken('shop', 'invoker')
    assert.equal((await call('shop', 'closed', bearer(invoker.token))).status, 401)
  })

  it('is open again with the version that asks for none, which sees what it is sent but no token of ours', async () => {
    await deployTo(admin, 'shop', 'closed', echo, { auth: 'public' })
    assert.equal((await call('shop', 'closed', { authorization: 'Basic eA==' })).text, '{"authorization":"Basic eA=="}')
    assert.equal((await call('shop', 'closed', { authorization: `Bearer ${server.token}` })).text, '{"authorization":null}')
    const plan = await admin.planVersion('shop', 'closed', { code: '0'.repeat(64), auth: 'token' })
    assert.deepEqual(
      plan.changes.find(({ field }) => field === 'auth'),
      { field: 'auth', kind: 'added', to: 'token' },
    )
  })
})

describe('quotas', () => {
  it('of requests and sandboxes are enforced as soon as they are set', async () => {
    await admin.createTenant('small', {})
    const slow = `export default { fetch: async () => (await new Promise((resolve) => setTimeout(resolve, 100)), new Response('slow')) }`
    await deployTo(admin, 'small', 'slow', slow, { concurrency: 1 })
    await admin.setQuotas('small', { sandboxes: 1 })
    const answers = await Promise.all(Array.from({ length: 5 }, () => call('small', 'slow')))
    assert.deepEqual(
      answers.map(({ text }) => text),
      Array.from({ length: 5 }, () => 'slow'),
    )
    assert.equal((await admin.sandboxes('small')).filter(({ tenant }) => tenant === 'small').length, 1)
    // A deploy needs one too: the idle one goes.
    await deployTo(admin, 'small', 'next', saying('next'))
    assert.equal((await call('small', 'next')).text, 'next')

    await admin.setQuotas('small', { requestsPerSecond: 3 })
    const statuses = await Promise.all(Array.from({ length: 6 }, () => call('small', 'next')))
    assert.ok(statuses.filter(({ status }) => status === 200).length <= 4)
    const refused = statuses.find(({ status }) => status === 429)!
    assert.equal(refused.headers.get('retry-after'), '1')
    assert.match(refused.text, /tenant small is over its quota of 3 requests per second/)
    assert.equal((await call('shop', 'hello')).status, 200)
    await admin.setQuotas('small', { requestsPerSecond: null })
    assert.equal((await call('small', 'next')).status, 200)
    assert.deepEqual((await admin.tenant('small')).quotas, { functions: null, sandboxes: 1, memoryMiB: null, requestsPerSecond: null })
  })
})

describe('the audit log', () => {
  it('tells who changed what, from where, and how it was before', async () => {
    const ci = await tokenFor('shop', 'ci', ['deploy', 'admin'])
    await deployTo(as(ci.token), 'shop', 'hello', saying('audited'), { env: { PASSWORD: 'sesame' } })
    // Nothing is changed by these.
    await deployTo(as(ci.token), 'shop', 'hello', saying('audited'), { env: { PASSWORD: 'sesame' } })
    await refusal(as(ci.token).rollBack('shop', 'hello', 99))
    await as(ci.token).rollBack('shop', 'hello')
    const entries = (await admin.audit({ tenant: 'shop', limit: 1_000 })).filter(({ token }) => token === ci.id && token !== '')
    assert.deepEqual(
      entries.map(({ action, target, tokenName, address }) => [action, target, tokenName, address]).filter(([action]) => action !== 'putCode'),
      [
        ['rollBack', 'hello', 'ci', '127.0.0.1'],
        ['deploy', 'hello', 'ci', '127.0.0.1'],
      ],
    )
    const [back, deployed] = entries.filter(({ action }) => action !== 'putCode')
    const { version } = deployed!.after as { version: number }
    assert.deepEqual([back!.before, back!.after], [{ live: version }, { live: version - 1 }])
    assert.deepEqual([deployed!.before!['version'], deployed!.after!['envNames']], [version - 1, ['PASSWORD']])
    const all = JSON.stringify(await admin.audit({ limit: 10_000 }))
    assert.ok(!all.includes('sesame') && !all.includes(ci.token) && !all.includes('"hash"'))
  })

  it('shows a tenant its own part only', async () => {
    const own = await as((await tokenFor('other', 'chief', ['admin'])).token).audit({ limit: 1_000 })
    assert.ok(own.length > 0)
    assert.deepEqual([...new Set(own.map(({ tenant }) => tenant))], ['other'])
    const token = (await tokenFor('other', 'chief-2', ['admin'])).token
    assert.match(await refusal(as(token).audit({ tenant: 'shop', limit: 1 })), /^404 not_found: there is no tenant shop/)
    assert.match(await refusal(as((await tokenFor('other', 'plain', ['deploy'])).token).audit({ limit: 1 })), /^403 forbidden/)
    const since = Date.now()
    await admin.createTenant('last', {})
    assert.deepEqual(
      (await admin.audit({ since, limit: 10 })).map(({ action, tenant }) => [action, tenant]),
      [['createTenant', 'last']],
    )
  })
})
