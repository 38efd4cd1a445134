/** Versions of a function, and going back to one. */
import { performance } from 'node:perf_hooks'

import { unknownFunction, versionOf } from '../../functions/versions.ts'
import type { StoredFunction, StoredVersion } from '../../store/functions.ts'
import { limits } from '../../limits.ts'
import type { ApiContext } from '../context.ts'
import { FunctionParams, ListedVersion, pageDefault, RemovedVersion, Rollback, RolledBack, VersionParams, Versions, VersionsQuery } from '../schemas.ts'
import type { Api } from '../server.ts'
import { shownVersion } from './functions.ts'

export function versionRoutes(api: Api, context: ApiContext): void {
  const { store, deployer } = context

  async function existing(tenant: string, name: string): Promise<StoredFunction> {
    const found = await store.functions.get(tenant, name)
    if (!found) throw unknownFunction(tenant, name)
    return found
  }

  api.get(
    '/v1/tenants/:tenant/functions/:name/versions',
    {
      config: { needs: 'read' },
      schema: {
        operationId: 'listVersions',
        summary: 'Versions of a function, newest first',
        description: `The ${limits.versionsPerFunctionMax} newest versions are kept, and those that an alias needs.`,
        tags: ['functions'],
        params: FunctionParams,
        querystring: VersionsQuery,
        response: { 200: Versions },
      },
    },
    async (request) => {
      const { limit = pageDefault, before = Number.POSITIVE_INFINITY } = request.query
      const found = await existing(request.params.tenant, request.params.name)
      const fitting = found.versions.filter(({ version }) => version < before)
      const shown = fitting.slice(0, limit)
      return { versions: shown.map((version) => listed(found, version)), next: fitting.length > limit ? shown.at(-1)!.version : null }
    },
  )

  api.get(
    '/v1/tenants/:tenant/functions/:name/versions/:version',
    {
      config: { needs: 'read' },
      schema: {
        operationId: 'getVersion',
        summary: 'One version of a function',
        tags: ['functions'],
        params: VersionParams,
        response: { 200: ListedVersion },
      },
    },
    async (request) => {
      const found = await existing(request.params.tenant, request.params.name)
      return listed(found, versionOf(found, request.params.version))
    },
  )

  api.delete(
    '/v1/tenants/:tenant/functions/:name/versions/:version',
    {
      config: { needs: 'deploy' },
      schema: {
        operationId: 'deleteVersion',
        summary: 'Remove a version that no alias needs',
        tags: ['functions'],
        params: VersionParams,
        response: { 200: RemovedVersion },
      },
    },
    async (request) => {
      const { tenant, name, version } = request.params
      request.change = { before: shownVersion(await deployer.removeVersion(tenant, name, version)) }
      return { tenant, function: name, version, removed: true as const }
    },
  )

  api.post(
    '/v1/tenants/:tenant/functions/:name/rollback',
    {
      config: { needs: 'deploy' },
      schema: {
        operationId: 'rollBack',
        summary: 'Make the version that was live before live again, or the one given',
        description:
          'Without `to` it goes back by history, not by number, and the next one goes further back. Answers when the version has a warm sandbox and is live; ' +
          'when it does not start (422), what was live stays so.',
        tags: ['functions'],
        params: FunctionParams,
        body: Rollback,
        response: { 200: RolledBack },
      },
    },
    async (request) => {
      const startMs = performance.now()
      const { tenant, name } = request.params
      const { from, version, unchanged } = await deployer.rollBack(tenant, name, request.body.to)
      request.change = unchanged ? 'none' : { before: { live: from }, after: { live: version.version } }
      return { tenant, function: name, from, version: version.version, unchanged, totalMs: performance.now() - startMs }
    },
  )
}

function listed(found: StoredFunction, version: StoredVersion) {
  const aliases = Object.keys(found.aliases).filter((alias) => found.aliases[alias] === version.version)
  return { ...shownVersion(version), aliases }
}
