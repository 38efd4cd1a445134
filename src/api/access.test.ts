import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'

import type { Scope } from '../functions/types.ts'
import type { Needs } from './guard.ts'
import type { Api } from './server.ts'
import { ADMIN_TOKEN, startTestApi } from './testing/api.ts'

/**
 * Who may call what. A route that is not listed must need `admin` in its tenant, or `server`: what is open to more is said here, too.
 */
const NEEDS: Record<string, Needs> = {
  'GET /v1/system': 'any',
  'GET /v1/runtimes': 'any',
  'GET /metrics': 'read',
  'PUT /v1/tenants/:tenant/code': 'deploy',
  'POST /v1/tenants/:tenant/functions/:name/versions': 'deploy',
  'POST /v1/tenants/:tenant/functions/:name/plan': 'deploy',
  'POST /v1/tenants/:tenant/functions/:name/rollback': 'deploy',
  'DELETE /v1/tenants/:tenant/functions/:name/versions/:version': 'deploy',
  'DELETE /v1/tenants/:tenant/functions/:name': 'deploy',
  'GET /v1/tenants/:tenant/functions': 'read',
  'GET /v1/tenants/:tenant/functions/:name': 'read',
  'GET /v1/tenants/:tenant/functions/:name/versions': 'read',
  'GET /v1/tenants/:tenant/functions/:name/versions/:version': 'read',
  'GET /v1/tenants/:tenant/functions/:name/logs': 'read',
  'GET /v1/tenants/:tenant/functions/:name/egress': 'read',
  'GET /v1/tenants/:tenant/invocations': 'read',
  'GET /v1/tenants/:tenant/invocations/:id': 'read',
  'GET /v1/tenants/:tenant/sandboxes': 'read',
  'GET /v1/tenants/:tenant/builds/:build/log': 'deploy',
  'GET /v1/tenants/:tenant': 'read',
  'PATCH /v1/tenants/:tenant': 'server',
  'DELETE /v1/tenants/:tenant': 'server',
  'GET /v1/tenants/:tenant/secrets': 'read',
  'PUT /v1/tenants/:tenant/secrets/:name': 'deploy',
  'DELETE /v1/tenants/:tenant/secrets/:name': 'deploy',
  'GET /v1/audit': 'admin',
}

const SCOPES: Scope[] = ['read', 'deploy', 'invoke', 'admin']

/** Said once more, apart from the code that is tested. */
const SUFFICES: Record<Needs, Scope[]> = {
  any: SCOPES,
  read: ['read', 'deploy', 'admin'],
  deploy: ['deploy', 'admin'],
  invoke: ['invoke', 'admin'],
  admin: ['admin'],
  server: [],
}

interface Route {
  method: string
  url: string
  needs: Needs
}

describe('a token', () => {
  const routes: Route[] = []
  /** By owner (`a`, `b`, `all`) and scope. */
  const tokens = new Map<string, string>()
  let api: Api
  let close: () => Promise<void>

  before(async () => {
    const started = await startTestApi((route) => {
      if (route.config?.public) return
      for (const method of [route.method].flat()) {
        const fallback = route.url.includes(':tenant') ? 'admin' : 'server'
        routes.push({ method, url: route.url, needs: NEEDS[`${method} ${route.url}`] ?? fallback })
      }
      // Who is let in gets no further, so that nothing is changed.
      route.preValidation = (_request, reply) => void reply.code(204).send()
    })
    ;({ api, close } = started)
    const { context } = started
    for (const tenant of ['a', 'b']) await context.tenants.create(tenant, {})
    for (const [owner, tenant] of [
      ['a', 'a'],
      ['b', 'b'],
      ['all', null],
    ] as const)
      for (const scope of SCOPES)
        tokens.set(`${owner} ${scope}`, (await context.tokens.create({ tenant, name: `only-${scope}`, scopes: [scope], expiresAtMs: null })).token)
    tokens.set('server', ADMIN_TOKEN)
    const soon = await context.tokens.create({ tenant: null, name: 'soon-over', scopes: ['admin'], expiresAtMs: Date.now() + 200 })
    await new Promise((resolve) => setTimeout(resolve, 250))
    tokens.set('expired', soon.token)
  })
  after(() => close())

  async function call(route: Route, token: string | undefined, tenant = 'a'): Promise<{ status: number; code?: string; body: string }> {
    const url = route.url.replace(':tenant', tenant).replaceAll(/:[a-z]+/g, 'x1')
    const answer = await api.inject({ method: route.method as 'GET', url, headers: token === undefined ? {} : { authorization: `Bearer ${token}` } })
    return { status: answer.statusCode, body: answer.body, ...(answer.body !== '' && { code: answer.json<{ code: string }>().code }) }
  }

  it('that is none, or has expired, opens nothing', async () => {
    assert.ok(routes.length >= 25)
    for (const route of routes)
      for (const token of [undefined, 'hst_of-nobody', tokens.get('expired')]) {
        const { status, code } = await call(route, token)
        assert.deepEqual([status, code], [401, 'unauthenticated'], `${route.method} ${route.url}`)
      }
  })

  it('of a tenant does there what its scope allows, and no more', async () => {
    for (const route of routes)
      for (const scope of SCOPES) {
        const { status } = await call(route, tokens.get(`a ${scope}`))
        assert.equal(status, SUFFICES[route.needs].includes(scope) ? 204 : 403, `${route.method} ${route.url} with ${scope}`)
      }
  })

  it("reaches nothing of another tenant's, and learns not even whether it is there", async () => {
    const inTenants = routes.filter(({ url }) => url.includes(':tenant'))
    assert.ok(inTenants.length >= 18)
    for (const route of inTenants)
      for (const scope of SCOPES) {
        const there = await call(route, tokens.get(`b ${scope}`))
        assert.deepEqual([there.status, there.code], [404, 'not_found'], `${route.method} ${route.url} with ${scope} of another tenant`)
        const nowhere = await call(route, tokens.get(`b ${scope}`), 'nobody')
        assert.equal(there.body, nowhere.body.replaceAll('nobody', 'a'), `${route.method} ${route.url}`)
      }
  })

  it('of all tenants does in each what its scope allows; what is about all of them takes admin', async () => {
    for (const route of routes) {
      for (const scope of SCOPES) {
        const suffices = route.needs === 'server' ? scope === 'admin' : SUFFICES[route.needs].includes(scope)
        assert.equal((await call(route, tokens.get(`all ${scope}`))).status, suffices ? 204 : 403, `${route.method} ${route.url} with ${scope}`)
      }
      assert.equal((await call(route, tokens.get('server'))).status, 204, `${route.method} ${route.url}`)
    }
  })
})
