/** What the scheduler tells of itself when somebody asks: read from what is there, so that nothing is counted twice. */
import type { SandboxInfo } from '../functions/types.ts'
import type { MetricSample } from '../telemetry/catalogue.ts'
import type { Registry } from '../telemetry/registry.ts'
import { steadyNowMs } from '../telemetry/clock.ts'
import type { Fleet } from './fleet.ts'
import type { VersionPool } from './pool.ts'
import { target } from './spares.ts'
import type { SpareClasses } from './spares.ts'

const MIB = 1_048_576
/** All, so that a state without sandboxes shows as zero. */
const STATES: SandboxInfo['state'][] = ['booting', 'spare', 'specialising', 'busy', 'idle', 'frozen', 'ending']

export function schedulerFigures(
  metrics: Registry,
  { fleet, classes, hungry, budgetMiB }: { fleet: Fleet; classes: SpareClasses; hungry: ReadonlySet<VersionPool>; budgetMiB: number },
): void {
  metrics.gauge('hostel_queue_requests', () => {
    let waiting = 0
    for (const pool of hungry) waiting += pool.waiters.size
    return waiting
  })
  metrics.gauge('hostel_memory_charged_bytes', () => fleet.budget.chargedMiB * MIB)
  metrics.gauge('hostel_memory_budget_bytes', () => budgetMiB * MIB)
  metrics.source(function* (): Generator<MetricSample> {
    const counts = new Map(STATES.map((state) => [state, 0]))
    for (const sandbox of fleet.sandboxes.values()) counts.set(sandbox.visibleState, counts.get(sandbox.visibleState)! + 1)
    for (const [state, value] of counts) yield { name: 'hostel_sandboxes', labels: { state }, value }
    const nowMs = steadyNowMs()
    for (const state of classes.byKey.values()) {
      const labels = { class: state.key }
      yield { name: 'hostel_spares', labels, value: state.spares.length }
      yield { name: 'hostel_spares_booting', labels, value: state.booting }
      yield { name: 'hostel_spares_target', labels, value: target(state, nowMs) }
    }
  })
}
