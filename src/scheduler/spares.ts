/** Which spares are kept ready, and what is booted next: for requests that wait first, then to refill, one at a time. */
import type { RoutedVersion } from '../functions/types.ts'
import type { RuntimeInfo, SpareClass } from '../keeper/messages.ts'
import { limits } from '../limits.ts'
import type { MemoryClassMiB } from '../limits.ts'
import type { Sandbox } from './sandbox.ts'

/** Spares kept of a class in use. */
const SPARES_MIN = 2
/** Spares kept of a class under demand, at most. */
const SPARES_MAX = 8
/** Demand is counted over this time. */
const DEMAND_WINDOW_MS = 5_000
/** A spare beyond the target is ended when it has been one for so long. */
const SURPLUS_AFTER_MS = 30_000
/** After failed boots in a row: 1 s, 2 s, … 60 s before a refill of that class is tried again. */
const BOOT_BACKOFF_MAX_MS = 60_000

/** All of one spare class. */
export interface ClassState {
  readonly key: string
  readonly spareClass: SpareClass
  /** Ready; the last is the youngest, and is taken first: its memory is the least likely to have been pushed out. */
  readonly spares: Sandbox[]
  booting: number
  /** Boots that failed in a row, and until when no refill is tried. */
  failures: number
  retryAtMs: number
  /** In use by a version or as a runtime's default. */
  wanted: boolean
  /** Times at which spares were taken or missed, the latest last. */
  readonly takenAtMs: number[]
}

export function spareClassKey(spareClass: SpareClass): string {
  return `${spareClass.runtime}/${spareClass.memoryMiB}/${spareClass.isolation}`
}

export function classOfVersion(version: RoutedVersion): SpareClass {
  return { runtime: version.runtime, memoryMiB: version.memoryMiB, isolation: 'namespace' }
}

export class SpareClasses {
  readonly byKey = new Map<string, ClassState>()
  private readonly defaults: string[]

  constructor(runtimes: RuntimeInfo[]) {
    this.defaults = runtimes.map(
      (runtime) => this.of({ runtime: runtime.name, memoryMiB: limits.memoryDefaultMiB as MemoryClassMiB, isolation: 'namespace' }).key,
    )
    this.note([])
  }

  of(spareClass: SpareClass): ClassState {
    const key = spareClassKey(spareClass)
    let state = this.byKey.get(key)
    if (state === undefined) {
      state = { key, spareClass, spares: [], booting: 0, failures: 0, retryAtMs: 0, wanted: false, takenAtMs: [] }
      this.byKey.set(key, state)
    }
    return state
  }

  /** The versions there are. */
  note(versions: Iterable<RoutedVersion>): void {
    for (const state of this.byKey.values()) state.wanted = this.defaults.includes(state.key)
    // All versions there are, at every change of one: a key is made for the first of each class only.
    let last: RoutedVersion | undefined
    for (const version of versions) {
      if (last?.runtime === version.runtime && last.memoryMiB === version.memoryMiB) continue
      last = version
      this.of(classOfVersion(version)).wanted = true
    }
  }

  get booting(): number {
    let booting = 0
    for (const state of this.byKey.values()) booting += state.booting
    return booting
  }

  /** Whether some wanted class has a spare, or may be tried: none that has failed lately. */
  canBoot(nowMs: number): boolean {
    for (const state of this.byKey.values()) if (state.wanted && (state.spares.length > 0 || nowMs >= state.retryAtMs)) return true
    return false
  }

  /** The class that is shortest of its target, if any is. */
  shortest(nowMs: number): ClassState | null {
    let shortest: ClassState | null = null
    let most = 0
    for (const state of this.byKey.values()) {
      if (nowMs < state.retryAtMs) continue
      const missing = target(state, nowMs) - state.spares.length - state.booting
      if (missing > most) {
        most = missing
        shortest = state
      }
    }
    return shortest
  }

  /** A spare that has been too many for a while. */
  surplus(nowMs: number): Sandbox | null {
    for (const state of this.byKey.values()) {
      const oldest = state.spares[0]
      if (oldest !== undefined && state.spares.length > target(state, nowMs) && nowMs - oldest.idleSinceMs > SURPLUS_AFTER_MS) return oldest
    }
    return null
  }
}

export function noteTaken(state: ClassState, nowMs: number): void {
  state.takenAtMs.push(nowMs)
  if (state.takenAtMs.length > SPARES_MAX) state.takenAtMs.shift()
}

export function noteBootFailure(state: ClassState, nowMs: number): void {
  state.failures++
  state.retryAtMs = nowMs + Math.min(BOOT_BACKOFF_MAX_MS, 1_000 * 2 ** (state.failures - 1))
}

/** Spares to keep: two of each class in use, and as many as were taken in the last seconds. */
export function target(state: ClassState, nowMs: number): number {
  const recent = state.takenAtMs.filter((atMs) => nowMs - atMs < DEMAND_WINDOW_MS).length
  return state.wanted ? Math.min(SPARES_MAX, Math.max(SPARES_MIN, recent)) : 0
}
