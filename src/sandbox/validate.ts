/**
 * What a guest says in JSON, checked by hand: it is hostile, and a general validator on every answer's head costs too much.
 * Each function throws ProtocolViolation naming the rule that was broken.
 */
import { limits } from '../limits.ts'
import type { Contract, FlatHeaders, GuestError } from './protocol.ts'
import { PROTOCOL_VERSION, ProtocolViolation } from './protocol.ts'

/** RFC 9110 section 5.6.2, lower case only: HTTP/2 and our own look-ups want it so. */
const FIELD_NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/
/** RFC 9110 section 5.5 with obs-text: no control characters but tab, so no CR, LF or NUL, and nothing that Latin-1 cannot carry. */
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/
const ERROR_KINDS: readonly unknown[] = ['handler', 'invalid_response', 'init']

/** What READY tells. */
export interface ReadyMessage {
  runtime: string
  runtimeVersion: string
}

export interface ResponseHead {
  status: number
  headers: FlatHeaders
}

export function parseReady(payload: Buffer): ReadyMessage {
  const value = parseObject(payload, 'READY')
  if (value['protocol'] !== PROTOCOL_VERSION) throw new ProtocolViolation(`READY speaks another protocol than version ${PROTOCOL_VERSION}`)
  return { runtime: text(value, 'runtime', limits.nameMaxChars), runtimeVersion: text(value, 'runtimeVersion', limits.nameMaxChars) }
}

export function parseSpecialised(payload: Buffer): Contract {
  const { contract } = parseObject(payload, 'SPECIALISED')
  if (contract !== 'fetch' && contract !== 'event') throw new ProtocolViolation('SPECIALISED names no contract that is known')
  return contract
}

/** Statuses are 200–599: interim answers (1xx) are not a function's to give, but for the 101 of a request that asks for it. */
export function parseResponseHead(payload: Buffer, mayUpgrade: boolean): ResponseHead {
  const value = parseJson(payload, 'RESPONSE_HEAD')
  if (!Array.isArray(value) || value.length !== 2) throw new ProtocolViolation('RESPONSE_HEAD is not [status, headers]')
  const [status, headers] = value as [unknown, unknown]
  if (typeof status !== 'number' || !Number.isInteger(status) || ((status < 200 || status > 599) && !(status === 101 && mayUpgrade)))
    throw new ProtocolViolation('the status is no whole number from 200 to 599')
  if (!Array.isArray(headers) || headers.length % 2 !== 0) throw new ProtocolViolation('the headers are no list of names and values')
  if (headers.length > 2 * limits.responseHeadMaxFields) throw new ProtocolViolation(`the head has more than ${limits.responseHeadMaxFields} fields`)
  for (let i = 0; i < headers.length; i += 2) {
    const name: unknown = headers[i]
    const fieldValue: unknown = headers[i + 1]
    if (typeof name !== 'string' || !FIELD_NAME.test(name)) throw new ProtocolViolation('a header name is no token in lower case')
    if (typeof fieldValue !== 'string' || !FIELD_VALUE.test(fieldValue)) throw new ProtocolViolation('a header value has a character that HTTP does not allow')
  }
  return { status, headers: headers as FlatHeaders }
}

/** The shim's account of an error, with long texts cut. */
export function parseGuestError(payload: Buffer, frame: string): GuestError {
  const value = parseObject(payload, frame)
  if (!ERROR_KINDS.includes(value['kind'])) throw new ProtocolViolation(`${frame} has a kind that is not known`)
  const error: GuestError = { kind: value['kind'] as string, name: cut(value, 'name', 200), message: cut(value, 'message', 8_192) }
  if (value['stack'] !== undefined) error.stack = cut(value, 'stack', 16_384)
  if (value['file'] !== undefined) error.file = cut(value, 'file', limits.codePathMaxBytes)
  if (value['line'] !== undefined) error.line = position(value, 'line')
  if (value['column'] !== undefined) error.column = position(value, 'column')
  return error
}

/** @throws ProtocolViolation unless the payload is exactly one u32. */
export function parseU32(payload: Buffer, frame: string): number {
  if (payload.length !== 4) throw new ProtocolViolation(`${frame} does not carry four bytes`)
  return payload.readUInt32BE(0)
}

function parseJson(payload: Buffer, frame: string): unknown {
  try {
    return JSON.parse(payload.toString())
  } catch {
    throw new ProtocolViolation(`${frame} carries no JSON`)
  }
}

function parseObject(payload: Buffer, frame: string): Record<string, unknown> {
  const value = parseJson(payload, frame)
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new ProtocolViolation(`${frame} carries no JSON object`)
  return value as Record<string, unknown>
}

function text(value: Record<string, unknown>, name: string, maxChars: number): string {
  const field = value[name]
  if (typeof field !== 'string' || field.length > maxChars) throw new ProtocolViolation(`"${name}" is no text of up to ${maxChars} characters`)
  return field
}

function cut(value: Record<string, unknown>, name: string, maxChars: number): string {
  const field = value[name]
  if (typeof field !== 'string') throw new ProtocolViolation(`"${name}" of an error is no text`)
  return field.length > maxChars ? `${field.slice(0, maxChars)}… [cut]` : field
}

function position(value: Record<string, unknown>, name: string): number {
  const field = value[name]
  if (typeof field !== 'number' || !Number.isSafeInteger(field) || field < 0) throw new ProtocolViolation(`"${name}" of an error is no whole number`)
  return field
}
