/** The W3C's `traceparent`: which trace a request belongs to, and whether that is to be recorded. */
import { randomBytes } from 'node:crypto'

/** An invocation's place in a trace. */
export interface Trace {
  /** 32 hex digits. */
  traceId: string
  /** 16 hex digits: of the invocation's own span. */
  spanId: string
  /** Of the caller's span; null where the trace begins here. */
  parentId: string | null
}

const PATTERN = /^([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/

/** Null for what is none, which is to be treated as if it were not there. */
export function parseTraceparent(text: string): { traceId: string; parentId: string; sampled: boolean } | null {
  const [, version, traceId, parentId, flags, more] = PATTERN.exec(text) ?? []
  // A later version may say more behind; this one may not.
  if (version === undefined || version === 'ff' || (version === '00' && more !== undefined)) return null
  return { traceId: traceId!, parentId: parentId!, sampled: (Number.parseInt(flags!, 16) & 1) === 1 }
}

/** As what comes next in the trace gets it; only recorded traces are told of. */
export function formatTraceparent({ traceId, spanId }: Trace): string {
  return `00-${traceId}-${spanId}-01`
}

/** @param ratio of the invocations that belong to no trace yet and begin one. */
export function beginTrace(traceparent: string | undefined, ratio: number): Trace | null {
  const parent = traceparent === undefined ? null : parseTraceparent(traceparent)
  if (parent) return parent.sampled ? { traceId: parent.traceId, spanId: newId(8), parentId: parent.parentId } : null
  return Math.random() < ratio ? { traceId: newId(16), spanId: newId(8), parentId: null } : null
}

export function newId(bytes: number): string {
  return randomBytes(bytes).toString('hex')
}
