/** The log of a build while it runs, as a stream of JSON lines. */
import { once } from 'node:events'
import { Type } from 'typebox'

import type { ApiContext } from '../context.ts'
import { BuildParams } from '../build-schemas.ts'
import type { Api } from '../server.ts'

/** A reader that takes nothing for so long is gone, or as good as. */
const STUCK_READER_MS = 60_000

export function buildRoutes(api: Api, context: ApiContext): void {
  api.get(
    '/v1/tenants/:tenant/builds/:build/log',
    {
      config: { needs: 'deploy' },
      schema: {
        operationId: 'followBuild',
        summary: 'Lines of the log of a build as they come, one JSON object a line (see BuildLine)',
        description:
          'The build is the one of the deploy that named it so, which may begin up to three seconds later. Ends with the build; is empty where none was needed. ' +
          'It can be read for half a minute after the end.',
        tags: ['functions'],
        params: BuildParams,
        produces: ['application/x-ndjson'],
        response: { 200: Type.String({ description: 'one BuildLine a line' }) },
      },
    },
    async (request, reply) => {
      const { tenant, build } = request.params
      const gone = new AbortController()
      reply.raw.once('close', () => gone.abort())
      reply.hijack()
      reply.raw.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store', connection: 'close' })
      reply.raw.flushHeaders()
      try {
        for await (const line of context.buildLogs.follow(tenant, build, gone.signal)) {
          if (!reply.raw.write(`${JSON.stringify(line)}\n`))
            await once(reply.raw, 'drain', { signal: AbortSignal.any([gone.signal, AbortSignal.timeout(STUCK_READER_MS)]) })
        }
        reply.raw.end()
      } catch {
        // Only a reader that is gone or stuck.
        reply.raw.destroy()
      }
    },
  )
}
