/**
 * Sends traces of invocations to a collector over OTLP/HTTP, in JSON. An invocation only leaves a note; spans are made and sent in
 * batches later, one batch at a time. What the collector does not take is dropped and counted: traces are worth no memory.
 */
import { request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'

import { limits } from '../limits.ts'
import type { Logger } from './logger.ts'
import type { Registry } from './registry.ts'
import { spansOf } from './spans.ts'
import type { TracedInvocation } from './spans.ts'
import { beginTrace } from './trace-context.ts'
import type { Trace } from './trace-context.ts'

export interface Tracer {
  /** Null for an invocation that is not traced. */
  begin(traceparent: string | undefined): Trace | null
  /** It is over. */
  end(traced: TracedInvocation): void
  /** Sends what there is. */
  flush(): Promise<void>
}

export interface TracerOptions {
  /** The collector's URL for traces. */
  url: URL
  /** Of the invocations that begin a trace. */
  ratio: number
  metrics: Registry
  logger: Logger
}

/** Not every failed batch is worth a line in the log. */
const COMPLAIN_EVERY_MS = 60_000

export function createTracer(options: TracerOptions): Tracer {
  const { url, ratio, metrics, logger } = options
  let waiting: TracedInvocation[] = []
  let timer: NodeJS.Timeout | null = null
  let sending: Promise<void> | null = null
  let complainedAtMs = Number.NEGATIVE_INFINITY
  const exported = metrics.counter('hostel_trace_spans_total', { result: 'exported' })
  const dropped = metrics.counter('hostel_trace_spans_total', { result: 'dropped' })
  const failed = metrics.counter('hostel_trace_spans_total', { result: 'failed' })

  function wake(): void {
    timer ??= setTimeout(() => {
      timer = null
      void flush()
    }, limits.traceDelayMs).unref()
  }

  async function flush(): Promise<void> {
    while (sending) await sending
    if (waiting.length === 0) return
    const batch = waiting.slice(0, limits.traceBatchMax)
    waiting = waiting.slice(limits.traceBatchMax)
    const spans = batch.flatMap(spansOf)
    sending = send(url, JSON.stringify(exportOf(spans))).then(
      () => void (exported.value += spans.length),
      (error: Error) => {
        failed.value += spans.length
        if (performance.now() - complainedAtMs < COMPLAIN_EVERY_MS) return
        complainedAtMs = performance.now()
        logger.warn({ err: error, url: url.origin }, 'the collector did not take traces')
      },
    )
    await sending
    sending = null
    if (waiting.length > 0) wake()
  }

  return {
    begin: (traceparent) => beginTrace(traceparent, ratio),
    end(traced) {
      // Six spans at most.
      if (waiting.length >= limits.traceQueueMax) dropped.value += spansOf(traced).length
      else waiting.push(traced)
      wake()
    },
    flush,
  }
}

function exportOf(spans: unknown[]): unknown {
  const attributes = [{ key: 'service.name', value: { stringValue: 'hostel' } }]
  return { resourceSpans: [{ resource: { attributes }, scopeSpans: [{ scope: { name: 'hostel' }, spans }] }] }
}

async function send(url: URL, body: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const request = url.protocol === 'https:' ? requestHttps : requestHttp
  const sent = request(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
    signal: AbortSignal.timeout(limits.traceTimeoutMs),
  })
  sent.on('error', reject)
  sent.on('response', (response) => {
    response.resume()
    response.on('error', reject)
    if (response.statusCode === 200) resolve()
    else reject(new Error(`the collector answered ${response.statusCode}`))
  })
  sent.end(body)
  await promise
}
