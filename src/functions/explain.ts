/** What became of an invocation, in words for whoever owns the function. */
import { errorKinds } from '../errors.ts'
import type { ErrorCode } from '../errors.ts'
import type { InvocationRecord } from './types.ts'

export interface Explanation {
  summary: string
  /** What to do about it; null when all is well. */
  hint: string | null
}

const STARTED = { warm: '', spare: ', in a sandbox made from a spare', boot: ', in a sandbox booted for it' }

/** The gateway noted the facts and what they mean when it happened; here they become an answer. */
export function explainRecord(record: InvocationRecord): Explanation {
  const after = `after ${record.totalMs < 10 ? record.totalMs.toFixed(1) : Math.round(record.totalMs)} ms`
  if (record.outcome === 'ok') return { summary: `Answered with status ${record.status} ${after}${record.start ? STARTED[record.start] : ''}`, hint: null }
  const kind = Object.hasOwn(errorKinds, record.outcome) ? errorKinds[record.outcome as ErrorCode] : undefined
  const meaning = record.detail?.['explanation']
  return {
    summary: `${kind?.title ?? record.outcome}, ${after}${typeof meaning === 'string' ? `: ${meaning}` : ''}`,
    hint: kind ? kind.hint.replaceAll('NAME', record.function).replaceAll(/\bID\b/g, record.id) : null,
  }
}
