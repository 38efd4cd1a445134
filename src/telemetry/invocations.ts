/** What is counted of every invocation, on the hot path: a few additions and two look-ups, nothing allocated. */
import type { InvocationRecord } from '../functions/types.ts'
import { limits } from '../limits.ts'
import type { MetricSample } from './catalogue.ts'
import { Histogram, histogramSample } from './registry.ts'
import type { Counter, Registry } from './registry.ts'

/** Takes the place of the names of functions beyond the bound. No tenant or function can be called so: names begin with a letter. */
export const OTHERS = '_other'

interface FunctionFigures {
  outcomes: Map<string, Counter>
  duration: Histogram
  lastAtMs: number
}

/** Counts into the registry. Give it every record. */
export function countInvocations(registry: Registry): (record: InvocationRecord) => void {
  const tenants = new Map<string, Map<string, FunctionFigures>>()
  let functions = 0
  const others = newFigures()
  const acquire = {
    warm: registry.histogram('hostel_acquire_duration_seconds', { start: 'warm' }),
    spare: registry.histogram('hostel_acquire_duration_seconds', { start: 'spare' }),
    boot: registry.histogram('hostel_acquire_duration_seconds', { start: 'boot' }),
    none: registry.histogram('hostel_acquire_duration_seconds', { start: 'none' }),
  }
  const cold = { spare: registry.counter('hostel_cold_starts_total', { kind: 'spare' }), boot: registry.counter('hostel_cold_starts_total', { kind: 'boot' }) }
  const forward = registry.histogram('hostel_forward_duration_seconds')
  const requestBytes = registry.counter('hostel_request_body_bytes_total')
  const responseBytes = registry.counter('hostel_response_body_bytes_total')

  function figuresOf(tenant: string, name: string, nowMs: number): FunctionFigures {
    let ofTenant = tenants.get(tenant)
    const known = ofTenant?.get(name)
    if (known) return known
    if (functions >= limits.metricsFunctionsMax && !forgetSilent(nowMs)) return others
    // Forgetting may have taken the tenant's last one.
    ofTenant = tenants.get(tenant)
    if (!ofTenant) tenants.set(tenant, (ofTenant = new Map()))
    const figures = newFigures()
    ofTenant.set(name, figures)
    functions++
    return figures
  }

  /** Makes room: the one that was silent for longest goes, if it was for long enough. A counter that begins anew is nothing unusual to Prometheus. */
  function forgetSilent(nowMs: number): boolean {
    let silent: { tenant: string; name: string; lastAtMs: number } | undefined
    for (const [tenant, ofTenant] of tenants)
      for (const [name, { lastAtMs }] of ofTenant) if (!silent || lastAtMs < silent.lastAtMs) silent = { tenant, name, lastAtMs }
    if (!silent || nowMs - silent.lastAtMs < limits.metricsFunctionSilentMs) return false
    const ofTenant = tenants.get(silent.tenant)!
    ofTenant.delete(silent.name)
    if (ofTenant.size === 0) tenants.delete(silent.tenant)
    functions--
    return true
  }

  registry.source(function* () {
    for (const [tenant, ofTenant] of tenants) for (const [name, figures] of ofTenant) yield* samplesOf(tenant, name, figures)
    if (others.outcomes.size > 0) yield* samplesOf(OTHERS, OTHERS, others)
  })

  return (record) => {
    const figures = figuresOf(record.tenant, record.function, record.startedAtMs)
    figures.lastAtMs = record.startedAtMs
    const outcome = figures.outcomes.get(record.outcome)
    if (outcome) outcome.value++
    else figures.outcomes.set(record.outcome, { value: 1 })
    figures.duration.observe(record.totalMs / 1_000)
    acquire[record.start ?? 'none'].observe(record.acquireMs / 1_000)
    if (record.start === 'spare' || record.start === 'boot') cold[record.start].value++
    if (record.start !== null) forward.observe(record.forwardMs / 1_000)
    requestBytes.value += record.requestBytes
    responseBytes.value += record.responseBytes
  }
}

function newFigures(): FunctionFigures {
  return { outcomes: new Map(), duration: new Histogram(), lastAtMs: 0 }
}

function* samplesOf(tenant: string, name: string, figures: FunctionFigures): Generator<MetricSample> {
  for (const [outcome, { value }] of figures.outcomes) yield { name: 'hostel_invocations_total', labels: { tenant, function: name, outcome }, value }
  yield histogramSample('hostel_invocation_duration_seconds', { tenant, function: name }, figures.duration)
}
