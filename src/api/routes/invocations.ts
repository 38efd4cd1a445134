/** Records of invocations. */
import { HostelError } from '../../errors.ts'
import { explainRecord } from '../../functions/explain.ts'
import type { ApiContext } from '../context.ts'
import { InvocationDetail, InvocationParams, Invocations, InvocationsQuery, pageDefault, TenantParams } from '../schemas.ts'
import type { Api } from '../server.ts'

export function invocationRoutes(api: Api, context: ApiContext): void {
  const { records } = context.store

  api.get(
    '/v1/tenants/:tenant/invocations',
    {
      config: { needs: 'read' },
      schema: {
        operationId: 'listInvocations',
        summary: 'Invocations, newest first',
        tags: ['invocations'],
        params: TenantParams,
        querystring: InvocationsQuery,
        response: { 200: Invocations },
      },
    },
    async (request) => {
      const { limit = pageDefault, before } = request.query
      // One more than asked for tells whether there is a next page.
      const found = await records.list({
        tenant: request.params.tenant,
        limit: limit + 1,
        ...(request.query.function && { function: request.query.function }),
        ...(before && { before }),
      })
      const shown = found.slice(0, limit)
      return { invocations: shown, next: found.length > limit ? shown.at(-1)!.id : null }
    },
  )

  api.get(
    '/v1/tenants/:tenant/invocations/:id',
    {
      config: { needs: 'read' },
      schema: {
        operationId: 'getInvocation',
        summary: 'What became of an invocation, explained',
        tags: ['invocations'],
        params: InvocationParams,
        response: { 200: InvocationDetail },
      },
    },
    async (request) => {
      const { tenant, id } = request.params
      const record = await records.get(tenant, id)
      if (!record) throw new HostelError('not_found', 'there is no such invocation; it is recorded within a second of its end, and records are kept for 7 days')
      return { ...record, explanation: explainRecord(record), logLines: await records.countLines(tenant, id) }
    },
  )
}
