/** Uploading code. */
import type { Readable } from 'node:stream'
import { Type } from 'typebox'

import { HostelError } from '../../errors.ts'
import type { ApiContext } from '../context.ts'
import { Code, TenantParams } from '../schemas.ts'
import type { Api } from '../server.ts'
import { validatorCompiler } from '../validation.ts'

/** The archive arrives as a stream, which no schema can look into; for the description only. */
const Archive = Type.Unsafe<Readable>({
  type: 'string',
  format: 'binary',
  description: "a tar archive, gzipped, of files and directories relative to the code's root; links are refused",
})

export function codeRoutes(api: Api, context: ApiContext): void {
  api.put(
    '/v1/tenants/:tenant/code',
    {
      config: { needs: 'deploy' },
      // What is in the stream is checked while it is unpacked.
      validatorCompiler: (part) => (part.httpPart === 'body' ? () => true : validatorCompiler(part)),
      schema: {
        operationId: 'putCode',
        summary: 'Upload code; the same content has the same digest and is kept once',
        tags: ['functions'],
        params: TenantParams,
        consumes: ['application/gzip'],
        body: Archive,
        response: { 200: Code },
      },
    },
    async (request) => {
      const archive: unknown = request.body
      if (!isStream(archive)) throw new HostelError('invalid_input', 'code takes a body of content type application/gzip: a tar archive, gzipped')
      const code = await context.code.receive(archive)
      request.change = { target: code.digest, after: { files: code.files, bytes: code.bytes } }
      return code
    },
  )
}

function isStream(value: unknown): value is Readable {
  return typeof value === 'object' && value !== null && 'pipe' in value
}
