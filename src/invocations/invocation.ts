/**
 * The life of an invocation: admit, acquire, forward, settle, release. Knows no HTTP beyond method, status and fields: whoever calls
 * a function is a `Caller`. Nothing here waits for a disk or does anything synchronous but computing.
 */
import type { ErrorCode } from '../errors.ts'
import { HostelError } from '../errors.ts'
import type { InvocationRecord, RoutedVersion } from '../functions/types.ts'
import type { Exchange, ExchangeSink } from '../sandbox/exchange.ts'
import type { FlatHeaders, GuestError } from '../sandbox/protocol.ts'
import type { AcquireOptions, Lease, Scheduler } from '../scheduler/types.ts'
import type { Tracer } from '../telemetry/tracer.ts'
import { formatTraceparent, parseTraceparent } from '../telemetry/trace-context.ts'
import type { Trace } from '../telemetry/trace-context.ts'
import { steadyNowMs } from '../telemetry/clock.ts'
import { detailOf } from './explain.ts'

/** What is asked of a function. */
export interface Call {
  /** From `newInvocationId`. */
  id: string
  version: RoutedVersion
  method: string
  /** Absolute, as the function sees it. */
  url: string
  /** Path and query of it. */
  path: string
  headers: FlatHeaders
  /** The body is itself the event for an event handler. */
  isEvent: boolean
  hasBody: boolean
  /** As the client sent it, unchecked. */
  traceparent?: string
  /** The client asks to turn its connection into another protocol's. There is a body then: what the client sends from there on. */
  upgrade?: 'websocket'
}

/**
 * Who called: gets the answer as `answerHead` `answerBody`* `answerEnd`, or `answerFailed` at any point before the end (the answer is
 * then the error, or is broken off). After that, or after `Invocation.gone`, none of these is called. None of them throws.
 */
export interface Caller {
  /** First of all. */
  begun(invocation: Invocation): void
  answerHead(status: number, headers: FlatHeaders): void
  /** Each byte is given back with `Invocation.taken`. */
  answerBody(chunk: Buffer): void
  answerEnd(): void
  answerFailed(error: HostelError): void
  /** Start sending the request's body, with `Invocation.write` and `Invocation.endBody`. */
  sendBody(): void
  /** Go on, after a `write` that returned false. */
  resumeBody(): void
}

/** What every invocation of a process needs. */
export interface InvocationServices {
  scheduler: Scheduler
  record(record: InvocationRecord): void
  /** Called when an invocation begins and when it is over. */
  count(change: 1 | -1): void
  /** Where invocations are traced. */
  tracer?: Tracer
  /** Why no new invocation may begin, if so. */
  refusal(): HostelError | null
}

/** Characters of a path kept in a record. */
const RECORD_PATH_MAX_CHARS = 1_024

/** One invocation under way. As its scheduler's options it makes an abort signal only for those that wait. */
export class Invocation implements ExchangeSink, AcquireOptions {
  readonly call: Call
  readonly caller: Caller
  readonly services: InvocationServices
  readonly startedAtMs = Date.now()
  readonly startedAt = performance.now()
  deadlineAtMs: number
  deadline: NodeJS.Timeout
  readonly trace: Trace | null
  admittedAt = 0
  acquiredAt = 0
  answeredAt = 0
  lease: Lease | null = null
  exchange: Exchange | null = null
  /** The caller has its answer, whole or broken off, or wants none any more. */
  answerOver = false
  isUpgraded = false
  /** The caller has been told of a failure; nothing else will be. */
  failing = false
  /** The place in the sandbox is given back, or there was none. */
  exchangeOver = false
  status = 0
  outcome: 'ok' | ErrorCode = 'ok'
  detail: Record<string, unknown> | null = null
  requestBytes = 0
  responseBytes = 0
  private controller: AbortController | null = null

  constructor(services: InvocationServices, call: Call, caller: Caller) {
    this.services = services
    this.call = call
    this.caller = caller
    this.deadlineAtMs = steadyNowMs() + call.version.timeoutMs
    this.trace = services.tracer?.begin(call.traceparent) ?? null
    this.deadline = setTimeout(expire, call.version.timeoutMs, this)
  }

  get signal(): AbortSignal {
    this.controller ??= new AbortController()
    return this.controller.signal
  }

  // The caller's side.

  /** Request body. False: no more until `resumeBody`. */
  write(chunk: Buffer): boolean {
    this.requestBytes += chunk.length
    return this.exchange === null || this.exchange.write(chunk)
  }

  endBody(): void {
    this.exchange?.end()
  }

  /** So many bytes of the answer have left. */
  taken(bytes: number): void {
    this.exchange?.grant(bytes)
  }

  /** The connection has become another protocol's: the deadline was for the answer, this one is for the connection. */
  upgraded(withinMs: number): void {
    this.isUpgraded = true
    this.extend(withinMs)
  }

  /** The answer has left with this status, whole or (after `answerFailed`) broken off. */
  delivered(status: number): void {
    if (this.answerOver) return
    this.status = status
    endAnswer(this)
  }

  /** The caller has gone away. */
  gone(): void {
    this.abandon(new HostelError('cancelled'), 499)
  }

  /** The caller can't go on with this request or answer, for this reason, and has seen to the answer itself. */
  abandon(error: HostelError, status: number): void {
    if (this.answerOver) return
    this.blame(error)
    this.status = status
    this.giveUp('disconnect', error)
    endAnswer(this)
  }

  // The sandbox's side.

  head(status: number, headers: FlatHeaders): void {
    if (!this.answerOver) this.caller.answerHead(status, headers)
  }

  body(chunk: Buffer): void {
    if (this.answerOver) return
    this.responseBytes += chunk.length
    this.caller.answerBody(chunk)
  }

  end(): void {
    if (!this.answerOver) this.caller.answerEnd()
  }

  failed(error: HostelError, guest?: GuestError): void {
    this.blame(error, guest)
    this.answerWith(error)
  }

  drain(): void {
    if (!this.answerOver) this.caller.resumeBody()
  }

  settled(): void {
    this.exchangeOver = true
    if (this.answerOver) settle(this)
  }

  // Both.

  extend(withinMs: number): void {
    clearTimeout(this.deadline)
    this.deadlineAtMs = steadyNowMs() + withinMs
    this.deadline = setTimeout(expire, withinMs, this)
    this.lease?.extend(this.deadlineAtMs)
  }

  /** The first cause is the one that explains; what follows from it (a cancelled exchange, a closed connection) is not. */
  blame(error: HostelError, guest?: GuestError): void {
    if (this.outcome !== 'ok') return
    this.outcome = error.code
    this.detail = detailOf(error, this.call.version, guest)
  }

  answerWith(error: HostelError): void {
    if (this.answerOver || this.failing) return
    this.failing = true
    this.caller.answerFailed(error)
  }

  giveUp(reason: 'disconnect' | 'deadline', error: HostelError): void {
    this.exchange?.cancel(reason)
    this.controller?.abort(error)
  }
}

/** Runs a function. The answer goes to the caller; the record is written when all is over. */
export function invoke(services: InvocationServices, call: Call, caller: Caller): void {
  const invocation = new Invocation(services, call, caller)
  services.count(1)
  caller.begun(invocation)
  const refusal = admit(services)
  if (refusal) {
    fail(invocation, refusal)
    return
  }
  invocation.admittedAt = performance.now()
  acquire(invocation)
}

/** Whether an invocation may begin at all. Its function's own bounds are applied by the scheduler, in `acquire`. */
function admit(services: InvocationServices): HostelError | null {
  return services.refusal()
}

/** Finds a place in a sandbox; at once where a warm one is free. */
function acquire(invocation: Invocation): void {
  let lease: Lease | Promise<Lease>
  try {
    lease = invocation.services.scheduler.acquire(invocation.call.version, invocation)
  } catch (error) {
    fail(invocation, error)
    return
  }
  if ('then' in lease) {
    lease.then(
      (acquired) => forward(invocation, acquired),
      (error) => fail(invocation, error),
    )
  } else {
    forward(invocation, lease)
  }
}

/** Sends the request in; from here on the sandbox's side of the invocation is called. */
function forward(invocation: Invocation, lease: Lease): void {
  const { call } = invocation
  invocation.acquiredAt = performance.now()
  invocation.lease = lease
  if (invocation.answerOver || invocation.failing) {
    // The caller went away, or the time was up, in the moment in which the place was found.
    lease.release()
    invocation.settled()
    return
  }
  const { trace } = invocation
  const traceparent = trace ? formatTraceparent(trace) : call.traceparent
  // What the function calls continues the trace below this invocation.
  if (trace) setHeader(call.headers, 'traceparent', traceparent!)
  const meta = {
    id: call.id,
    deadlineMs: Math.max(1, invocation.deadlineAtMs - steadyNowMs()),
    ...(traceparent !== undefined && parseTraceparent(traceparent) && { traceparent }),
    ...(call.isEvent && { event: true as const }),
    ...(call.upgrade && { upgrade: call.upgrade }),
  }
  try {
    invocation.exchange = lease.exchange({ method: call.method, url: call.url, headers: call.headers, meta, endStream: !call.hasBody }, invocation)
  } catch (error) {
    lease.release()
    fail(invocation, error)
    return
  }
  if (call.hasBody) invocation.caller.sendBody()
}

/** No place was found, or it would not take the request. */
function fail(invocation: Invocation, cause: unknown): void {
  const error = cause instanceof HostelError ? cause : new HostelError('internal', undefined, { cause, facts: { cause: String(cause) } })
  invocation.blame(error)
  invocation.answerWith(error)
  invocation.settled()
}

/** The time is up: for the wait, for the answer, or for what goes on after it. */
function expire(invocation: Invocation): void {
  const error = new HostelError('deadline_exceeded', undefined, { facts: { waitedFor: invocation.exchange ? 'answer' : 'sandbox' } })
  if (invocation.answerOver) invocation.detail = { ...invocation.detail, afterAnswer: 'work given to waitUntil was cut off at the deadline' }
  else invocation.blame(error)
  invocation.giveUp('deadline', error)
  invocation.answerWith(error)
}

function endAnswer(invocation: Invocation): void {
  invocation.answerOver = true
  invocation.answeredAt = performance.now()
  if (invocation.exchangeOver) settle(invocation)
  // What goes on after a connection has as long as after an answer.
  else if (invocation.isUpgraded) invocation.extend(invocation.call.version.timeoutMs)
}

/** All is over: the record is written, what is held is let go. */
function settle(invocation: Invocation): void {
  const record = recordOf(invocation)
  invocation.services.record(record)
  // Beside what the function wrote itself, where its owner looks first.
  if (invocation.outcome !== 'ok' && invocation.exchange) invocation.lease!.note(`${invocation.outcome}: ${String(invocation.detail!['explanation'])}`)
  const { trace } = invocation
  const settledAt = trace ? performance.now() : 0
  release(invocation)
  if (!trace) return
  const { startedAt, admittedAt, acquiredAt, answeredAt } = invocation
  invocation.services.tracer!.end({ trace, record, steps: { startedAt, admittedAt, acquiredAt, answeredAt, settledAt, releasedAt: performance.now() } })
}

function release(invocation: Invocation): void {
  // A place with an exchange is given back by the scheduler when that has settled.
  clearTimeout(invocation.deadline)
  invocation.services.count(-1)
}

function recordOf(invocation: Invocation): InvocationRecord {
  const { call, lease, startedAt, answeredAt } = invocation
  // Without a place the whole time was spent on looking for one.
  const acquiredAt = Math.min(invocation.acquiredAt || answeredAt, answeredAt)
  return {
    id: call.id,
    tenant: call.version.tenant,
    function: call.version.function,
    version: call.version.version,
    sandbox: lease?.sandbox ?? null,
    method: call.method,
    path: call.path.length > RECORD_PATH_MAX_CHARS ? call.path.slice(0, RECORD_PATH_MAX_CHARS) : call.path,
    status: invocation.status,
    outcome: invocation.outcome,
    start: lease?.start ?? null,
    startedAtMs: invocation.startedAtMs,
    acquireMs: milliseconds(acquiredAt - startedAt),
    forwardMs: milliseconds(answeredAt - acquiredAt),
    totalMs: milliseconds(answeredAt - startedAt),
    requestBytes: invocation.requestBytes,
    responseBytes: invocation.responseBytes,
    detail: invocation.detail,
  }
}

/** Replaces a field, or adds it. */
function setHeader(headers: FlatHeaders, name: string, value: string): void {
  for (let at = 0; at < headers.length; at += 2) {
    if (headers[at] !== name) continue
    headers[at + 1] = value
    return
  }
  headers.push(name, value)
}

/** Microseconds are the finest that means anything. */
function milliseconds(duration: number): number {
  return Math.round(duration * 1_000) / 1_000
}
