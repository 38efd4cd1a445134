/** Tokens: of one tenant, and of all of them. */
import type { FastifyRequest } from 'fastify'

import type { TokenInfo } from '../../store/access.ts'
import { CreatedToken, NewToken, RemovedToken, ServerTokenParams, TokenParams, Tokens } from '../access-schemas.ts'
import type { ApiContext } from '../context.ts'
import { ListQuery, pageDefault, TenantParams } from '../schemas.ts'
import type { Api } from '../server.ts'

export function tokenRoutes(api: Api, context: ApiContext): void {
  const { store, tokens } = context

  async function list(tenant: string | null, query: { limit?: number; after?: string }) {
    const { limit = pageDefault, after = '' } = query
    const found = await store.access.tokens(tenant, { after, limit: limit + 1 })
    const shown = found.slice(0, limit)
    return { tokens: shown, next: found.length > limit ? shown.at(-1)!.name : null }
  }

  async function create(request: FastifyRequest, tenant: string | null, body: { name: string; scopes: TokenInfo['scopes']; expiresAtMs?: number }) {
    const { token, info } = await tokens.create({ tenant, name: body.name, scopes: body.scopes, expiresAtMs: body.expiresAtMs ?? null })
    request.change = { target: info.name, after: toldOf(info) }
    return { ...info, token }
  }

  async function remove(request: FastifyRequest, tenant: string | null, name: string) {
    request.change = { target: name, before: toldOf(await tokens.remove(tenant, name)) }
    return { tenant, name, removed: true as const }
  }

  api.get(
    '/v1/tenants/:tenant/tokens',
    {
      config: { needs: 'admin' },
      schema: {
        operationId: 'listTokens',
        summary: 'Tokens of a tenant',
        tags: ['tokens'],
        params: TenantParams,
        querystring: ListQuery,
        response: { 200: Tokens },
      },
    },
    async (request) => list(request.params.tenant, request.query),
  )
  api.post(
    '/v1/tenants/:tenant/tokens',
    {
      config: { needs: 'admin' },
      schema: {
        operationId: 'createToken',
        summary: 'Make a token of a tenant; the answer tells it, and nothing does so again',
        tags: ['tokens'],
        params: TenantParams,
        body: NewToken,
        response: { 200: CreatedToken },
      },
    },
    async (request) => create(request, request.params.tenant, request.body),
  )
  api.delete(
    '/v1/tenants/:tenant/tokens/:token',
    {
      config: { needs: 'admin' },
      schema: { operationId: 'deleteToken', summary: 'Take a token of a tenant back', tags: ['tokens'], params: TokenParams, response: { 200: RemovedToken } },
    },
    async (request) => remove(request, request.params.tenant, request.params.token),
  )

  api.get(
    '/v1/tokens',
    {
      config: { needs: 'server' },
      schema: { operationId: 'listServerTokens', summary: 'Tokens of all tenants', tags: ['tokens'], querystring: ListQuery, response: { 200: Tokens } },
    },
    async (request) => list(null, request.query),
  )
  api.post(
    '/v1/tokens',
    {
      config: { needs: 'server' },
      schema: {
        operationId: 'createServerToken',
        summary: 'Make a token of all tenants; the answer tells it, and nothing does so again',
        tags: ['tokens'],
        body: NewToken,
        response: { 200: CreatedToken },
      },
    },
    async (request) => create(request, null, request.body),
  )
  api.delete(
    '/v1/tokens/:token',
    {
      config: { needs: 'server' },
      schema: {
        operationId: 'deleteServerToken',
        summary: 'Take a token of all tenants back',
        tags: ['tokens'],
        params: ServerTokenParams,
        response: { 200: RemovedToken },
      },
    },
    async (request) => remove(request, null, request.params.token),
  )
}

/** What the audit log tells of a token. */
function toldOf({ id, name, scopes, expiresAtMs }: TokenInfo) {
  return { id, name, scopes, expiresAtMs }
}
