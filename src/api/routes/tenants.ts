/** Tenants and their quotas. */
import type { ApiContext } from '../context.ts'
import { NewTenant, QuotaChanges, RemovedTenant, RemoveTenantQuery, Tenant, Tenants } from '../access-schemas.ts'
import { ListQuery, pageDefault, TenantParams } from '../schemas.ts'
import type { Api } from '../server.ts'

export function tenantRoutes(api: Api, context: ApiContext): void {
  const { store, tenants } = context

  api.get(
    '/v1/tenants',
    {
      config: { needs: 'server' },
      schema: { operationId: 'listTenants', summary: 'Tenants by name', tags: ['tenants'], querystring: ListQuery, response: { 200: Tenants } },
    },
    async (request) => {
      const { limit = pageDefault, after = '' } = request.query
      const found = await store.tenants.list({ after, limit: limit + 1 })
      const shown = found.slice(0, limit)
      return { tenants: shown, next: found.length > limit ? shown.at(-1)!.name : null }
    },
  )

  api.post(
    '/v1/tenants',
    {
      config: { needs: 'server' },
      schema: { operationId: 'createTenant', summary: 'Make a tenant', tags: ['tenants'], body: NewTenant, response: { 200: Tenant } },
    },
    async (request) => {
      const { name, ...quotas } = request.body
      const tenant = await tenants.create(name, quotas)
      request.change = { tenant: name, target: name, after: tenant.quotas }
      return tenant
    },
  )

  api.get(
    '/v1/tenants/:tenant',
    {
      config: { needs: 'read' },
      schema: { operationId: 'getTenant', summary: 'A tenant with its quotas', tags: ['tenants'], params: TenantParams, response: { 200: Tenant } },
    },
    // The guard has seen that it exists.
    async (request) => (await store.tenants.get(request.params.tenant))!,
  )

  api.patch(
    '/v1/tenants/:tenant',
    {
      config: { needs: 'server' },
      schema: {
        operationId: 'setQuotas',
        summary: 'Change quotas of a tenant; those left out stay',
        description: 'They hold at once. What is there already stays: only idle sandboxes beyond a lower quota are ended.',
        tags: ['tenants'],
        params: TenantParams,
        body: QuotaChanges,
        response: { 200: Tenant },
      },
    },
    async (request) => {
      const { tenant } = request.params
      const { before, after } = await tenants.setQuotas(tenant, request.body)
      request.change = { target: tenant, before: before.quotas, after: after.quotas }
      return after
    },
  )

  api.delete(
    '/v1/tenants/:tenant',
    {
      config: { needs: 'server' },
      schema: {
        operationId: 'deleteTenant',
        summary: 'Remove a tenant with its tokens, logs and records; with `force`, with its functions too',
        tags: ['tenants'],
        params: TenantParams,
        querystring: RemoveTenantQuery,
        response: { 200: RemovedTenant },
      },
    },
    async (request) => {
      const { tenant } = request.params
      const before = await tenants.remove(tenant, request.query.force ?? false)
      request.change = { target: tenant, before: { functions: before.functions, tokens: before.tokens, quotas: before.quotas } }
      return { tenant, removed: true as const }
    },
  )
}
