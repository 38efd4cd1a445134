/** An invocation as spans of OpenTelemetry, in the JSON form of OTLP. */
import type { InvocationRecord } from '../functions/types.ts'
import { newId } from './trace-context.ts'
import type { Trace } from './trace-context.ts'

/** When each step was over, in milliseconds of `performance.now()`; 0 for a step that was not reached. */
export interface Steps {
  startedAt: number
  admittedAt: number
  acquiredAt: number
  answeredAt: number
  settledAt: number
  releasedAt: number
}

export interface TracedInvocation {
  trace: Trace
  steps: Steps
  record: InvocationRecord
}

interface Span {
  traceId: string
  spanId: string
  parentSpanId?: string
  name: string
  kind: number
  startTimeUnixNano: string
  endTimeUnixNano: string
  attributes: Attribute[]
  status: { code?: number; message?: string }
}
interface Attribute {
  key: string
  value: { stringValue: string } | { intValue: string } | { boolValue: boolean }
}

const KIND_INTERNAL = 1
const KIND_SERVER = 2
const STATUS_ERROR = 2

/** One for the invocation, and one below it for each step that it reached. */
export function spansOf({ trace, steps, record }: TracedInvocation): Span[] {
  const { traceId, spanId } = trace
  const step = (name: string, from: number, to: number): Span => ({
    traceId,
    spanId: newId(8),
    parentSpanId: spanId,
    name,
    kind: KIND_INTERNAL,
    startTimeUnixNano: nanoseconds(from),
    endTimeUnixNano: nanoseconds(to),
    attributes: [],
    status: {},
  })
  const acquiredAt = steps.acquiredAt || steps.answeredAt
  return [
    {
      ...step(record.function, steps.startedAt, steps.releasedAt),
      spanId,
      kind: KIND_SERVER,
      attributes: attributesOf(record),
      status: record.outcome === 'ok' ? {} : { code: STATUS_ERROR, message: (record.detail?.['explanation'] as string | undefined) ?? record.outcome },
      parentSpanId: trace.parentId ?? '',
    },
    step('admit', steps.startedAt, steps.admittedAt || acquiredAt),
    ...(steps.admittedAt ? [step('acquire', steps.admittedAt, acquiredAt)] : []),
    ...(steps.acquiredAt ? [step('forward', steps.acquiredAt, steps.answeredAt)] : []),
    step('settle', steps.answeredAt, steps.settledAt),
    step('release', steps.settledAt, steps.releasedAt),
  ]
}

function attributesOf(record: InvocationRecord): Attribute[] {
  const query = record.path.indexOf('?')
  return [
    text('faas.name', `${record.tenant}/${record.function}`),
    text('faas.version', String(record.version)),
    text('faas.invocation_id', record.id),
    text('faas.trigger', 'http'),
    { key: 'faas.coldstart', value: { boolValue: record.start === 'spare' || record.start === 'boot' } },
    text('http.request.method', record.method),
    number('http.response.status_code', record.status),
    // Without the query, which may hold what is nobody else's business.
    text('url.path', query < 0 ? record.path : record.path.slice(0, query)),
    number('http.request.body.size', record.requestBytes),
    number('http.response.body.size', record.responseBytes),
    text('hostel.tenant', record.tenant),
    text('hostel.outcome', record.outcome),
    ...(record.outcome === 'ok' ? [] : [text('error.type', record.outcome)]),
    ...(record.start === null ? [] : [text('hostel.start', record.start)]),
    ...(record.sandbox === null ? [] : [number('hostel.sandbox', record.sandbox)]),
  ]
}

function text(key: string, value: string): Attribute {
  return { key, value: { stringValue: value } }
}

function number(key: string, value: number): Attribute {
  return { key, value: { intValue: String(value) } }
}

/** Of the epoch. Beyond what a number holds exactly, hence text. */
function nanoseconds(atMs: number): string {
  return `${BigInt(Math.round((performance.timeOrigin + atMs) * 1_000)) * 1_000n}`
}
