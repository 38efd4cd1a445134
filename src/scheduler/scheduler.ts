/**
 * Decides which sandbox a request gets, and which sandboxes there are. A free place in a warm one comes first, then a spare that is
 * specialised, then a boot; beyond that requests wait in a bounded queue of their version.
 */
import type { EgressDoors } from '../egress/doors.ts'
import { HostelError } from '../errors.ts'
import type { RoutedVersion } from '../functions/types.ts'
import type { ChildSettings } from '../keeper/messages.ts'
import { limits } from '../limits.ts'
import { STREAM_MAX } from '../sandbox/connection.ts'
import type { Logger } from '../telemetry/logger.ts'
import type { Registry } from '../telemetry/registry.ts'
import { steadyNowMs } from '../telemetry/clock.ts'
import { takeInAdopted } from './adoption.ts'
import { sandboxesMax } from './budget.ts'
import { endReasons } from './causes.ts'
import type { EndReason } from './causes.ts'
import { doorsOf, environmentOf, serveDoors } from './doors.ts'
import { createFleet } from './fleet.ts'
import type { KeeperClient } from './keeper.ts'
import { startHousekeeping } from './housekeeping.ts'
import { VersionPool, versionKey } from './pool.ts'
import { schedulerFigures } from './figures.ts'
import type { MemoryReading } from './pressure.ts'
import type { Sandbox } from './sandbox.ts'
import { hasLeft, noteTrouble, started, until } from './endings.ts'
import { createPlanner } from './planner.ts'
import { createTenantBounds } from './quotas.ts'
import { classOfVersion, noteTaken, spareClassKey, SpareClasses } from './spares.ts'
import { Ticket } from './ticket.ts'
import type { TicketOffice } from './ticket.ts'
import type { AcquireOptions, Lease, Scheduler, SchedulerEvents } from './types.ts'

export interface SchedulerOptions {
  keeper: KeeperClient
  settings: Pick<ChildSettings, 'runtimes' | 'keepWarmMs' | 'memoryBudgetMiB' | 'maxSandboxes' | 'memoryReserveMiB'>
  logger: Logger
  /** Serves the doors of sandboxes. */
  egress: EgressDoors
  metrics: Registry
  events: SchedulerEvents
  /** Instead of the kernel's files. */
  readMemory?: () => MemoryReading
}

/** To be made as soon as the settings are known: adopted sandboxes come right behind. */
export function createScheduler(options: SchedulerOptions): Scheduler {
  const { keeper, settings, logger, metrics, egress, events } = options
  const pools = new Map<string, VersionPool>()
  /** The hot path finds its pool by the identity of the version that it was routed to. */
  const poolsByVersion = new WeakMap<RoutedVersion, VersionPool>()
  /** Pools with requests waiting. */
  const hungry = new Set<VersionPool>()
  const classes = new SpareClasses(settings.runtimes)
  let stopping = false
  let wakeScheduled = false

  const fleet = createFleet({
    keeper,
    settings,
    logger,
    metrics,
    ...(options.readMemory && { readMemory: options.readMemory }),
    onGone: wake,
    handlers: {
      onLog: events.onLog,
      specialised: (sandbox) => sandbox.pool?.noteStarted(),
      initFailed(sandbox, guest) {
        fleet.end(sandbox, endReasons.init(new HostelError('init_failed', undefined, { facts: { guest } })), 0)
      },
      leaving(sandbox) {
        sandbox.pool?.remove(sandbox)
        const { spares } = classes.of(sandbox.spareClass)
        const at = spares.indexOf(sandbox)
        if (at >= 0) spares.splice(at, 1)
      },
      lost(sandbox, cause, abandoned) {
        const { pool } = sandbox
        if (pool !== null && cause.ownFault) noteTrouble(pool, sandbox, cause.error)
        for (const { sink, begun, answered } of abandoned) if (sink instanceof Ticket) sink.lost(begun, answered, cause)
        if (pool !== null) pump(pool)
      },
      dead(sandbox, cause) {
        metrics.counter('hostel_sandbox_ends_total', { cause: cause.kind }).value++
        events.onSandboxEnd({ info: sandbox.info(), exit: sandbox.exit, reason: cause.text })
      },
    },
  })

  const bounds = createTenantBounds(fleet.sandboxes, (sandbox) => fleet.end(sandbox, endReasons.overQuota(), limits.endGraceMs))
  const planner = createPlanner({ fleet, classes, hungry, logger, offer: pump })
  const housekeeping = startHousekeeping({ fleet, classes, pools, keepWarmMs: settings.keepWarmMs, logger, plan: planner.plan })
  const adoption = takeInAdopted({ keeper, fleet, logger, asSpare: (sandbox) => addSpare(sandbox), asWarm })

  const waits = metrics.histogram('hostel_queue_wait_seconds')
  schedulerFigures(metrics, { fleet, classes, hungry, budgetMiB: settings.memoryBudgetMiB })

  const office: TicketOffice = {
    release,
    async again(ticket, signal) {
      const pool = ticket.place.pool!
      return place(pool, { signal, deadlineAtMs: ticket.deadlineAtMs })
    },
    overdue(ticket, sandbox) {
      void judge(ticket, sandbox)
    },
  }

  function poolOf(version: RoutedVersion): VersionPool {
    const known = poolsByVersion.get(version)
    if (known !== undefined && !known.dropped) return known
    const key = versionKey(version)
    let pool = pools.get(key)
    if (pool === undefined) {
      const sandboxes = { max: sandboxesMax(settings.memoryBudgetMiB, version.memoryMiB), inQuota: () => bounds.roomFor(version) }
      pool = new VersionPool(version, key, spareClassKey(classOfVersion(version)), sandboxes)
      pools.set(key, pool)
    }
    poolsByVersion.set(version, pool)
    return pool
  }

  function acquire(version: RoutedVersion, acquireOptions: AcquireOptions): Lease | Promise<Lease> {
    if (stopping) throw new HostelError('shutting_down')
    const pool = poolOf(version)
    // Those who wait already come first.
    const sandbox = pool.waiters.size === 0 ? take(pool) : null
    if (sandbox !== null && sandbox.thawing === null) return new Ticket(office, sandbox, acquireOptions.deadlineAtMs)
    return acquireLater(pool, sandbox, acquireOptions)
  }

  async function acquireLater(pool: VersionPool, taken: Sandbox | null, acquireOptions: AcquireOptions): Promise<Lease> {
    const sandbox = taken === null ? await place(pool, acquireOptions) : await thawed(pool, taken, acquireOptions)
    const ticket = new Ticket(office, sandbox, acquireOptions.deadlineAtMs)
    if (!acquireOptions.signal?.aborted) return ticket
    ticket.release()
    throw new HostelError('cancelled')
  }

  /** A place, once there is one. */
  async function place(pool: VersionPool, acquireOptions: AcquireOptions, urgent = false): Promise<Sandbox> {
    if (stopping) throw new HostelError('shutting_down')
    if (!urgent) {
      pool.assertNotBackingOff()
      pool.assertNotCrashing()
    }
    bounds.assertPossible(pool.version)
    planner.assertBootable(pool)
    if (pool.sandboxes.size === 0 && classes.of(classOfVersion(pool.version)).spares.length === 0) fleet.pressure.assertRoom()
    const waiting = pool.wait(acquireOptions)
    if (pool.waiters.size > 0) {
      hungry.add(pool)
      pump(pool)
    }
    const sinceMs = performance.now()
    try {
      return await thawed(pool, await waiting, acquireOptions)
    } finally {
      waits.observe((performance.now() - sinceMs) / 1_000)
    }
  }

  async function thawed(pool: VersionPool, sandbox: Sandbox, acquireOptions: AcquireOptions): Promise<Sandbox> {
    if (sandbox.thawing === null) return sandbox
    await sandbox.thawing
    if (sandbox.state !== 'ending') return sandbox
    return place(pool, acquireOptions)
  }

  /** Takes a free place, if there is one and memory for it. */
  function take(pool: VersionPool): Sandbox | null {
    const { free } = pool
    const sandbox = free[free.length - 1]
    if (sandbox === undefined) return null
    if (sandbox.inFlight === 0 && !fleet.occupy(sandbox)) {
      pool.starved = true
      return null
    }
    sandbox.inFlight++
    if (sandbox.inFlight >= pool.version.concurrency) free.pop()
    if (sandbox.frozen) fleet.thaw(sandbox)
    return sandbox
  }

  function release(sandbox: Sandbox, stuck: boolean): void {
    sandbox.inFlight--
    if (stuck) sandbox.stuck--
    if (sandbox.state === 'ending') return
    if (++sandbox.settled === 2) sandbox.pool!.noteLiving()
    if (sandbox.draining !== null) {
      if (sandbox.inFlight <= sandbox.stuck) fleet.end(sandbox, sandbox.draining, 0)
      return
    }
    const pool = sandbox.pool!
    if (sandbox.inFlight === pool.version.concurrency - 1) pool.free.push(sandbox)
    if (pool.waiters.size > 0) pump(pool)
    if (sandbox.inFlight === 0) goIdle(sandbox, pool)
  }

  function goIdle(sandbox: Sandbox, pool: VersionPool): void {
    sandbox.idleSinceMs = steadyNowMs()
    fleet.budget.rest(sandbox)
    if (stopping) fleet.end(sandbox, endReasons.stopping(), limits.endGraceMs)
    else if (pool.retired) fleet.end(sandbox, endReasons.retired(), limits.endGraceMs)
    else if (sandbox.invocations >= STREAM_MAX) fleet.end(sandbox, endReasons.replaced(), limits.endGraceMs)
    if (hungry.size > 0) wake()
  }

  /** Gives free places to those who wait, and starts more sandboxes if they don't suffice. */
  function pump(pool: VersionPool): void {
    while (pool.waiters.size > 0) {
      const sandbox = take(pool)
      if (sandbox === null) break
      pool.next()!.give(sandbox)
    }
    if (pool.waiters.size === 0) {
      hungry.delete(pool)
      pool.starved = false
      pool.quota = null
      return
    }
    grow(pool)
  }

  function grow(pool: VersionPool): void {
    const state = classes.of(classOfVersion(pool.version))
    bounds.attend(pool)
    while (pool.wanted > 0) {
      const spare = state.spares.at(-1)
      if (spare === undefined) {
        noteTaken(state, steadyNowMs())
        break
      }
      if (!fleet.occupy(spare)) {
        pool.starved = true
        break
      }
      state.spares.pop()
      noteTaken(state, steadyNowMs())
      // A spare that became ready while somebody waited was booted for it.
      void assign(pool, spare, spare.idleSinceMs >= pool.waitingSinceMs ? 'boot' : 'spare')
    }
    planner.plan()
  }

  async function assign(pool: VersionPool, sandbox: Sandbox, start: 'spare' | 'boot'): Promise<void> {
    const { version } = pool
    sandbox.state = 'specialising'
    sandbox.version = version
    sandbox.pool = pool
    sandbox.start = start
    sandbox.specialisedAtEpochMs = steadyNowMs()
    pool.sandboxes.add(sandbox)
    pool.assigning++
    try {
      const listeners = await keeper.specialise(sandbox.id, version.treeDigest ?? version.codeDigest, pool.key, doorsOf(version))
      serveDoors(egress, sandbox, version, listeners, () => fleet.end(sandbox, endReasons.flooded(), 0))
      sandbox.specialiseAtMs = performance.now()
      const { tenant, function: name, handler, memoryMiB, timeoutMs, concurrency } = version
      sandbox.connection.specialise({
        tenant,
        function: name,
        version: version.version,
        handler,
        env: environmentOf(version),
        memoryMiB,
        timeoutMs,
        concurrency,
      })
    } catch (error) {
      pool.assigning--
      if (hasLeft(sandbox)) return
      logger.error({ sandbox: sandbox.id, version: pool.key, error: (error as Error).message }, 'could not specialise a sandbox')
      fleet.end(sandbox, { ...endReasons.keeper(error as Error), error: error as HostelError, ownFault: true }, 0)
      return
    }
    pool.assigning--
    if (hasLeft(sandbox)) return
    limitInit(sandbox)
    pool.free.push(sandbox)
    pump(pool)
    if (sandbox.inFlight === 0) goIdle(sandbox, pool)
  }

  function limitInit(sandbox: Sandbox): void {
    const timer = setTimeout(() => {
      fleet.end(sandbox, endReasons.init(new HostelError('init_timeout', `it was not ready within ${limits.initTimeoutMs / 1_000} s`)), 0)
    }, limits.initTimeoutMs)
    sandbox.initWaiters.push(() => clearTimeout(timer))
  }

  function asWarm(sandbox: Sandbox, version: RoutedVersion): void {
    const pool = poolOf(version)
    sandbox.state = 'warm'
    sandbox.version = version
    sandbox.contract = version.contract
    serveDoors(egress, sandbox, version, sandbox.listeners, () => fleet.end(sandbox, endReasons.flooded(), 0))
    sandbox.pool = pool
    pool.sandboxes.add(sandbox)
    pool.free.unshift(sandbox)
    sandbox.idleSinceMs = steadyNowMs()
    pump(pool)
  }

  function addSpare(sandbox: Sandbox): void {
    sandbox.state = 'spare'
    classes.of(sandbox.spareClass).spares.push(sandbox)
    wake()
  }

  /** A cancelled request does not end. Is it alone to blame, or does it hold up all others? */
  async function judge(ticket: Ticket, sandbox: Sandbox): Promise<void> {
    const answers = await sandbox.connection.ping(limits.pingTimeoutMs)
    if (ticket.settledInGuest || ticket.place !== sandbox || sandbox.state === 'ending') return
    if (!answers) {
      fleet.end(sandbox, endReasons.blocked(), 0)
      return
    }
    ticket.stuck = true
    sandbox.stuck++
    drain(sandbox, endReasons.stuck())
  }

  function drain(sandbox: Sandbox, reason: EndReason): void {
    sandbox.draining ??= reason
    sandbox.pool?.remove(sandbox)
    if (sandbox.inFlight <= sandbox.stuck) return fleet.end(sandbox, reason, 0)
    // All others have deadlines of their own; this holds even if one of them were never told.
    setTimeout(() => fleet.end(sandbox, reason, 0), sandbox.version!.timeoutMs + limits.cancelGraceMs).unref()
  }

  /** Something has become free: those who wait for memory or number try again. */
  function wake(): void {
    if (wakeScheduled) return
    wakeScheduled = true
    setImmediate(() => {
      wakeScheduled = false
      for (const pool of [...hungry].sort((a, b) => a.waitingSinceMs - b.waitingSinceMs)) pump(pool)
      planner.plan()
    })
  }

  planner.plan()

  return {
    acquire,
    async prepare(version) {
      if (stopping) throw new HostelError('shutting_down')
      const pool = poolOf(version)
      // It is about to be wanted again; otherwise what is started here would be ended as soon as it is ready.
      pool.retired = false
      const deadlineAtMs = steadyNowMs() + limits.bootTimeoutMs + limits.initTimeoutMs
      // The asker wants to know now, so a back-off does not hold.
      const sandbox = take(pool) ?? (await place(pool, { signal: undefined, deadlineAtMs }, true))
      using _held = new Ticket(office, sandbox, deadlineAtMs)
      await sandbox.thawing
      if (!sandbox.initialised) await started(sandbox)
      return { contract: sandbox.contract!, initMs: sandbox.initMs }
    },
    noteVersions(versions) {
      classes.note(versions)
      adoption.noteVersions(versions)
      planner.plan()
    },
    retire(tenant, name, keep) {
      const keys = keep.map(versionKey)
      for (const pool of pools.values()) {
        if (pool.version.tenant !== tenant || pool.version.function !== name) continue
        pool.retired = !keys.includes(pool.key)
        if (!pool.retired) continue
        for (const sandbox of pool.sandboxes) if (sandbox.isIdle) fleet.end(sandbox, endReasons.retired(), limits.endGraceMs)
      }
    },
    setQuotas(tenants) {
      bounds.set(tenants)
      wake()
    },
    async list() {
      await fleet.measure()
      return [...fleet.sandboxes.values()].map((sandbox) => sandbox.info())
    },
    canServe: () => !stopping && classes.canBoot(steadyNowMs()),
    async stop(withinMs) {
      stopping = true
      housekeeping.stop()
      planner.stop()
      fleet.pressure.stop()
      for (const pool of hungry) pool.refuseAll(new HostelError('shutting_down'))
      const deadlineAtMs = steadyNowMs() + withinMs
      // Sandboxes that were still booting turn up meanwhile.
      const gone = (inUseToo: boolean) => (): boolean => {
        for (const sandbox of fleet.sandboxes.values())
          if (inUseToo || sandbox.inFlight === 0) fleet.end(sandbox, endReasons.stopping(), inUseToo ? 0 : limits.endGraceMs)
        return fleet.sandboxes.size === 0 && classes.booting === 0
      }
      await until(gone(false), deadlineAtMs - limits.endGraceMs)
      await until(gone(true), deadlineAtMs)
    },
  }
}
