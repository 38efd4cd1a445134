/** The server itself: health, what it is and what it can run. */
import { limits, MEMORY_CLASSES_MIB } from '../../limits.ts'
import { manifestSchema } from '../../manifest/schema.ts'
import type { ApiContext } from '../context.ts'
import { Health, Runtimes, System } from '../schemas.ts'
import type { Api } from '../server.ts'

export function systemRoutes(api: Api, context: ApiContext): void {
  const { system, gateway, urls } = context

  api.get(
    '/healthz',
    {
      config: { public: true },
      schema: { operationId: 'getHealth', summary: 'Whether the control API answers', tags: ['system'], response: { 200: Health }, security: [] },
    },
    async () => ({ status: 'ok' as const }),
  )

  // For editors, which name it in a hostel.yaml and have no token.
  api.get('/hostel.schema.json', { config: { public: true }, schema: { hide: true } }, async () => manifestSchema())

  api.get(
    '/v1/system',
    {
      config: { needs: 'any' },
      schema: { operationId: 'getSystem', summary: 'Version, addresses, runtimes and limits', tags: ['system'], response: { 200: System } },
    },
    async () => ({
      version: system.version,
      gatewayUrl: urls.gateway,
      apiUrl: system.apiUrl,
      domain: system.domain,
      gatewayConnected: gateway.connected,
      runtimes: system.runtimes,
      limits: {
        codeArchiveMaxBytes: limits.codeArchiveMaxBytes,
        codeUnpackedMaxBytes: limits.codeUnpackedMaxBytes,
        codeMaxEntries: limits.codeMaxEntries,
        memoryClassesMiB: [...MEMORY_CLASSES_MIB],
        memoryBudgetMiB: system.memoryBudgetMiB,
        maxSandboxes: system.maxSandboxes,
        timeoutMaxMs: limits.timeoutMaxMs,
        concurrencyMax: limits.concurrencyMax,
        requestBodyMaxBytes: limits.requestBodyMaxBytes,
      },
    }),
  )

  api.get(
    '/v1/runtimes',
    { config: { needs: 'any' }, schema: { operationId: 'listRuntimes', summary: 'Installed runtimes', tags: ['system'], response: { 200: Runtimes } } },
    async () => ({ runtimes: system.runtimes }),
  )
}
