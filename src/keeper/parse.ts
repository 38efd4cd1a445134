/** The keeper's edge: what gateway and control send is believed only after it has been taken apart here. */
import { MEMORY_CLASSES_MIB, limits } from '../limits.ts'
import type { Doors, SpareClass, ToKeeper } from './messages.ts'

/** Why a message was refused; `req` when there is someone to tell. */
export interface Refusal {
  refused: string
  req: number | undefined
}

const CODE_DIGEST = /^[0-9a-f]{64}$/
const RUNTIME_NAME = /^[a-z0-9][a-z0-9.-]{0,62}$/
/** A DNS name with a letter in its last label: what goes into /etc/hosts can be nothing else. */
const SERVICE_NAME = /^(?=.{1,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*(?=[0-9_-]*[a-z])[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/
const LABEL = /^[ -~]{0,400}$/
/** Longest grace that a sandbox's end may have. */
const GRACE_MAX_MS = 60_000

type Fields = Record<string, unknown>

/** A message of the gateway as an exact value, with nothing in it that was not asked for; or why not. */
export function parseGatewayMessage(message: unknown): ToKeeper | Refusal {
  if (typeof message !== 'object' || message === null) return { refused: 'not an object', req: undefined }
  const fields = message as Fields
  const req = isCount(fields['req']) ? fields['req'] : undefined
  try {
    return parse(fields)
  } catch (error) {
    return { refused: (error as Error).message, req }
  }
}

/** Control asks the keeper for nothing: it only says when it serves. */
export function isReadyMessage(message: unknown): boolean {
  return typeof message === 'object' && message !== null && (message as Fields)['type'] === 'ready'
}

function parse(fields: Fields): ToKeeper {
  const type = fields['type']
  switch (type) {
    case 'ready':
      return { type }
    case 'boot':
      return { type, req: count(fields, 'req'), spareClass: parseSpareClass(fields['spareClass']) }
    case 'specialise':
      return {
        type,
        req: count(fields, 'req'),
        sandbox: count(fields, 'sandbox'),
        codeDigest: text(fields, 'codeDigest', CODE_DIGEST),
        label: text(fields, 'label', LABEL),
        ...(fields['doors'] !== undefined && { doors: parseDoors(fields['doors']) }),
      }
    case 'freeze':
    case 'thaw':
      return { type, req: count(fields, 'req'), sandbox: count(fields, 'sandbox') }
    case 'end':
      return { type, sandbox: count(fields, 'sandbox'), graceMs: Math.min(count(fields, 'graceMs'), GRACE_MAX_MS) }
    case 'usage':
      return { type, req: count(fields, 'req') }
    default:
      throw new Error('unknown type')
  }
}

function parseSpareClass(value: unknown): SpareClass {
  if (typeof value !== 'object' || value === null) throw new Error('spareClass is no object')
  const fields = value as Fields
  const memoryMiB = MEMORY_CLASSES_MIB.find((known) => known === fields['memoryMiB'])
  if (memoryMiB === undefined) throw new Error('memoryMiB is no memory class')
  if (fields['isolation'] !== 'namespace') throw new Error('unknown isolation')
  return { runtime: text(fields, 'runtime', RUNTIME_NAME), memoryMiB, isolation: 'namespace' }
}

function parseDoors(value: unknown): Doors {
  if (typeof value !== 'object' || value === null) throw new Error('doors is no object')
  const { proxy, services } = value as Fields
  if (typeof proxy !== 'boolean') throw new Error('doors.proxy is no boolean')
  if (!Array.isArray(services) || services.length > limits.servicesPerVersionMax) throw new Error('doors.services does not fit')
  return { proxy, services: services.map(parseService) }
}

function parseService(value: unknown): Doors['services'][number] {
  if (typeof value !== 'object' || value === null) throw new Error('a service is no object')
  const fields = value as Fields
  const port = count(fields, 'port')
  if (port < 1 || port > 65_535) throw new Error('port is no port')
  const name = text(fields, 'name', SERVICE_NAME)
  if (name === 'localhost') throw new Error('a service is named localhost')
  return { name, port }
}

function text(fields: Fields, name: string, pattern: RegExp): string {
  const value = fields[name]
  if (typeof value !== 'string' || !pattern.test(value)) throw new Error(`${name} does not fit`)
  return value
}

function count(fields: Fields, name: string): number {
  const value = fields[name]
  if (!isCount(value)) throw new Error(`${name} is no count`)
  return value
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}
