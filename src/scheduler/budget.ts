/**
 * How much memory sandboxes are counted with, and who has to go when there is not enough. One with requests in it may use all it is
 * allowed to, so it counts in full; one without counts what it was measured to use.
 */
import { limits } from '../limits.ts'
import type { Sandbox } from './sandbox.ts'

/** Counted for a sandbox at rest that has not been measured yet: a fresh Node or Python shim takes less than half of it. */
const UNMEASURED_MIB = 48
const MIB = 1_048_576

export interface Budget {
  /** Counts it in full. False: there is not enough; nothing has changed. */
  occupy(sandbox: Sandbox): boolean
  /** Counts it as at rest: after a boot, when its last request has ended, when it was measured. */
  rest(sandbox: Sandbox): void
  /** It is gone. */
  remove(sandbox: Sandbox): void
  /** Whether there is room to boot one more sandbox that rests. */
  fitsAnother(): boolean
  /** MiB that are missing, once those ending are gone, before so much more fits. */
  missingMiB(moreMiB: number): number
  /** What a sandbox at rest that is not booted yet will count. */
  readonly restingMiB: number
  /** What all are counted with. */
  readonly chargedMiB: number
}

export function createBudget(budgetMiB: number): Budget {
  if (!(budgetMiB > 0)) throw new RangeError(`a memory budget of ${budgetMiB} MiB`)
  const sandboxes = new Set<Sandbox>()
  let chargedMiB = 0

  function charge(sandbox: Sandbox, mib: number): void {
    sandboxes.add(sandbox)
    chargedMiB += mib - sandbox.chargedMiB
    sandbox.chargedMiB = mib
  }

  return {
    restingMiB: UNMEASURED_MIB,
    get chargedMiB() {
      return chargedMiB
    },
    occupy(sandbox) {
      const fullMiB: number = sandbox.spareClass.memoryMiB
      if (chargedMiB - sandbox.chargedMiB + fullMiB > budgetMiB) return false
      charge(sandbox, fullMiB)
      return true
    },
    rest(sandbox) {
      const measuredMiB = sandbox.memoryBytes === null ? UNMEASURED_MIB : sandbox.memoryBytes / MIB
      charge(sandbox, Math.min(sandbox.spareClass.memoryMiB, measuredMiB))
    },
    remove(sandbox) {
      if (!sandboxes.delete(sandbox)) return
      chargedMiB -= sandbox.chargedMiB
      sandbox.chargedMiB = 0
    },
    fitsAnother() {
      return chargedMiB + UNMEASURED_MIB <= budgetMiB
    },
    missingMiB(moreMiB) {
      let endingMiB = 0
      for (const sandbox of sandboxes) if (sandbox.state === 'ending') endingMiB += sandbox.chargedMiB
      return chargedMiB - endingMiB + moreMiB - budgetMiB
    },
  }
}

/**
 * Those that may be ended to make room, the least useful first: warm ones by how long they have been idle, then spares of classes
 * other than the one in need. Never one with requests in it.
 */
export function victims(
  sandboxes: Iterable<Sandbox>,
  inNeed: { sandbox?: Sandbox | undefined; spareClass: string; classOf: (sandbox: Sandbox) => string },
): Sandbox[] {
  const all = [...sandboxes]
  const idle = all.filter((sandbox) => sandbox.isIdle && sandbox !== inNeed.sandbox).sort((a, b) => a.idleSinceMs - b.idleSinceMs)
  const spares = all
    .filter((sandbox) => sandbox.state === 'spare' && inNeed.classOf(sandbox) !== inNeed.spareClass)
    .sort((a, b) => a.startedAtMs - b.startedAtMs)
  return [...idle, ...spares]
}

/** How long a pool waits after so many failed starts in a row: nothing after the first, then 1 s, 2 s, … 60 s. */
export function backoffMs(failures: number): number {
  return failures < 2 ? 0 : Math.min(60_000, 1_000 * 2 ** (failures - 2))
}

/** Most sandboxes that one version may have, by its class: a class that does not fit even alone gets none. */
export function sandboxesMax(budgetMiB: number, memoryMiB: number): number {
  return Math.min(limits.sandboxesPerVersionMax, Math.floor(budgetMiB / memoryMiB))
}
