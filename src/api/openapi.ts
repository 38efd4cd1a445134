/** The API's description: OpenAPI 3.1, made from the routes' schemas. */
import type { FastifyDynamicSwaggerOptions } from '@fastify/swagger'

import { LogLine, Problem } from './schemas.ts'

/** Options of @fastify/swagger for a version of Hostel. */
export function description(version: string): FastifyDynamicSwaggerOptions {
  return {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Hostel control API',
        version,
        description:
          'Deploy functions, look at them and read their logs. Errors are application/problem+json with a stable `code`; docs/reference/errors.md lists them.',
        license: { name: 'Apache-2.0' },
      },
      tags: [
        { name: 'system', description: 'The server itself' },
        { name: 'functions', description: 'Functions, versions, code' },
        { name: 'invocations', description: 'What ran, and what it wrote' },
        { name: 'sandboxes', description: 'Running copies' },
        { name: 'tenants', description: 'Who owns what, and how much of it' },
        { name: 'tokens', description: 'Who may do what' },
        { name: 'audit', description: 'Who did what' },
        { name: 'secrets', description: 'What functions need and nobody else may see' },
      ],
      components: {
        securitySchemes: { token: { type: 'http', scheme: 'bearer' } },
        schemas: { LogLine: plain(LogLine), Problem: plain(Problem) },
        responses: {
          Problem: {
            description: 'What went wrong and what to do',
            content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
          },
        },
      },
      security: [{ token: [] }],
    },
    // Each route can fail, and always in the same form; said here once instead of at each route, where it would also be the serialiser's.
    transformObject: (document) => {
      if (!('openapiObject' in document)) throw new Error('the description is OpenAPI')
      const { openapiObject } = document
      for (const operations of Object.values(openapiObject.paths ?? {})) {
        for (const operation of Object.values(operations ?? {}) as { responses?: Record<string, unknown> }[]) {
          if (operation.responses) operation.responses['default'] = { $ref: '#/components/responses/Problem' }
        }
      }
      return openapiObject
    },
    transform: ({ schema, url }) => ({ schema, url }),
  }
}

/** Without TypeBox's hidden marks. */
function plain(schema: object): object {
  return JSON.parse(JSON.stringify(schema)) as object
}
