/** For tests: a scheduler over a stand-in for the keeper, and short words for what tests do with it. */
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'

import { pino } from 'pino'

import type { LogLine, RoutedVersion } from '../../functions/types.ts'
import { NotingSink, requestHead } from '../../sandbox/testing/sink.ts'
import { createScheduler } from '../scheduler.ts'
import { createRegistry } from '../../telemetry/registry.ts'
import type { Registry } from '../../telemetry/registry.ts'
import { steadyNowMs } from '../../telemetry/clock.ts'
import type { MemoryReading } from '../pressure.ts'
import { createKeeperStandIn } from './keeper.ts'
import type { KeeperStandIn, Room } from './keeper.ts'
import type { Lease, Scheduler, SandboxEnd } from '../types.ts'

export interface House {
  keeper: KeeperStandIn
  scheduler: Scheduler
  logs: LogLine[]
  ends: SandboxEnd[]
  metrics: Registry
  /** The machine's, as the scheduler reads it. */
  memory: MemoryReading
}

export interface HouseOptions {
  memoryBudgetMiB?: number
  maxSandboxes?: number
  keepWarmMs?: number
  runtimes?: string[]
}

export function house(t: TestContext, options: HouseOptions = {}): House {
  const keeper = createKeeperStandIn()
  const logs: LogLine[] = []
  const ends: SandboxEnd[] = []
  const metrics = createRegistry()
  const memory: MemoryReading = { availableMiB: 64 * 1_024, stalledRatio: undefined }
  const scheduler = createScheduler({
    keeper: keeper.client,
    settings: {
      runtimes: (options.runtimes ?? ['nodejs24']).map((name) => ({ name, version: '1', entryFiles: [] })),
      keepWarmMs: options.keepWarmMs ?? 600_000,
      memoryBudgetMiB: options.memoryBudgetMiB ?? 64 * 1_024,
      maxSandboxes: options.maxSandboxes ?? 200,
      memoryReserveMiB: 1_000,
    },
    logger: pino({ level: 'silent' }),
    egress: { open: () => assert.fail('none of these versions has doors') },
    metrics,
    readMemory: () => ({ availableMiB: memory.availableMiB, stalledRatio: memory.stalledRatio }),
    events: { onLog: (line) => logs.push(line), onSandboxEnd: (end) => ends.push(end) },
  })
  t.after(async () => {
    await scheduler.stop(1_000)
    keeper.close()
  })
  return { keeper, scheduler, logs, ends, metrics, memory }
}

export function version(fields: Partial<RoutedVersion> = {}): RoutedVersion {
  return {
    tenant: 'default',
    function: 'hello',
    version: 1,
    codeDigest: 'ab'.repeat(32),
    contract: 'fetch',
    runtime: 'nodejs24',
    handler: 'index.ts',
    memoryMiB: 256,
    timeoutMs: 5_000,
    concurrency: 1,
    env: {},
    egress: [],
    services: [],
    ...fields,
  }
}

export function acquire(scheduler: Scheduler, v: RoutedVersion, options: { signal?: AbortSignal; withinMs?: number } = {}): Lease | Promise<Lease> {
  return scheduler.acquire(v, { signal: options.signal, deadlineAtMs: steadyNowMs() + (options.withinMs ?? 5_000) })
}

export async function call(scheduler: Scheduler, v: RoutedVersion, options: { withinMs?: number } = {}): Promise<{ sink: NotingSink; lease: Lease }> {
  const lease = await acquire(scheduler, v, options)
  const sink = new NotingSink()
  lease.exchange(requestHead(), sink)
  return { sink, lease }
}

export async function answered(scheduler: Scheduler, v: RoutedVersion): Promise<{ text: string; start: string; sandbox: number; sink: NotingSink }> {
  const { sink, lease } = await call(scheduler, v)
  await sink.done
  return { text: sink.text, start: lease.start, sandbox: lease.sandbox, sink }
}

export async function until(what: string, isSo: () => boolean, withinMs = 3_000): Promise<void> {
  const deadline = Date.now() + withinMs
  while (!isSo()) {
    if (Date.now() > deadline) assert.fail(`waited in vain until ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
export const spares = (keeper: KeeperStandIn): Room[] => [...keeper.rooms.values()].filter((room) => room.label === null)
export const hold = (room: Room, request: Room['held'][number]): void => void room.held.push(request)
export const releaseOne = (room: Room): void => {
  const request = room.held.shift()!
  room.guest.answer(request.stream, 200, `from ${room.id}`)
}
export const only = (keeper: KeeperStandIn): Room => [...keeper.rooms.values()].find((room) => room.label !== null)!
