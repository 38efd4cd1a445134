/** The audit log. */
import { HostelError } from '../../errors.ts'
import { Audit, AuditQuery } from '../access-schemas.ts'
import type { ApiContext } from '../context.ts'
import { pageDefault } from '../schemas.ts'
import type { Api } from '../server.ts'

export function auditRoutes(api: Api, context: ApiContext): void {
  api.get(
    '/v1/audit',
    {
      config: { needs: 'admin' },
      schema: {
        operationId: 'readAudit',
        summary: 'Changes that were made through the API, newest first',
        description: 'A token of one tenant sees what was changed in that tenant.',
        tags: ['audit'],
        querystring: AuditQuery,
        response: { 200: Audit },
      },
    },
    async (request) => {
      const { limit = pageDefault, before, since, tenant: wanted } = request.query
      const own = request.token!.tenant
      if (wanted !== undefined && own !== null && wanted !== own) throw new HostelError('not_found', `there is no tenant ${wanted}`)
      const tenant = wanted ?? own
      // One more than asked for tells whether there is a next page.
      const found = await context.store.audit.list({
        limit: limit + 1,
        ...(tenant !== null && { tenant }),
        ...(since !== undefined && { sinceMs: since }),
        ...(before !== undefined && { before }),
      })
      const shown = found.slice(0, limit)
      return { entries: shown, next: found.length > limit ? shown.at(-1)!.id : null }
    },
  )
}
