/** A backup of everything, streamed as it is made. */
import type { Readable } from 'node:stream'
import { Type } from 'typebox'

import type { ApiContext } from '../context.ts'
import { NewBackup } from '../schemas.ts'
import type { Api } from '../server.ts'

export function backupRoutes(api: Api, context: ApiContext): void {
  api.post(
    '/v1/backup',
    {
      config: { needs: 'server' },
      schema: {
        operationId: 'backup',
        summary: 'All that the server keeps, as one archive: what is deployed, code, tokens, secrets, records and logs',
        description:
          'Of one moment, while the server goes on. The archive breaks off when something goes wrong, and is whole only with its `manifest.json` at the end. ' +
          'Without a passphrase it holds the key that opens the secrets.',
        tags: ['system'],
        body: NewBackup,
        produces: ['application/gzip'],
        response: { 200: Type.Unsafe<Readable>({ type: 'string', format: 'binary', description: 'a tar archive, gzipped' }) },
      },
    },
    async (request, reply) => {
      const { logs = true, passphrase } = request.body
      const stream = context.backups.start({ logs, ...(passphrase !== undefined && { passphrase }) })
      stream.once('error', (error) => context.logger.error({ err: error }, 'a backup broke off'))
      return reply.header('content-type', 'application/gzip').header('cache-control', 'no-store').send(stream)
    },
  )
}
