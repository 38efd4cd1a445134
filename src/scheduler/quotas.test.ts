import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'

import { pino } from 'pino'

import { HostelError } from '../errors.ts'
import type { Quotas, RoutedVersion } from '../functions/types.ts'
import { NotingSink, requestHead } from '../sandbox/testing/sink.ts'
import { createRegistry } from '../telemetry/registry.ts'
import { createScheduler } from './scheduler.ts'
import { acquire as acquireIn, version as anyVersion } from './testing/house.ts'
import { createKeeperStandIn } from './testing/keeper.ts'
import type { KeeperStandIn, Room } from './testing/keeper.ts'
import type { Scheduler } from './types.ts'

function house(t: TestContext, quotas: Partial<Quotas>): { keeper: KeeperStandIn; scheduler: Scheduler; ends: string[] } {
  const keeper = createKeeperStandIn()
  const ends: string[] = []
  const scheduler = createScheduler({
    keeper: keeper.client,
    settings: {
      runtimes: [{ name: 'nodejs24', version: '1', entryFiles: [] }],
      keepWarmMs: 600_000,
      memoryBudgetMiB: 64 * 1_024,
      maxSandboxes: 200,
      memoryReserveMiB: 1,
    },
    logger: pino({ level: 'silent' }),
    metrics: createRegistry(),
    egress: { open: () => assert.fail('none of these versions has doors') },
    events: { onLog() {}, onSandboxEnd: ({ info, reason }) => ends.push(`${info.function ?? 'spare'}: ${reason}`) },
  })
  scheduler.setQuotas([quotasOf('shop', quotas)])
  t.after(async () => {
    await scheduler.stop(1_000)
    keeper.close()
  })
  return { keeper, scheduler, ends }
}

const quotasOf = (tenant: string, quotas: Partial<Quotas>) => ({
  tenant,
  quotas: { functions: null, sandboxes: null, memoryMiB: null, requestsPerSecond: null, ...quotas },
})

const version = (name: string, fields: Partial<RoutedVersion> = {}): RoutedVersion => anyVersion({ tenant: 'shop', function: name, ...fields })

const acquire = (scheduler: Scheduler, v: RoutedVersion, withinMs = 3_000) => acquireIn(scheduler, v, { withinMs })

async function call(scheduler: Scheduler, v: RoutedVersion, withinMs?: number): Promise<NotingSink> {
  const lease = await acquire(scheduler, v, withinMs)
  const sink = new NotingSink()
  lease.exchange(requestHead(), sink)
  return sink
}

async function answered(scheduler: Scheduler, v: RoutedVersion, withinMs?: number): Promise<void> {
  await (
    await call(scheduler, v, withinMs)
  ).done
}

const labelled = (keeper: KeeperStandIn): string[] => [...keeper.rooms.values()].flatMap(({ label }) => label ?? []).sort()
const refusal = async (work: Promise<unknown>): Promise<string> => {
  const error: unknown = await work.then(
    () => assert.fail('it was not refused'),
    (cause: unknown) => cause,
  )
  assert.ok(error instanceof HostelError, String(error))
  return `${error.code}: ${error.message}`
}
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

describe("a tenant's quota of sandboxes", () => {
  test('has its requests wait for a place in those it has', async (t) => {
    const { keeper, scheduler } = house(t, { sandboxes: 2 })
    keeper.onRequest = (room, request) => void setTimeout(() => room.guest.answer(request.stream, 200, 'ok'), 20)
    await Promise.all(Array.from({ length: 10 }, () => answered(scheduler, version('a'))))
    assert.equal(labelled(keeper).length, 2)
  })

  test('ends the longest idle one of its own, and nobody else’s, for another function', async (t) => {
    const { keeper, scheduler, ends } = house(t, { sandboxes: 2 })
    await answered(scheduler, version('other', { tenant: 'other' }))
    await answered(scheduler, version('a'))
    await pause(5)
    await answered(scheduler, version('b'))
    await answered(scheduler, version('c'))
    assert.deepEqual(labelled(keeper), ['other/other/1', 'shop/b/1', 'shop/c/1'])
    assert.deepEqual(ends, ["a: its tenant's quota left no room for it"])
  })

  test('waits for a busy one to become idle, and refuses after the longest wait with the name of the quota', async (t) => {
    const { keeper, scheduler } = house(t, { sandboxes: 1 })
    const held: { room: Room; stream: number }[] = []
    keeper.onRequest = (room, request) => void held.push({ room, stream: request.stream })
    const busy = await call(scheduler, version('a'), 60_000)
    const refused = refusal(answered(scheduler, version('b'), 60_000))
    const lucky = (async () => {
      await pause(9_000)
      return call(scheduler, version('c'), 60_000)
    })()
    assert.equal(await refused, 'too_many_requests: waited 10 s for a free place; tenant shop is at its quota of 1 sandbox')
    const { room, stream } = held.shift()!
    room.guest.answer(stream, 200, 'ok')
    await busy.done
    await lucky
    assert.deepEqual(labelled(keeper), ['shop/c/1'])
  })

  test('boots nothing that it would not get', async (t) => {
    const { keeper, scheduler } = house(t, { sandboxes: 1 })
    keeper.onRequest = () => {}
    await call(scheduler, version('a'))
    await pause(100)
    const boots = keeper.count('boot')
    const waiting = refusal(answered(scheduler, version('b'), 300))
    await pause(200)
    assert.equal(keeper.count('boot'), boots)
    assert.match(await waiting, /^deadline_exceeded/)
  })

  test('holds anew when it is changed: idle ones beyond it are ended, and who waited gets more', async (t) => {
    const { keeper, scheduler } = house(t, { sandboxes: 3 })
    for (const name of ['a', 'b', 'c']) await answered(scheduler, version(name))
    scheduler.setQuotas([quotasOf('shop', { sandboxes: 1 })])
    await pause(50)
    assert.deepEqual(labelled(keeper), ['shop/c/1'])
    keeper.onRequest = () => {}
    await call(scheduler, version('c'))
    const waiting = call(scheduler, version('a'))
    await pause(50)
    assert.deepEqual(labelled(keeper), ['shop/c/1'])
    scheduler.setQuotas([])
    await waiting
    assert.deepEqual(labelled(keeper), ['shop/a/1', 'shop/c/1'])
  })

  test('of none refuses at once', async (t) => {
    const { scheduler } = house(t, { sandboxes: 0 })
    assert.equal(await refusal(answered(scheduler, version('a'))), 'no_capacity: tenant shop may have no sandboxes at the moment')
  })
})

describe("a tenant's quota of memory", () => {
  test('counts each sandbox with all that it may use', async (t) => {
    const { keeper, scheduler } = house(t, { memoryMiB: 600 })
    keeper.onRequest = (room, request) => void setTimeout(() => room.guest.answer(request.stream, 200, 'ok'), 20)
    await Promise.all(Array.from({ length: 10 }, () => answered(scheduler, version('a'))))
    assert.equal(labelled(keeper).length, 2)
    // 512 and 256 do not go together: both idle ones make room.
    await answered(scheduler, version('large', { memoryMiB: 512 }))
    assert.deepEqual(labelled(keeper), ['shop/large/1'])
  })

  test('refuses at once what would not fit even alone', async (t) => {
    const { scheduler } = house(t, { memoryMiB: 600 })
    assert.equal(
      await refusal(answered(scheduler, version('huge', { memoryMiB: 1_024 }))),
      'no_capacity: a sandbox of 1024 MiB is more than the 600 MiB that tenant shop may use in all',
    )
  })
})
