import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'

import type { Api } from './server.ts'
import { ADMIN_TOKEN as TOKEN, startTestApi } from './testing/api.ts'

/** What answers without a token, and why that is no harm. */
const PUBLIC = {
  'GET /healthz': 'says that the API answers, which anyone sees who connects',
  'GET /readyz': 'says which parts of the server are there, for load balancers, which have no tokens',
  'GET /openapi.json': 'is in the source',
  'GET /hostel.schema.json': 'is in the source',
}

describe('every route', () => {
  const routes: { method: string; url: string }[] = []
  let api: Api
  let close: () => Promise<void>

  before(async () => {
    ;({ api, close } = await startTestApi((route) => routes.push(...[route.method].flat().map((method) => ({ method, url: route.url })))))
  })
  after(() => close())

  const fill = (url: string): string =>
    url
      .replace(':tenant', 'default')
      .replace(':name', 'hello')
      .replace(':version', '1')
      .replace(':token', 'ci')
      .replace(':id', '01890000-0000-7000-8000-000000000000')

  it('asks for a token, but for those listed as public', async () => {
    assert.ok(routes.length >= 12)
    for (const { method, url } of routes) {
      for (const authorization of [undefined, 'Bearer ', 'Bearer wrong', `Basic ${TOKEN}`, TOKEN, `Bearer ${TOKEN}x`]) {
        const answer = await api.inject({ method: method as 'GET', url: fill(url), headers: authorization ? { authorization } : {} })
        assert.equal(answer.statusCode, `${method} ${url}` in PUBLIC ? 200 : 401, `${method} ${url} with ${authorization}`)
        if (answer.statusCode === 401) assert.equal(answer.json<{ code: string }>().code, 'unauthenticated')
      }
    }
  })

  it('knows the token', async () => {
    for (const { method, url } of routes) {
      const answer = await api.inject({ method: method as 'GET', url: fill(url), headers: { authorization: `Bearer ${TOKEN}` } })
      assert.notEqual(answer.statusCode, 401, `${method} ${url}`)
    }
  })

  it('with a tenant in its path knows only tenants that exist', async () => {
    const withTenant = routes.filter(({ url }) => url.includes(':tenant'))
    assert.ok(withTenant.length >= 9)
    for (const { method, url } of withTenant) {
      const answer = await api.inject({ method: method as 'GET', url: fill(url).replace('default', 'nobody'), headers: { authorization: `Bearer ${TOKEN}` } })
      assert.equal(answer.statusCode, 404, `${method} ${url}`)
    }
  })

  it('answers only to Host headers that cannot have been rebound', async () => {
    const statusFor = async (host: string, url = '/healthz'): Promise<number> => (await api.inject({ url, headers: { host } })).statusCode
    for (const host of ['localhost', 'LOCALHOST:8081', '127.0.0.1:8081', '[::1]:8081', '192.168.1.7', 'hostel.example:8081'])
      assert.equal(await statusFor(host), 200, host)
    for (const host of ['evil.example', 'localhost.evil.example:8081', '127.0.0.1.evil.example', 'hello.default.localhost', '[evil]']) {
      assert.equal(await statusFor(host), 400, host)
      assert.equal(await statusFor(host, '/v1/system'), 400, host)
    }
  })

  it('that does not exist says so to those with a token only', async () => {
    assert.equal((await api.inject({ url: '/nothing' })).statusCode, 401)
    const answer = await api.inject({ url: '/nothing?x=1', headers: { authorization: `Bearer ${TOKEN}` } })
    assert.equal(answer.statusCode, 404)
    assert.match(String(answer.headers['content-type']), /^application\/problem\+json/)
  })
})
