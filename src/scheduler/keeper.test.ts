import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'

import type { FromKeeper, ToKeeper } from '../keeper/messages.ts'
import { limits } from '../limits.ts'
import { socketPair } from '../sandbox/testing/guest.ts'
import { createKeeperClient } from './keeper.ts'
import type { AdoptedSandbox, KeeperClient } from './keeper.ts'

const spareClass = { runtime: 'nodejs24', memoryMiB: 256, isolation: 'namespace' } as const

function channel(): { client: KeeperClient; sent: ToKeeper[] } {
  const sent: ToKeeper[] = []
  return { client: createKeeperClient((message) => void sent.push(message)), sent }
}

async function handOver(t: TestContext, client: KeeperClient, req: number, sandbox: number): Promise<Socket[]> {
  const near: Socket[] = []
  for (const part of ['stream', 'stdout', 'stderr'] as const) {
    const pair = await socketPair()
    t.after(() => pair.forEach((socket) => socket.destroy()))
    near.push(pair[0])
    client.receive({ type: 'handed', req, sandbox, part }, pair[0])
  }
  return near
}

describe('the client of the keeper', () => {
  test('a boot is its answer with the three descriptors that came before it', async (t) => {
    const { client, sent } = channel()
    const booted = client.boot(spareClass)
    const [stream, stdout, stderr] = await handOver(t, client, 1, 7)
    client.receive({ type: 'done', req: 1, sandbox: 7 })
    assert.deepEqual(sent, [{ type: 'boot', req: 1, spareClass }])
    assert.deepEqual(await booted, { sandbox: 7, stream, stdout, stderr })
  })

  test('two boots at once are not mixed up', async (t) => {
    const { client } = channel()
    const [first, second] = [client.boot(spareClass), client.boot(spareClass)]
    const ofSecond = await handOver(t, client, 2, 8)
    const ofFirst = await handOver(t, client, 1, 7)
    client.receive({ type: 'done', req: 2, sandbox: 8 })
    client.receive({ type: 'done', req: 1, sandbox: 7 })
    assert.equal((await first).stream, ofFirst[0])
    assert.equal((await second).stream, ofSecond[0])
  })

  test('a refusal carries the keeper’s words under a code of ours', async (t) => {
    const { client } = channel()
    const boot = client.boot(spareClass)
    const [stream] = await handOver(t, client, 1, 7)
    client.receive({ type: 'failed', req: 1, code: 'no_slot', message: 'all slots are taken' })
    await assert.rejects(boot, { code: 'no_capacity', message: 'all slots are taken' })
    assert.equal(stream!.destroyed, true, 'descriptors of a failed boot are closed')
  })

  test('a boot without all of its descriptors is refused as a fault of ours', async () => {
    const { client } = channel()
    const boot = client.boot(spareClass)
    client.receive({ type: 'done', req: 1, sandbox: 7 })
    await assert.rejects(boot, { code: 'internal' })
  })

  test('a call that is not answered in time fails, and a sandbox that boots too late is ended', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const { client, sent } = channel()
    const boot = client.boot(spareClass)
    t.mock.timers.tick(limits.bootTimeoutMs)
    await assert.rejects(boot, { code: 'unavailable', message: /did not answer boot within/ })
    const [late] = await handOver(t, client, 1, 7)
    client.receive({ type: 'done', req: 1, sandbox: 7 })
    assert.deepEqual(sent.at(-1), { type: 'end', sandbox: 7, graceMs: 0 })
    assert.equal(late!.destroyed, true)
  })

  test('a late answer to anything else ends nothing', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const { client, sent } = channel()
    const freeze = client.freeze(7)
    t.mock.timers.tick(5_000)
    await assert.rejects(freeze, { code: 'unavailable' })
    client.receive({ type: 'done', req: 1, sandbox: 7 })
    assert.deepEqual(
      sent.map((message) => message.type),
      ['freeze'],
    )
  })

  test('a closed channel fails the call', async () => {
    const client = createKeeperClient(() => {
      throw new Error('channel closed')
    })
    await assert.rejects(client.usage(), { code: 'unavailable' })
  })

  test('adopted sandboxes that arrive before anyone listens are kept', async (t) => {
    const { client } = channel()
    client.receive({ type: 'adopt', sandbox: 9, spareClass, label: 'default/hello/1', handles: 3 })
    await handOver(t, client, 0, 9)
    const adopted: AdoptedSandbox[] = []
    client.onAdopt = (one) => adopted.push(one)
    assert.deepEqual(
      adopted.map(({ sandbox, label }) => [sandbox, label]),
      [[9, 'default/hello/1']],
    )
  })

  test('messages for the composition root are left to it', () => {
    const { client } = channel()
    assert.equal(client.receive({ type: 'stop', withinMs: 1 } as FromKeeper), false)
    assert.equal(client.receive({ type: 'link' } as FromKeeper), false)
  })
})
