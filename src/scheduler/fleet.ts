/** All sandboxes of this gateway: booting, adopting, freezing, ending them, and making room within memory budget and number. */
import { HostelError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { ChildSettings, SpareClass } from '../keeper/messages.ts'
import type { Logger } from '../telemetry/logger.ts'
import type { Registry } from '../telemetry/registry.ts'
import { steadyNowMs } from '../telemetry/clock.ts'
import { createBudget, victims } from './budget.ts'
import type { Budget } from './budget.ts'
import { endReasons } from './causes.ts'
import type { EndReason } from './causes.ts'
import type { AdoptedSandbox, KeeperClient } from './keeper.ts'
import { watchMemory } from './pressure.ts'
import type { MemoryReading, Pressure } from './pressure.ts'
import { Sandbox } from './sandbox.ts'
import type { SandboxHandlers } from './sandbox.ts'
import { spareClassKey } from './spares.ts'

export interface Fleet {
  readonly sandboxes: ReadonlyMap<number, Sandbox>
  readonly budget: Budget
  readonly pressure: Pressure
  /** Boots a spare and waits until its shim is ready. @throws HostelError */
  boot(spareClass: SpareClass): Promise<Sandbox>
  /** Takes in one that outlived the gateway before, and waits until its shim has said so. @throws HostelError */
  adopt(adopted: AdoptedSandbox): Promise<Sandbox>
  /** Ends it; requests in it are told at once. */
  end(sandbox: Sandbox, reason: EndReason, graceMs: number): void
  /** Counts it in full. False: something else was asked to leave if anything may; try again when one has gone. */
  occupy(sandbox: Sandbox): boolean
  /** Whether one more may be booted now. With `forRequests`, whoever is less useful is asked to leave if that helps. */
  hasRoom(spareClass: SpareClass, forRequests: boolean): boolean
  freeze(sandbox: Sandbox): void
  /** Sets `sandbox.thawing`. */
  thaw(sandbox: Sandbox): void
  /** Measures all. */
  measure(): Promise<void>
  /** Forgets those of which the keeper never said that they are gone. */
  forgetLost(): void
}

/** The keeper says `exited` within milliseconds of a kill; after this it never will. */
const FORGET_AFTER_MS = 30_000

export interface FleetOptions {
  keeper: KeeperClient
  settings: Pick<ChildSettings, 'memoryBudgetMiB' | 'maxSandboxes' | 'memoryReserveMiB'>
  logger: Logger
  metrics: Registry
  handlers: Omit<SandboxHandlers, 'onSpareOutput'>
  /** There may be room: a sandbox is gone for good, or the machine has memory again. */
  onGone(): void
  /** Instead of the kernel's files. */
  readMemory?: () => MemoryReading
}

export function createFleet(options: FleetOptions): Fleet {
  const { keeper, settings, logger, metrics, onGone } = options
  const sandboxes = new Map<number, Sandbox>()
  const budget = createBudget(settings.memoryBudgetMiB)
  let booting = 0
  const pressure = watchMemory({
    reserveMiB: settings.memoryReserveMiB,
    relieve,
    onCalm: onGone,
    logger,
    metrics,
    ...(options.readMemory && { read: options.readMemory }),
  })

  const handlers: SandboxHandlers = {
    ...options.handlers,
    onSpareOutput(sandbox, text) {
      logger.warn({ sandbox: sandbox.id, text }, 'a sandbox without a function wrote')
    },
    lost(sandbox, cause, abandoned) {
      if (sandbox.broken) keeper.end(sandbox.id, 0)
      options.handlers.lost(sandbox, cause, abandoned)
    },
    dead(sandbox, cause) {
      // Not before: an end that we ask for hides the one that came by itself.
      if (sandbox.exit === null) keeper.end(sandbox.id, 0)
      options.handlers.dead(sandbox, cause)
    },
  }

  keeper.onExited = (id, exit) => {
    const sandbox = sandboxes.get(id)
    if (sandbox === undefined) return
    sandbox.exited(exit)
    forget(sandbox)
  }

  function forget(sandbox: Sandbox): void {
    sandboxes.delete(sandbox.id)
    budget.remove(sandbox)
    onGone()
  }

  function end(sandbox: Sandbox, reason: EndReason, graceMs: number): void {
    if (sandbox.state === 'ending') return
    keeper.end(sandbox.id, graceMs)
    sandbox.leaveFor(reason)
  }

  function evict(missingMiB: number, missingSandboxes: number, inNeed: { sandbox?: Sandbox; spareClass: string }): void {
    let mib = missingMiB
    let count = missingSandboxes
    for (const victim of victims(sandboxes.values(), { ...inNeed, classOf: (sandbox) => spareClassKey(sandbox.spareClass) })) {
      if (mib <= 0 && count <= 0) return
      mib -= victim.chargedMiB
      count--
      leave(victim, 'budget')
    }
  }

  function leave(victim: Sandbox, reason: 'budget' | 'pressure'): void {
    metrics.counter('hostel_evictions_total', { kind: victim.state === 'spare' ? 'spare' : 'idle', reason }).value++
    end(victim, reason === 'budget' ? endReasons.evicted() : endReasons.pressed(), limits.endGraceMs)
  }

  /** The machine is short of memory. */
  function relieve(missingMiB: number): boolean {
    let mib = missingMiB
    let onTheirWay = 0
    for (const sandbox of sandboxes.values()) {
      if (sandbox.state !== 'ending') continue
      mib -= sandbox.chargedMiB
      onTheirWay++
    }
    for (const victim of victims(sandboxes.values(), { spareClass: '', classOf: (sandbox) => spareClassKey(sandbox.spareClass) })) {
      if (mib <= 0 || onTheirWay >= limits.memoryEvictionsAtOnceMax) break
      mib -= victim.chargedMiB
      onTheirWay++
      leave(victim, 'pressure')
    }
    return onTheirWay > 0
  }

  async function makeReady(sandbox: Sandbox, timeoutMs: number): Promise<void> {
    sandboxes.set(sandbox.id, sandbox)
    budget.rest(sandbox)
    try {
      await sandbox.connection.handshake(timeoutMs)
    } catch (error) {
      end(sandbox, endReasons.keeper(error as Error), 0)
      throw error
    }
    if (sandbox.state === 'ending') throw new HostelError('unavailable', 'the sandbox ended as it became ready')
  }

  return {
    sandboxes,
    budget,
    pressure,
    end,
    async boot(spareClass) {
      booting++
      const startedAtMs = performance.now()
      try {
        const sandbox = new Sandbox(await keeper.boot(spareClass), spareClass, handlers)
        await makeReady(sandbox, Math.max(1, limits.bootTimeoutMs - (performance.now() - startedAtMs)))
        sandbox.state = 'spare'
        sandbox.idleSinceMs = steadyNowMs()
        metrics.counter('hostel_sandbox_boots_total', { result: 'ok' }).value++
        return sandbox
      } catch (error) {
        metrics.counter('hostel_sandbox_boots_total', { result: 'failed' }).value++
        throw error
      } finally {
        booting--
      }
    },
    async adopt(adopted) {
      const sandbox = new Sandbox(adopted, adopted.spareClass, handlers, { adopted: adopted.label !== null })
      sandbox.listeners = adopted.doors
      sandboxes.set(sandbox.id, sandbox)
      try {
        // It may have been frozen by the gateway before; a frozen shim says nothing.
        await keeper.thaw(sandbox.id)
      } catch (error) {
        end(sandbox, endReasons.frozen(error as Error), 0)
        throw error
      }
      await makeReady(sandbox, limits.bootTimeoutMs)
      return sandbox
    },
    occupy(sandbox) {
      if (budget.occupy(sandbox)) return true
      const missingMiB = budget.missingMiB(sandbox.spareClass.memoryMiB - sandbox.chargedMiB)
      evict(missingMiB, 0, { sandbox, spareClass: spareClassKey(sandbox.spareClass) })
      return false
    },
    hasRoom(spareClass, forRequests) {
      // Spares are a luxury, and none are renewed before there is plenty again.
      if (pressure.state === 2 || (pressure.state === 1 && !forRequests)) return false
      const missingSandboxes = sandboxes.size + booting + 1 - settings.maxSandboxes
      if (forRequests) {
        let ending = 0
        for (const sandbox of sandboxes.values()) if (sandbox.state === 'ending') ending++
        evict(budget.missingMiB(spareClass.memoryMiB), missingSandboxes - ending, { spareClass: spareClassKey(spareClass) })
      }
      return missingSandboxes <= 0 && budget.fitsAnother()
    },
    freeze(sandbox) {
      sandbox.frozen = true
      sandbox.freezing = keeper
        .freeze(sandbox.id)
        .catch((error: Error) => logger.warn({ sandbox: sandbox.id, error: error.message }, 'could not freeze a sandbox'))
        .finally(() => (sandbox.freezing = null))
    },
    thaw(sandbox) {
      sandbox.frozen = false
      // A freeze under way must not be overtaken.
      const thawing = (sandbox.freezing ?? Promise.resolve()).then(() => keeper.thaw(sandbox.id))
      sandbox.thawing = thawing.then(
        () => void (sandbox.thawing = null),
        (error: Error) => {
          sandbox.thawing = null
          end(sandbox, endReasons.frozen(error), 0)
        },
      )
    },
    async measure() {
      const usage = await keeper.usage()
      for (const [id, memoryBytes] of usage) {
        const sandbox = sandboxes.get(id)
        if (sandbox === undefined) continue
        sandbox.memoryBytes = memoryBytes
        if (sandbox.isIdle || sandbox.state === 'spare') budget.rest(sandbox)
      }
      evict(budget.missingMiB(0), 0, { spareClass: '' })
    },
    forgetLost() {
      const beforeMs = steadyNowMs() - FORGET_AFTER_MS
      for (const sandbox of sandboxes.values()) {
        if (sandbox.state !== 'ending' || sandbox.endingSinceMs > beforeMs) continue
        logger.error({ sandbox: sandbox.id }, 'the keeper never said that a sandbox is gone')
        forget(sandbox)
      }
    },
  }
}
