/** The keeper's books on sandboxes, with an engine that makes none: what is real here are the descriptors. */
import assert from 'node:assert/strict'
import { closeSync, fstatSync } from 'node:fs'
import { beforeEach, describe, it } from 'node:test'
import { setImmediate } from 'node:timers/promises'

import { pipe, socketpair } from '../engines/embedded/descriptors.native.ts'
import { type Engine, EngineError, type SandboxEnds } from '../engines/engine.ts'
import { createLogger } from '../telemetry/logger.ts'
import type { Child } from './child.ts'
import type { FromKeeper } from './messages.ts'
import { type Sandboxes, createSandboxes } from './sandboxes.ts'

const spareClass = { runtime: 'nodejs24', memoryMiB: 128, isolation: 'namespace' }
const digest = 'a'.repeat(64)

/** Keeps what it is told, and the descriptors, as a gateway would. */
function gatewayChild(): Child & { got: FromKeeper[]; fds: number[]; broken: string[] } {
  const got: FromKeeper[] = []
  const fds: number[] = []
  const broken: string[] = []
  const keep = (message: FromKeeper, fd: number): void => void (got.push(message), fds.push(fd))
  return { got, fds, broken, send: (message) => void got.push(message), sendDescriptor: keep, sendListener: keep, breaks: (rule) => void broken.push(rule) }
}

describe('the keeper’s books on sandboxes', () => {
  let calls: string[]
  let made: Map<number, SandboxEnds>
  let hold: Promise<void>
  let engine: Engine
  let gateway: ReturnType<typeof gatewayChild>
  let sandboxes: Sandboxes

  beforeEach(() => {
    calls = []
    made = new Map()
    hold = Promise.resolve()
    engine = {
      onExit: () => {},
      async boot({ sandbox, runtime }) {
        await hold
        if (runtime === 'none') throw new EngineError('unknown_runtime', 'there is no such runtime')
        // The far ends are closed at once: only ours are looked at.
        const near = [socketpair(), socketpair(), pipe(), pipe()].map(([ours, theirs]) => (closeSync(theirs), ours)) as [number, number, number, number]
        const ends = { stream: near[0], secondStream: near[1], stdout: near[2], stderr: near[3] }
        made.set(sandbox, ends)
        return ends
      },
      specialise: async (id) => void calls.push(`specialise ${id}`),
      openDoors: async (id, { services }) => (calls.push(`open doors of ${id}`), services.map(() => socketpair()[0])),
      freeze: async (id) => void calls.push(`freeze ${id}`),
      thaw: async (id) => void calls.push(`thaw ${id}`),
      end: async (id, graceMs) => void calls.push(`end ${id} ${graceMs}`),
      usage: async () => [{ sandbox: 1, memoryBytes: 5 }],
      [Symbol.asyncDispose]: async () => {},
    }
    gateway = gatewayChild()
    sandboxes = createSandboxes({ engine, gateway: () => gateway, maxSandboxes: 2, log: createLogger('test') })
  })

  async function say(message: object): Promise<FromKeeper[]> {
    const before = gateway.got.length
    sandboxes.receive(message, gateway)
    await setImmediate()
    return gateway.got.slice(before)
  }
  const boot = (req: number): Promise<FromKeeper[]> => say({ type: 'boot', req, spareClass })
  const exit = { kind: 'exit', exitCode: 0, oomKills: 0, lifetimeMs: 1 } as const

  it('hand over three descriptors of a boot, then say that it is done', async () => {
    assert.deepEqual(await boot(7), [
      { type: 'handed', req: 7, sandbox: 1, part: 'stream' },
      { type: 'handed', req: 7, sandbox: 1, part: 'stdout' },
      { type: 'handed', req: 7, sandbox: 1, part: 'stderr' },
      { type: 'done', req: 7, sandbox: 1 },
    ])
    const { stream, stdout, stderr } = made.get(1)!
    assert.deepEqual(gateway.fds, [stream, stdout, stderr])
  })

  it('bound what a gateway may ask for before it has its answers, its ends included', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    engine.end = () => promise
    for (let n = 0; n < 16_384; n++) sandboxes.receive({ type: 'end', sandbox: 1, graceMs: 60_000 }, gateway)
    assert.deepEqual(gateway.broken, [])
    sandboxes.receive({ type: 'usage', req: 1 }, gateway)
    assert.equal(gateway.broken.length, 1)
    resolve()
    await setImmediate()
    sandboxes.receive({ type: 'usage', req: 2 }, gateway)
    assert.equal(gateway.broken.length, 1)
  })

  it('refuse more sandboxes than are allowed, those on the way counted', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    hold = promise
    const answers = Promise.all([boot(1), boot(2), boot(3)])
    await answers
    assert.deepEqual(
      gateway.got.map((message) => [message.type, 'code' in message && message.code]),
      [['failed', 'no_slot']],
    )
    resolve()
    await setImmediate()
    assert.equal(sandboxes.count(), 2)
    engine.onExit(1, exit)
    assert.equal((await boot(4)).at(-1)!.type, 'done')
  })

  it('answer what does not fit or fails with its reason', async () => {
    assert.deepEqual(await say({ type: 'boot', req: 1, spareClass: { ...spareClass, runtime: 'none' } }), [
      { type: 'failed', req: 1, code: 'unknown_runtime', message: 'there is no such runtime' },
    ])
    assert.equal((await say({ type: 'boot', req: 2, spareClass: { ...spareClass, memoryMiB: 7 } }))[0]!.type, 'failed')
    assert.deepEqual(await say({ type: 'nonsense' }), [])
    assert.deepEqual(await say({ type: 'usage', req: 3 }), [{ type: 'usage', req: 3, sandboxes: [{ sandbox: 1, memoryBytes: 5 }] }])
  })

  it('tell an end once, and close what was kept of the sandbox', async () => {
    await boot(1)
    const { secondStream } = made.get(1)!
    engine.onExit(1, exit)
    engine.onExit(1, exit)
    assert.deepEqual(
      gateway.got.filter(({ type }) => type === 'exited'),
      [{ type: 'exited', sandbox: 1, exit }],
    )
    assert.throws(() => fstatSync(secondStream), { code: 'EBADF' })
  })

  it('give idle sandboxes to the next gateway by their second stream, and end them with that one', async () => {
    await boot(1)
    await say({ type: 'specialise', req: 2, sandbox: 1, codeDigest: digest, label: 'default/hello@1' })
    await say({ type: 'freeze', req: 3, sandbox: 1 })
    await nextGateway()
    assert.deepEqual(calls, ['specialise 1', 'freeze 1', 'thaw 1'])
    assert.deepEqual(gateway.got, [
      { type: 'adopt', sandbox: 1, spareClass, label: 'default/hello@1', handles: 3 },
      { type: 'handed', req: 0, sandbox: 1, part: 'stream' },
      { type: 'handed', req: 0, sandbox: 1, part: 'stdout' },
      { type: 'handed', req: 0, sandbox: 1, part: 'stderr' },
    ])
    assert.equal(gateway.fds[0], made.get(1)!.secondStream)
    for (const fd of gateway.fds) fstatSync(fd)
    await nextGateway()
    assert.equal(calls.at(-1), 'end 1 0')
    assert.deepEqual(gateway.got, [])
  })

  it('open doors as asked, hand over a listener for each, and keep them for the next gateway', async () => {
    await boot(1)
    const doors = {
      proxy: false,
      services: [
        { name: 'db.internal', port: 1 },
        { name: 'db.internal', port: 2 },
      ],
    }
    const door = { type: 'handed', sandbox: 1, part: 'door' } as const
    assert.deepEqual(await say({ type: 'specialise', req: 2, sandbox: 1, codeDigest: digest, label: 'l', doors }), [
      { ...door, req: 2 },
      { ...door, req: 2 },
      { type: 'done', req: 2 },
    ])
    assert.deepEqual(calls, ['specialise 1', 'open doors of 1'])
    await say({ type: 'freeze', req: 3, sandbox: 1 })
    await nextGateway()
    assert.deepEqual(gateway.got.slice(0, 3), [
      { type: 'adopt', sandbox: 1, spareClass, label: 'l', handles: 5 },
      { ...door, req: 0 },
      { ...door, req: 0 },
    ])
    for (const fd of gateway.fds) fstatSync(fd)
  })

  it('end a sandbox whose specialisation only the dead gateway knew the end of', async () => {
    await boot(1)
    await say({ type: 'specialise', req: 2, sandbox: 1, codeDigest: digest, label: 'default/hello@1' })
    await nextGateway()
    assert.deepEqual(calls, ['specialise 1', 'end 1 0'])
    assert.deepEqual(gateway.got, [])
  })

  it('end what was booting for a gateway that has died, and close its descriptors', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    hold = promise
    await boot(1)
    await nextGateway()
    resolve()
    await setImmediate()
    assert.deepEqual(calls, ['end 1 0'])
    assert.deepEqual(gateway.got, [])
    for (const fd of Object.values(made.get(1)!)) assert.throws(() => fstatSync(fd), { code: 'EBADF' })
    engine.onExit(1, exit)
    assert.deepEqual(gateway.got, [])
  })

  async function nextGateway(): Promise<void> {
    sandboxes.gatewayLost()
    gateway = gatewayChild()
    sandboxes.adoptInto(gateway)
    await setImmediate()
  }
})
