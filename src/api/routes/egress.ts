/** Attempts to leave sandboxes. */
import { unknownFunction } from '../../functions/versions.ts'
import type { ApiContext } from '../context.ts'
import { EgressAttempts, EgressQuery, FunctionParams, pageDefault } from '../schemas.ts'
import type { Api } from '../server.ts'

export function egressRoutes(api: Api, context: ApiContext): void {
  const { records, functions } = context.store

  api.get(
    '/v1/tenants/:tenant/functions/:name/egress',
    {
      config: { needs: 'read' },
      schema: {
        operationId: 'listEgress',
        summary: "A function's attempts to reach something outside, newest first",
        description:
          'Recorded when they are over, or have stood for half a second. They are kept as long as invocations are, also after the function is removed.',
        tags: ['functions'],
        params: FunctionParams,
        querystring: EgressQuery,
        response: { 200: EgressAttempts },
      },
    },
    async (request) => {
      const { tenant, name } = request.params
      const { limit = pageDefault, before } = request.query
      // One more than asked for tells whether there is a next page.
      const found = await records.egress({ tenant, function: name, limit: limit + 1, ...(before && { before }) })
      if (found.length === 0 && !(await functions.get(tenant, name))) throw unknownFunction(tenant, name)
      const shown = found.slice(0, limit)
      return { attempts: shown, next: found.length > limit ? shown.at(-1)!.id : null }
    },
  )
}
