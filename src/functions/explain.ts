/** What became of an invocation, in words for whoever owns the function. */
import { errorKinds } from '../errors.ts'
import type { ErrorCode } from '../errors.ts'
import type { InvocationRecord } from './types.ts'

export interface Explanation {
  summary: string
  /** What to do about it; null when all is well. */
  hint: string | null
}

export function explain(record: InvocationRecord): Explanation {
  if (record.outcome === 'ok') return { summary: `It answered with status ${record.status} after ${milliseconds(record.totalMs)}${startedHow(record)}.`, hint: null }
  if (!Object.hasOwn(errorKinds, record.outcome)) return { summary: `It ended with ${record.outcome} after ${milliseconds(record.totalMs)}.`, hint: null }
  const kind = errorKinds[record.outcome as ErrorCode]
  const details = [guestError(record.detail?.['guest']), exit(record.detail?.['exit']), message(record.detail?.['message'])].filter((text) => text !== undefined)
  return { summary: [`${kind.title}, after ${milliseconds(record.totalMs)}`, ...details].join('. ') + '.', hint: kind.hint.replaceAll('NAME', record.function).replaceAll(' ID', ` ${record.id}`) }
}

function startedHow(record: InvocationRecord): string {
  const ways = { warm: '', spare: ', in a sandbox made from a spare', boot: ', in a sandbox booted for it' }
  return record.start ? ways[record.start] : ''
}

function guestError(value: unknown): string | undefined {
  if (!isObject(value)) return undefined
  const place = typeof value['file'] === 'string' ? ` at ${value['file']}${typeof value['line'] === 'number' ? `:${value['line']}` : ''}` : ''
  return `${String(value['name'] ?? 'Error')}: ${String(value['message'] ?? '')}${place}`
}

function exit(value: unknown): string | undefined {
  if (!isObject(value)) return undefined
  const peak = typeof value['memoryPeakBytes'] === 'number' ? `, having used up to ${Math.ceil(value['memoryPeakBytes'] / 1024 / 1024)} MiB` : ''
  switch (value['kind']) {
    case 'oom':
      return `The kernel ended it for using more memory than its sandbox has${peak}`
    case 'signal':
      return `Its process was ended by ${String(value['signal'])}${peak}`
    case 'exit':
      return `Its process ended by itself with code ${String(value['exitCode'])}${peak}`
    default:
      return undefined
  }
}

function message(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value.replace(/\.$/, '') : undefined
}

function milliseconds(value: number): string {
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}
