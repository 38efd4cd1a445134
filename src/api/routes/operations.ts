/** For those who watch the server: readiness and figures. */
import { Type } from 'typebox'

import { EXPOSITION_CONTENT_TYPE } from '../../telemetry/exposition.ts'
import { DEFAULT_TENANT } from '../../functions/names.ts'
import type { ApiContext } from '../context.ts'
import { Readiness } from '../schemas.ts'
import type { Api } from '../server.ts'

export function operationRoutes(api: Api, context: ApiContext): void {
  api.get(
    '/readyz',
    {
      config: { public: true },
      schema: {
        operationId: 'getReadiness',
        summary: 'Whether all parts of the server are there; 503 when one is not',
        tags: ['system'],
        response: { 200: Readiness, 503: Readiness },
        security: [],
      },
    },
    async (_request, reply) => {
      const parts = { store: await isStoreThere(context), gateway: context.gateway.connected, keeper: context.keeper.connected }
      const ready = Object.values(parts).every(Boolean)
      reply.code(ready ? 200 : 503)
      return { status: ready ? ('ready' as const) : ('not_ready' as const), parts }
    },
  )

  api.get(
    '/metrics',
    {
      config: { needs: 'read' },
      schema: {
        operationId: 'readMetrics',
        summary: 'Figures in the format of Prometheus; a token of a tenant sees those of its functions',
        tags: ['system'],
        produces: ['text/plain'],
        response: { 200: Type.String({ description: 'see docs/reference/metrics.md' }) },
      },
    },
    async (request, reply) => {
      const text = await context.figures.text(request.token!.tenant)
      reply.header('cache-control', 'no-store').type(EXPOSITION_CONTENT_TYPE)
      return text
    },
  )
}

async function isStoreThere({ store }: ApiContext): Promise<boolean> {
  try {
    await store.tenants.exists(DEFAULT_TENANT)
    return true
  } catch {
    return false
  }
}
