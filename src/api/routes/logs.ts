/** A function's log, as a stream of JSON lines. */
import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { Type } from 'typebox'

import { HostelError } from '../../errors.ts'
import type { LogLine as Line } from '../../functions/types.ts'
import { unknownFunction } from '../../functions/versions.ts'
import type { ApiContext } from '../context.ts'
import { FunctionParams, logPageDefault, LogsQuery } from '../schemas.ts'
import type { Api } from '../server.ts'

/** A reader that takes nothing for so long is gone, or as good as. */
const STUCK_READER_MS = 60_000

export function logRoutes(api: Api, context: ApiContext): void {
  const { store, logs } = context

  api.get(
    '/v1/tenants/:tenant/functions/:name/logs',
    {
      config: { needs: 'read' },
      schema: {
        operationId: 'readLogs',
        summary: "Lines of a function's log in order, one JSON object a line (see LogLine)",
        description:
          'The newest `limit` lines that fit, and with `follow` those that come, until the reader goes. With `all` every line that is kept, for export. `since` (the first that is wanted) and `until` (the first that is not; with `all`) are times in epoch milliseconds.',
        tags: ['invocations'],
        params: FunctionParams,
        querystring: LogsQuery,
        produces: ['application/x-ndjson'],
        response: { 200: Type.String({ description: 'one LogLine a line' }) },
      },
    },
    async (request, reply) => {
      const { tenant, name } = request.params
      const { since, until, invocation, follow = false, all = false, limit = logPageDefault } = request.query
      if (all && (follow || invocation !== undefined)) throw new HostelError('invalid_input', 'all goes with neither follow nor invocation')
      if (!all && until !== undefined) throw new HostelError('invalid_input', 'until goes with all')
      if (!(await store.functions.get(tenant, name))) throw unknownFunction(tenant, name)
      const gone = new AbortController()
      reply.raw.once('close', () => gone.abort())
      const exported = { tenant, function: name, sinceMs: since ?? 0, untilMs: until ?? Number.MAX_SAFE_INTEGER }
      const lines = all
        ? logs.export(exported, gone.signal)
        : logs.read(
            { tenant, function: name, limit, follow, ...(since !== undefined && { sinceMs: since }), ...(invocation !== undefined && { invocation }) },
            gone.signal,
          )
      reply.hijack()
      // A connection that followed is not for reuse, so that it never stands idle in the way of a stop.
      reply.raw.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store', ...(follow && { connection: 'close' }) })
      reply.raw.flushHeaders()
      try {
        for await (const portion of lines) await send(reply.raw, portion, gone.signal)
        reply.raw.end()
      } catch (error) {
        // Too late for a status: a stream that breaks off is how the reader learns.
        if (!gone.signal.aborted) context.logger.error({ err: error }, 'reading logs failed')
        reply.raw.destroy()
      }
    },
  )
}

/** Waits while the reader has not taken what was sent. */
async function send(response: ServerResponse, lines: readonly Line[], gone: AbortSignal): Promise<void> {
  if (lines.length === 0) return
  const text = lines.map((line) => JSON.stringify(line)).join('\n')
  if (response.write(`${text}\n`)) return
  await once(response, 'drain', { signal: AbortSignal.any([gone, AbortSignal.timeout(STUCK_READER_MS)]) })
}
