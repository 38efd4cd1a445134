/** Checks requests against their schemas and says what does not fit in terms of the field. Bodies are taken as they are; query texts become the numbers they stand for. */
import type { FastifySchemaCompiler } from 'fastify'
import { Compile } from 'typebox/compile'
import type { TSchema } from 'typebox'
import { Convert } from 'typebox/value'

import { HostelError } from '../errors.ts'

/** The fields of a schema, as far as messages need them. */
interface Described {
  description?: string
  /** Taken and never given back, in errors neither. */
  writeOnly?: boolean
  properties?: Record<string, Described>
}

/** One shown in a message is cut here. */
const VALUE_SHOWN_CHARS = 100

export const validatorCompiler: FastifySchemaCompiler<TSchema> = ({ schema, httpPart }) => {
  const validator = Compile(schema)
  return (input: unknown) => {
    // Only where everything is text to begin with.
    const value = httpPart === 'querystring' || httpPart === 'params' ? Convert(schema, input) : input
    if (validator.Check(value)) return { value }
    return { error: describe(schema, validator.Errors(value), input, httpPart === 'body' ? 'the body' : 'the query') }
  }
}

function describe(schema: Described, errors: { keyword: string; instancePath: string; params: unknown }[], input: unknown, whole: string): HostelError {
  const extra = errors.find(({ keyword }) => keyword === 'additionalProperties')
  if (extra) {
    const unknown = (extra.params as { additionalProperties: string[] }).additionalProperties[0]!
    return invalid(unknown, `${whole} takes no field ${shown(unknown)}; it takes ${Object.keys(schema.properties ?? {}).join(', ')}`)
  }
  const missing = errors.find(({ keyword }) => keyword === 'required')
  if (missing) {
    const field = (missing.params as { requiredProperties: string[] }).requiredProperties[0]!
    return invalid(field, `${field} is missing; it takes ${schema.properties?.[field]?.description ?? 'a value'}`)
  }
  const path =
    errors[0]?.instancePath
      .slice(1)
      .split('/')
      .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~')) ?? []
  const field = path[0] ?? ''
  if (field === '') return invalid(whole, `${whole} takes a JSON object with ${Object.keys(schema.properties ?? {}).join(', ')}`)
  const described = schema.properties?.[field]
  const got = described?.writeOnly ? 'something else' : shown((input as Record<string, unknown>)[field])
  return invalid(field, `${field} takes ${described?.description ?? 'another value'}; got ${got}`)
}

function invalid(field: string, message: string): HostelError {
  return new HostelError('invalid_input', message, { facts: { field } })
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing'
  return text.length > VALUE_SHOWN_CHARS ? `${text.slice(0, VALUE_SHOWN_CHARS)}…` : text
}
