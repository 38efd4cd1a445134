/** Secrets: set, listed by name, removed; never given back. */
import type { ApiContext } from '../context.ts'
import { NewSecret, RemovedSecret, RemoveSecretQuery, RotatedKey, Secret, SecretParams, Secrets, TenantParams } from '../schemas.ts'
import type { Api } from '../server.ts'

export function secretRoutes(api: Api, context: ApiContext): void {
  const { secrets } = context

  api.get(
    '/v1/tenants/:tenant/secrets',
    {
      config: { needs: 'read' },
      schema: {
        operationId: 'listSecrets',
        summary: 'Names of secrets, when they were set and what uses them; no values',
        tags: ['secrets'],
        params: TenantParams,
        response: { 200: Secrets },
      },
    },
    async (request) => ({ secrets: await secrets.list(request.params.tenant) }),
  )

  api.put(
    '/v1/tenants/:tenant/secrets/:name',
    {
      config: { needs: 'deploy' },
      schema: {
        operationId: 'setSecret',
        summary: 'Set a secret, new or in place of its value before',
        description:
          'Functions that name it get the new value with the next call: their warm sandboxes with the old one finish what they have in hand and end. The value is kept sealed and never given back.',
        tags: ['secrets'],
        params: SecretParams,
        body: NewSecret,
        response: { 200: Secret },
      },
    },
    async (request) => secrets.set(request.params.tenant, request.params.name, request.body.value),
  )

  api.delete(
    '/v1/tenants/:tenant/secrets/:name',
    {
      config: { needs: 'deploy' },
      schema: {
        operationId: 'deleteSecret',
        summary: 'Remove a secret',
        description: 'Refused (409) while an alias points at a version that names it, unless `force` is true: then such functions go on without that variable.',
        tags: ['secrets'],
        params: SecretParams,
        querystring: RemoveSecretQuery,
        response: { 200: RemovedSecret },
      },
    },
    async (request) => {
      const { tenant, name } = request.params
      const { usedBy } = await secrets.remove(tenant, name, { force: request.query.force ?? false })
      return { tenant, name, removed: true as const, usedBy }
    },
  )

  api.post(
    '/v1/secrets/rotate-key',
    {
      config: { needs: 'server' },
      schema: {
        operationId: 'rotateSecretsKey',
        summary: 'Seal the secrets of all tenants with a new key, and remove the old one',
        tags: ['secrets'],
        response: { 200: RotatedKey },
      },
    },
    async () => ({ secrets: await secrets.rotateKey() }),
  )
}
