/** Sandboxes as the gateway has them now. */
import type { ApiContext } from '../context.ts'
import { Sandboxes, TenantParams } from '../schemas.ts'
import type { Api } from '../server.ts'

export function sandboxRoutes(api: Api, context: ApiContext): void {
  api.get(
    '/v1/tenants/:tenant/sandboxes',
    {
      config: { needs: 'read' },
      schema: {
        operationId: 'listSandboxes',
        summary: 'Sandboxes of this tenant, and the spares for tokens of all tenants',
        tags: ['sandboxes'],
        params: TenantParams,
        response: { 200: Sandboxes },
      },
    },
    async (request) => {
      const seesSpares = request.token?.tenant === null
      const all = await context.gateway.sandboxes()
      return { sandboxes: all.filter(({ tenant }) => tenant === request.params.tenant || (tenant === null && seesSpares)) }
    },
  )
}
