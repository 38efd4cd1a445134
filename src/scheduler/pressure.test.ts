import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import { HostelError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { MetricSample } from '../telemetry/catalogue.ts'
import type { Registry } from '../telemetry/registry.ts'
import { acquire, answered, call, hold, house, only, releaseOne, spares, until, version } from './testing/house.ts'

const value = (metrics: Registry, name: MetricSample['name'], labels: Record<string, string> = {}): unknown =>
  metrics.samples().find((sample) => sample.name === name && Object.entries(labels).every(([label, text]) => sample.labels[label] === text))?.value

describe('a machine short of memory', () => {
  test('ends sandboxes without work, spares too, says so in the log of the function, and renews none', async (t) => {
    const { keeper, scheduler, memory, logs, metrics } = house(t)
    await answered(scheduler, version())
    await until('there are spares', () => spares(keeper).length === 2)
    memory.availableMiB = 100
    await until('all have gone', () => keeper.rooms.size === 0)
    await until('their ends are known', () => logs.some((line) => line.level === 'system' && /short of memory/.test(line.text)))
    assert.equal(value(metrics, 'hostel_evictions_total', { kind: 'idle', reason: 'pressure' }), 1)
    assert.ok((value(metrics, 'hostel_evictions_total', { kind: 'spare', reason: 'pressure' }) as number) >= 2)
    const evicted = 1 + (value(metrics, 'hostel_evictions_total', { kind: 'spare', reason: 'pressure' }) as number)
    await until('all ends are counted', () => value(metrics, 'hostel_sandbox_ends_total', { cause: 'pressed' }) === evicted)
    await until('new ones are refused', () => value(metrics, 'hostel_memory_pressure_state') === 2)
    assert.equal(keeper.rooms.size, 0)
  })

  test('refuses new sandboxes with what was measured, leaves those at work alone, and starts new ones once there is enough again', async (t) => {
    const { keeper, scheduler, memory, metrics } = house(t)
    keeper.onRequest = hold
    const { sink } = await call(scheduler, version({ concurrency: 2 }))
    await until('it is in the sandbox', () => only(keeper)?.held.length === 1)
    memory.availableMiB = 100
    await until('new ones are refused', () => value(metrics, 'hostel_memory_pressure_state') === 2)
    await assert.rejects(
      async () => acquire(scheduler, version({ function: 'other' })),
      (error: HostelError) =>
        error.code === 'no_capacity' && /100 MiB of memory available and keeps 1000 MiB/.test(error.message) && error.retryAfterSeconds! > 0,
    )
    const second = await call(scheduler, version({ concurrency: 2 }))
    assert.equal(second.lease.start, 'warm')
    await until('both are in the sandbox', () => only(keeper).held.length === 2)
    releaseOne(only(keeper))
    releaseOne(only(keeper))
    await sink.done
    await second.sink.done
    memory.availableMiB = 10_000
    await until('it is calm again', () => value(metrics, 'hostel_memory_pressure_state') === 0, limits.memoryCalmMs + 3_000)
    keeper.onRequest = (room, request) => room.guest.answer(request.stream, 200, 'fine')
    assert.equal((await answered(scheduler, version({ function: 'other' }))).text, 'fine')
  })

  test('counts stalls only close to the reserve: a sandbox at its own limit gets no others ended', async (t) => {
    const { keeper, scheduler, memory, metrics } = house(t)
    await answered(scheduler, version())
    memory.stalledRatio = 0.9
    await new Promise((resolve) => setTimeout(resolve, 2 * limits.memoryWatchEveryMs + 100))
    assert.equal(value(metrics, 'hostel_memory_pressure_state'), 0)
    assert.ok(only(keeper))
    memory.availableMiB = 1_500
    await until('sandboxes are ended', () => value(metrics, 'hostel_memory_pressure_state') !== 0)
  })
})

describe('a function whose process ends with every request', () => {
  const exitWith = (keeper: ReturnType<typeof house>['keeper']): void => {
    keeper.onRequest = (room) => keeper.die(room, { kind: 'exit', exitCode: 3 })
  }
  const codeOf = async (
    scheduler: ReturnType<typeof house>['scheduler'],
    v = version(),
  ): Promise<{ code: string; message: string; retryAfterSeconds: number | undefined }> => {
    try {
      const { sink } = await call(scheduler, v)
      await sink.done
      const error = sink.error
      return error
        ? { code: error.code, message: error.message, retryAfterSeconds: error.retryAfterSeconds }
        : { code: 'ok', message: '', retryAfterSeconds: undefined }
    } catch (error) {
      const { code, message, retryAfterSeconds } = error as HostelError
      return { code, message, retryAfterSeconds }
    }
  }

  test('is given no new sandbox for a while after so many in a row, told how long, and told in its log', async (t) => {
    const { keeper, scheduler, logs } = house(t)
    exitWith(keeper)
    for (let i = 0; i < limits.crashesInARowMax; i++) assert.equal((await codeOf(scheduler)).code, 'exited')
    const booted = keeper.count('specialise')
    const refused = await codeOf(scheduler)
    assert.equal(refused.code, 'exited')
    assert.match(refused.message, /8 sandboxes in a row; the next one starts in 1 s/)
    assert.equal(refused.retryAfterSeconds, 1)
    assert.equal(keeper.count('specialise'), booted)
    assert.ok(logs.some((line) => line.level === 'system' && /8 sandboxes in a row/.test(line.text)))
    await new Promise((resolve) => setTimeout(resolve, 1_050))
    assert.equal((await codeOf(scheduler)).code, 'exited')
    assert.equal(keeper.count('specialise'), booted + 1)
    assert.equal((await codeOf(scheduler)).retryAfterSeconds, 2)
  })

  test('is not meant when sandboxes end only now and then', async (t) => {
    const { keeper, scheduler } = house(t)
    let request = 0
    keeper.onRequest = (room, received) => {
      request++
      if (request % 3 === 0) keeper.die(room, { kind: 'exit', exitCode: 3 })
      else room.guest.answer(received.stream, 200, 'fine')
    }
    const codes = []
    for (let i = 0; i < 4 * limits.crashesInARowMax; i++) codes.push((await codeOf(scheduler)).code)
    assert.equal(codes.filter((code) => code === 'exited').length, Math.floor((4 * limits.crashesInARowMax) / 3))
  })
})
