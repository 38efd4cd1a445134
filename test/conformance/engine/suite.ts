/**
 * What every engine must do. A new engine adds a file like `embedded.test.ts` that hands its factory to `engineConformance`.
 * The guest is a stand-in (guest/shim.mjs) that does what it is told and reports what it sees.
 */
import assert from 'node:assert/strict'
import { closeSync } from 'node:fs'
import { Socket, createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { after, afterEach, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { type Engine, EngineError } from '../../../src/engines/engine.ts'
import type { SandboxExit } from '../../../src/keeper/messages.ts'
import type { MemoryClassMiB } from '../../../src/limits.ts'

export interface EngineUnderTest extends AsyncDisposable {
  engine: Engine
  /** A runtime whose shim is guest/shim.mjs, and one that cannot boot. */
  runtime: string
  brokenRuntime: string
  /** Digest of code that is one file, `greeting.txt`, with `hello` in it. */
  codeDigest: string
  /** A digest whose place is a symbolic link to somewhere else. */
  strayDigest: string
  /** Host's ids of a sandbox's processes. */
  pids(sandbox: number): Promise<number[]>
  /** Everything there is of sandboxes now: processes, mounts, groups, files, descriptors. */
  traces(): Promise<string[]>
}

const ANSWER_MS = 5_000

/** A booted guest and its conversation. */
class Guest {
  readonly id: number
  readonly stdout: Socket
  readonly stderr: Socket
  readonly exited: Promise<SandboxExit>
  stream: Socket
  private readonly secondFd: number
  private usesSecond = false
  private waiting: ((line: string) => void) | undefined

  constructor(id: number, ends: { stream: number; secondStream: number; stdout: number; stderr: number }, exited: Promise<SandboxExit>) {
    this.id = id
    this.exited = exited
    this.stream = this.listen(ends.stream)
    this.secondFd = ends.secondStream
    this.stdout = new Socket({ fd: ends.stdout })
    this.stderr = new Socket({ fd: ends.stderr })
  }

  /** Does not wait for an answer. */
  tell(command: string, options: object = {}): void {
    this.stream.write(`${JSON.stringify({ command, ...options })}\n`)
  }

  async ask(command: string, options: object = {}, timeoutMs = ANSWER_MS): Promise<{ value?: unknown; error?: string }> {
    const { promise, resolve, reject } = Promise.withResolvers<string>()
    this.waiting = resolve
    const timer = setTimeout(() => reject(new Error(`no answer to ${command}`)), timeoutMs)
    this.tell(command, options)
    try {
      return JSON.parse(await promise) as { value?: unknown; error?: string }
    } finally {
      clearTimeout(timer)
    }
  }

  /** As when the process that holds the first stream dies. */
  moveToSecondStream(): void {
    this.stream.destroy()
    this.usesSecond = true
    this.stream = this.listen(this.secondFd)
  }

  close(): void {
    for (const socket of [this.stream, this.stdout, this.stderr]) socket.destroy()
    if (!this.usesSecond) closeSync(this.secondFd)
  }

  private listen(fd: number): Socket {
    const socket = new Socket({ fd })
    socket.on('error', () => {})
    createInterface({ input: socket }).on('line', (line) => this.waiting?.(line))
    return socket
  }
}

/** Declares the suite for one engine. */
export function engineConformance(name: string, open: () => Promise<EngineUnderTest>): void {
  describe(`the ${name} engine`, () => {
    let under: EngineUnderTest
    let nextId = 1
    const guests: Guest[] = []
    const exits = new Map<number, (exit: SandboxExit) => void>()
    let tracesBefore: string[]

    async function boot(memoryMiB: MemoryClassMiB = 128): Promise<Guest> {
      const id = nextId++
      const { promise, resolve } = Promise.withResolvers<SandboxExit>()
      exits.set(id, resolve)
      const guest = new Guest(id, await under.engine.boot({ sandbox: id, runtime: under.runtime, memoryMiB }), promise)
      guests.push(guest)
      return guest
    }

    before(async () => {
      under = await open()
      under.engine.onExit = (id, exit) => exits.get(id)?.(exit)
      tracesBefore = await under.traces()
    })

    afterEach(async () => {
      await Promise.all(guests.map((guest) => under.engine.end(guest.id, 0)))
      for (const guest of guests) guest.close()
      guests.length = 0
      // A closed socket's descriptor goes in the next turn.
      await sleep(20)
      assert.deepEqual(await under.traces(), tracesBefore, 'something of a sandbox is left')
    })

    after(async () => await under[Symbol.asyncDispose]())

    it('boots a guest that is not root, not pid 1, and has a name and two streams of its own', async () => {
      const [first, second] = [await boot(), await boot()]
      const [one, other] = [await first.ask('hello'), await second.ask('hello')] as { value: { pid: number; uid: number; hostname: string } }[]
      assert.notEqual(one!.value.uid, 0)
      assert.notEqual(one!.value.pid, 1)
      assert.notEqual(one!.value.hostname, other!.value.hostname)
      assert.deepEqual(await first.ask('open', { fd: 3 }), { value: null })
      assert.deepEqual(await first.ask('open', { fd: 4 }), { value: null })
    })

    it('hands over standard output and error apart, from the first byte', async () => {
      const guest = await boot()
      const [out, err] = [firstChunk(guest.stdout), firstChunk(guest.stderr)]
      await guest.ask('print', { fd: 1, text: 'to output' })
      await guest.ask('print', { fd: 2, text: 'to error' })
      assert.equal(await out, 'to output')
      assert.equal(await err, 'to error')
    })

    it('moves to the second stream when the first one breaks', async () => {
      const guest = await boot()
      await guest.ask('hello')
      guest.moveToSecondStream()
      assert.ok((await guest.ask('hello')).value)
    })

    it('has no code and nothing to write to before specialisation; then read-only code and a /tmp', async () => {
      const guest = await boot()
      assert.deepEqual(await guest.ask('list', { path: '/code' }), { value: [] })
      assert.deepEqual(await guest.ask('write', { path: '/tmp/file', text: 'x' }), { error: 'EROFS' })
      await under.engine.specialise(guest.id, under.codeDigest)
      assert.deepEqual(await guest.ask('read', { path: '/code/greeting.txt' }), { value: 'hello' })
      assert.deepEqual(await guest.ask('write', { path: '/code/greeting.txt', text: 'x' }), { error: 'EROFS' })
      assert.deepEqual(await guest.ask('write', { path: '/code/new', text: 'x' }), { error: 'EROFS' })
      assert.deepEqual(await guest.ask('write', { path: '/tmp/file', text: 'x' }), { value: null })
      assert.deepEqual(await guest.ask('list', { path: '/tmp' }), { value: ['file'] })
    })

    it('shows a guest nothing of what another wrote to /tmp', async () => {
      const [first, second] = [await boot(), await boot()]
      for (const guest of [first, second]) await under.engine.specialise(guest.id, under.codeDigest)
      await first.ask('write', { path: '/tmp/secret', text: 'x' })
      assert.deepEqual(await second.ask('list', { path: '/tmp' }), { value: [] })
    })

    it('opens doors that lead from inside to listeners outside, and knows the services by name', async () => {
      const guest = await boot()
      await under.engine.specialise(guest.id, under.codeDigest)
      const services = [
        { name: 'db.internal', port: 5_432 },
        { name: 'db.internal', port: 80 },
        { name: 'cache.internal', port: 5_432 },
      ]
      const fds = await under.engine.openDoors(guest.id, { proxy: true, services })
      assert.equal(fds.length, 4)
      const servers = fds.map((fd, index) => {
        const server = createServer((socket) => void socket.on('error', () => {}).end(`door ${index}`))
        return server.listen({ fd })
      })
      // Each place's answer, or the error's code.
      const script = `const { connect } = require('node:net')
        for (const [host, port] of ${JSON.stringify([
          ['127.0.0.1', 3128],
          ['db.internal', 5432],
          ['db.internal', 80],
          ['cache.internal', 5432],
          ['127.0.0.1', 5432],
          ['db.internal', 3128],
        ])})
          connect(port, host).on('data', (data) => console.log(host, port, String(data))).on('error', (error) => console.log(host, port, error.code))`
      const { value, error } = await guest.ask('run', { program: '/usr/local/bin/node', args: ['-e', script] })
      for (const server of servers) server.close()
      assert.deepEqual(`${value as string}${error ?? ''}`.trim().split('\n').sort(), [
        '127.0.0.1 3128 door 0',
        '127.0.0.1 5432 ECONNREFUSED',
        'cache.internal 5432 door 3',
        'db.internal 3128 ECONNREFUSED',
        'db.internal 5432 door 1',
        'db.internal 80 door 2',
      ])
      assert.match(String((await guest.ask('read', { path: '/etc/hosts' })).value), /^127\.0\.0\.1\tlocalhost\n.*\tdb\.internal\n.*\tcache\.internal\n$/s)
      assert.ok(['EROFS', 'EACCES'].includes((await guest.ask('write', { path: '/etc/hosts', text: '' })).error!))
      const other = await boot()
      await under.engine.specialise(other.id, under.codeDigest)
      assert.equal((await other.ask('read', { path: '/etc/hosts' })).value, '127.0.0.1\tlocalhost\n::1\tlocalhost\n')
    })

    it('refuses code that is not there or leads elsewhere, a second specialisation, and unknown sandboxes', async () => {
      const guest = await boot()
      await assert.rejects(under.engine.specialise(guest.id, 'f'.repeat(64)), failure('unknown_code'))
      const another = await boot()
      await assert.rejects(under.engine.specialise(another.id, under.strayDigest), failure('unknown_code'))
      const third = await boot()
      await under.engine.specialise(third.id, under.codeDigest)
      await assert.rejects(under.engine.specialise(third.id, under.codeDigest), failure('system'))
      await assert.rejects(under.engine.specialise(999_999, under.codeDigest), failure('unknown_sandbox'))
      await assert.rejects(under.engine.freeze(999_999), failure('unknown_sandbox'))
      await under.engine.end(999_999, 0)
    })

    it('stands still when frozen and goes on when thawed, and minds neither twice', async () => {
      const guest = await boot()
      await guest.ask('hello')
      await under.engine.freeze(guest.id)
      await under.engine.freeze(guest.id)
      await assert.rejects(guest.ask('hello', {}, 200), /no answer/)
      const late = guest.ask('hello')
      await under.engine.thaw(guest.id)
      await under.engine.thaw(guest.id)
      assert.ok((await late).value)
    })

    it('lets a frozen guest die all the same', async () => {
      const guest = await boot()
      await guest.ask('orphan')
      await sleep(100)
      await under.engine.freeze(guest.id)
      // What the kernel does to every guest when the keeper dies.
      for (const pid of await under.pids(guest.id)) killIfThere(pid)
      assert.equal((await guest.exited).signal, 'SIGKILL')
    })

    it('tells how much memory each sandbox uses', async () => {
      const guest = await boot(256)
      const before = await memoryOf(guest)
      await guest.ask('eat', { mib: 64 })
      const used = (await memoryOf(guest)) - before
      assert.ok(used > 60 * 1024 * 1024 && used < 100 * 1024 * 1024, `${used} bytes more`)
    })

    it('tells an end for want of memory as what it is', async () => {
      const guest = await boot(128)
      guest.tell('eat', { mib: 200 })
      const exit = await guest.exited
      assert.equal(exit.kind, 'oom')
      assert.ok(exit.oomKills >= 1)
      assert.ok(exit.memoryPeakBytes! > 100 * 1024 * 1024, `peak of ${exit.memoryPeakBytes}`)
    })

    it('tells an exit code and a signal', async () => {
      const [leaver, victim] = [await boot(), await boot()]
      leaver.tell('exit', { code: 7 })
      victim.tell('kill', { signal: 'SIGSEGV' })
      const [left, killed] = [await leaver.exited, await victim.exited]
      assert.deepEqual({ kind: left.kind, exitCode: left.exitCode, oomKills: left.oomKills }, { kind: 'exit', exitCode: 7, oomKills: 0 })
      assert.deepEqual({ kind: killed.kind, signal: killed.signal, exitCode: killed.exitCode }, { kind: 'signal', signal: 'SIGSEGV', exitCode: undefined })
      assert.ok(left.lifetimeMs > 0)
    })

    it('ends a guest that obeys at once, and one that does not after its grace', async () => {
      const [meek, stubborn] = [await boot(), await boot()]
      await meek.ask('hello')
      await stubborn.ask('ignore', { signal: 'SIGTERM' })
      const startedAt = performance.now()
      await under.engine.end(meek.id, 5_000)
      assert.ok(performance.now() - startedAt < 1_000)
      await under.engine.end(stubborn.id, 300)
      assert.ok(performance.now() - startedAt >= 300)
      assert.equal((await meek.exited).kind, 'requested')
      assert.equal((await stubborn.exited).kind, 'requested')
    })

    it('ends a frozen guest', async () => {
      const guest = await boot()
      await guest.ask('hello')
      await under.engine.freeze(guest.id)
      await under.engine.end(guest.id, 1_000)
      assert.equal((await guest.exited).kind, 'requested')
    })

    it('tells a crash that came before the wish to end it as a crash', async () => {
      const guest = await boot()
      await guest.ask('hello')
      guest.tell('kill', { signal: 'SIGABRT' })
      await sleep(100)
      await under.engine.end(guest.id, 0)
      assert.equal((await guest.exited).signal, 'SIGABRT')
    })

    it('takes along what a guest has forked into the dark', async () => {
      const guest = await boot()
      await guest.ask('orphan')
      await sleep(200)
      assert.ok((await under.traces()).some((trace) => trace.includes('sleep 1000')))
      await under.engine.end(guest.id, 0)
      assert.ok(!(await under.traces()).some((trace) => trace.includes('sleep 1000')))
    })

    it('says what is wrong with a boot that fails, and leaves nothing of it', async () => {
      await assert.rejects(under.engine.boot({ sandbox: nextId++, runtime: 'no-such-runtime', memoryMiB: 128 }), failure('unknown_runtime'))
      await assert.rejects(under.engine.boot({ sandbox: nextId++, runtime: under.brokenRuntime, memoryMiB: 128 }), failure('boot_failed'))
    })

    it('boots and ends many at once and one after another', async () => {
      for (let round = 0; round < 5; round++) {
        const many = await Promise.all(Array.from({ length: 6 }, () => boot()))
        await Promise.all(many.map((guest) => under.engine.specialise(guest.id, under.codeDigest)))
        const answers = await Promise.all(many.map((guest) => guest.ask('read', { path: '/code/greeting.txt' })))
        assert.ok(answers.every(({ value }) => value === 'hello'))
        await Promise.all(many.map((guest) => under.engine.end(guest.id, round % 2 ? 0 : 500)))
      }
    })

    async function memoryOf(guest: Guest): Promise<number> {
      return (await under.engine.usage()).find(({ sandbox }) => sandbox === guest.id)!.memoryBytes
    }
  })

  describe(`the ${name} engine, when it closes`, () => {
    it('ends what it has, boots nothing more, and leaves nothing', async () => {
      const under = await open()
      const before = await under.traces()
      const ends = await under.engine.boot({ sandbox: 1, runtime: under.runtime, memoryMiB: 128 })
      for (const fd of Object.values(ends)) closeSync(fd)
      const booting = under.engine.boot({ sandbox: 2, runtime: under.runtime, memoryMiB: 128 }).then(
        (late) => {
          for (const fd of Object.values(late)) closeSync(fd)
        },
        () => {},
      )
      await under[Symbol.asyncDispose]()
      await booting
      await assert.rejects(under.engine.boot({ sandbox: 3, runtime: under.runtime, memoryMiB: 128 }), failure('stopping'))
      assert.deepEqual(await under.traces(), before)
    })
  })
}

/** The death of the first takes the others along, perhaps before their turn. */
function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

function failure(kind: EngineError['failure']): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof EngineError, String(error))
    assert.equal(error.failure, kind, error.message)
    return true
  }
}

async function firstChunk(socket: Socket): Promise<string> {
  return await new Promise((resolve) => socket.once('data', (chunk: Buffer) => resolve(chunk.toString())))
}
