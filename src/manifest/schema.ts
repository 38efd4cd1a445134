/** The JSON Schema of hostel.yaml, for editors; docs/reference/hostel.schema.json is made from it. */
import { limits } from '../limits.ts'
import { NAME_PATTERN } from '../functions/names.ts'
import { functionKeys } from './keys.ts'
import type { JsonSchema } from './keys.ts'

/** Draft 7, which every editor knows. */
export function manifestSchema(): JsonSchema {
  const keys = Object.entries(functionKeys).map(([name, { schema, help }]) => [name, { ...schema, description: help }])
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'hostel.yaml',
    description: 'The functions that `hostel deploy` deploys from a directory.',
    type: 'object',
    required: ['functions'],
    additionalProperties: false,
    patternProperties: { '^x-': { description: 'anything, to define anchors at' } },
    properties: {
      functions: {
        description: 'functions by name',
        type: 'object',
        minProperties: 1,
        maxProperties: limits.manifestFunctionsMax,
        propertyNames: { pattern: NAME_PATTERN },
        additionalProperties: {
          type: ['object', 'null'],
          additionalProperties: false,
          properties: { source: { type: 'string', minLength: 1, description: SOURCE_HELP }, ...Object.fromEntries(keys) },
        },
      },
    },
  }
}

export const SOURCE_HELP = "the function's directory, relative to the file's own, which is the default"
