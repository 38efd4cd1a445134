/** Functions and their versions. */
import { performance } from 'node:perf_hooks'

import { LIVE_ALIAS } from '../../functions/names.ts'
import { unknownFunction } from '../../functions/versions.ts'
import type { StoredVersion } from '../../store/functions.ts'
import { BuildQuery } from '../build-schemas.ts'
import type { ApiContext } from '../context.ts'
import { Deployed, FunctionDetail, FunctionParams, Functions, ListQuery, NewVersion, pageDefault, Plan, Removed, TenantParams } from '../schemas.ts'
import type { Api } from '../server.ts'

const HOUR_MS = 3_600_000

export function functionRoutes(api: Api, context: ApiContext): void {
  const { store, deployer, urls } = context

  api.post(
    '/v1/tenants/:tenant/functions/:name/versions',
    {
      config: { needs: 'deploy' },
      schema: {
        operationId: 'deploy',
        summary: 'Make a version of uploaded code, start it once, and make it live',
        description:
          'Installs what the code depends on first, where it brings manifests and no installed packages (422 with the reason when that fails). ' +
          "Answers when the version has started. One that fails to start is not kept (422 with the function's own error), and what was live stays so.",
        tags: ['functions'],
        params: FunctionParams,
        querystring: BuildQuery,
        body: NewVersion,
        response: { 200: Deployed },
      },
    },
    async (request) => {
      const startMs = performance.now()
      const { tenant, name } = request.params
      const { version, before, unchanged, initMs } = await deployer.deploy(tenant, name, request.body, { build: request.query.build })
      request.change = unchanged ? 'none' : { before: before && shownVersion(before), after: shownVersion(version) }
      return {
        tenant,
        function: name,
        unchanged,
        ...shownVersion(version),
        urls: urls.of(tenant, name),
        timings: { initMs, totalMs: performance.now() - startMs },
      }
    },
  )

  api.post(
    '/v1/tenants/:tenant/functions/:name/plan',
    {
      config: { needs: 'deploy', changesNothing: true },
      schema: {
        operationId: 'planDeploy',
        summary: 'What a deploy of this version would change; changes nothing',
        description:
          'The code need not be uploaded yet: its digest is enough. Runtime and handler are left out of the changes then, where they are to be found in the code.',
        tags: ['functions'],
        params: FunctionParams,
        body: NewVersion,
        response: { 200: Plan },
      },
    },
    async (request) => deployer.plan(request.params.tenant, request.params.name, request.body),
  )

  api.get(
    '/v1/tenants/:tenant/functions',
    {
      config: { needs: 'read' },
      schema: {
        operationId: 'listFunctions',
        summary: 'Functions by name',
        tags: ['functions'],
        params: TenantParams,
        querystring: ListQuery,
        response: { 200: Functions },
      },
    },
    async (request) => {
      const { tenant } = request.params
      const limit = request.query.limit ?? pageDefault
      // One more than asked for tells whether there is a next page.
      const found = await store.functions.list(tenant, LIVE_ALIAS, { after: request.query.after ?? '', limit: limit + 1 })
      const shown = found.slice(0, limit)
      return {
        functions: shown.map(({ version, ...rest }) => ({ ...rest, live: version, urls: urls.of(tenant, rest.name) })),
        next: found.length > limit ? shown.at(-1)!.name : null,
      }
    },
  )

  api.get(
    '/v1/tenants/:tenant/functions/:name',
    {
      config: { needs: 'read' },
      schema: {
        operationId: 'getFunction',
        summary: 'A function with its versions and how it fared lately',
        tags: ['functions'],
        params: FunctionParams,
        response: { 200: FunctionDetail },
      },
    },
    async (request) => {
      const { tenant, name } = request.params
      const found = await store.functions.get(tenant, name)
      if (!found) throw unknownFunction(tenant, name)
      return {
        tenant,
        name,
        createdAtMs: found.createdAtMs,
        aliases: found.aliases,
        versions: found.versions.map(shownVersion),
        urls: urls.of(tenant, name),
        lastHour: await store.records.countSince(tenant, name, Date.now() - HOUR_MS),
      }
    },
  )

  api.delete(
    '/v1/tenants/:tenant/functions/:name',
    {
      config: { needs: 'deploy' },
      schema: {
        operationId: 'deleteFunction',
        summary: 'Remove a function with all its versions',
        tags: ['functions'],
        params: FunctionParams,
        response: { 200: Removed },
      },
    },
    async (request) => {
      const { tenant, name } = request.params
      const found = await store.functions.get(tenant, name)
      if (!found || !(await deployer.remove(tenant, name))) throw unknownFunction(tenant, name)
      request.change = { before: { aliases: found.aliases, versions: found.versions.map(({ version }) => version) } }
      return { tenant, name, removed: true as const }
    },
  )
}

/** A version as it is given out: without the values of its environment. */
export function shownVersion(version: StoredVersion) {
  const { tenant: _tenant, function: _function, env, ...shown } = version
  return { ...shown, auth: shown.auth ?? ('public' as const), envNames: Object.keys(env) }
}
