/** Rules for single frames of a shim, each check throwing an Error that names the rule. */
import { limits } from '../../../src/limits.ts'
import type { Frame, GuestError } from '../../../src/sandbox/protocol.ts'

export interface LogFrame {
  stream: number
  level: string
  text: string
}

export const CUT_MARK = '… [cut]'

const LEVELS = ['', 'stdout', 'stderr', 'debug', 'info', 'warn', 'error']
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

export function checkLog({ flags, stream, payload }: Frame): LogFrame {
  const level = LEVELS[payload[0] ?? 0]
  if (flags !== 0 || !level) throw new Error(`LOG with flags ${flags} and level ${payload[0]}`)
  if (payload.length - 1 > limits.logLineMaxBytes + Buffer.byteLength(CUT_MARK)) throw new Error(`a log line of ${payload.length - 1} bytes`)
  const text = checkText('LOG', payload.subarray(1))
  if (/\n/.test(text)) throw new Error('a line break in a log line')
  return { stream, level, text }
}

export function checkJson(name: string, payload: Buffer): unknown {
  const value: unknown = JSON.parse(checkText(name, payload))
  if (typeof value !== 'object' || value === null) throw new Error(`${name} that is no JSON object`)
  return value
}

export function checkResponseHead(payload: Buffer): { status: number; headers: string[] } {
  const [status, headers, ...more] = checkJson('RESPONSE_HEAD', payload) as [number, string[], ...unknown[]]
  if (!Number.isInteger(status) || status < 200 || status > 599 || more.length > 0) throw new Error(`RESPONSE_HEAD with status ${status}`)
  if (!Array.isArray(headers) || headers.length % 2 !== 0 || headers.length > 2 * limits.responseHeadMaxFields)
    throw new Error('RESPONSE_HEAD whose headers are no flat list')
  for (const [i, text] of headers.entries()) {
    if (typeof text !== 'string' || !(i % 2 === 0 ? /^[!#$%&'*+\-.^_`|~0-9a-z]+$/ : /^[\t\x20-\x7e\x80-\xff]*$/).test(text))
      throw new Error(`a header with ${JSON.stringify(text)}`)
  }
  return { status, headers }
}

export function checkGuestError(payload: Buffer): GuestError {
  const error = checkJson('RESPONSE_ERROR', payload) as GuestError
  if (!['handler', 'invalid_response', 'init'].includes(error.kind)) throw new Error(`an error of kind ${error.kind}`)
  for (const key of ['name', 'message'] as const) if (typeof error[key] !== 'string') throw new Error(`an error without ${key}`)
  for (const key of ['stack', 'file'] as const) if (!['string', 'undefined'].includes(typeof error[key])) throw new Error(`an error whose ${key} is no text`)
  for (const key of ['line', 'column'] as const)
    if (error[key] !== undefined && !Number.isInteger(error[key])) throw new Error(`an error whose ${key} is no number`)
  if (error.file?.startsWith('/')) throw new Error(`an error in ${error.file}, which is not relative to the code's root`)
  return error
}

function checkText(name: string, payload: Buffer): string {
  try {
    return utf8.decode(payload)
  } catch {
    throw new Error(`${name} that is no UTF-8`)
  }
}
