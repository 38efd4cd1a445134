import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import { HostelError } from '../errors.ts'
import { limits } from '../limits.ts'
import { frameFlags, frameTypes } from '../sandbox/protocol.ts'
import { NotingSink, requestHead } from '../sandbox/testing/sink.ts'
import { acquire, answered, call, hold, house, only, pause, releaseOne, spares, until, version } from './testing/house.ts'

describe('where a request goes', () => {
  test('a first request takes a spare, the next one its warm sandbox, without an await', async (t) => {
    const { keeper, scheduler } = house(t)
    await until('there are spares', () => spares(keeper).length === 2)
    await pause(20)
    const first = await answered(scheduler, version())
    assert.equal(first.start, 'spare')
    const lease = acquire(scheduler, version())
    assert.ok(!(lease instanceof Promise))
    assert.equal(lease.start, 'warm')
    assert.equal(lease.sandbox, first.sandbox)
    lease.release()
  })

  test('without a spare a sandbox is booted', async (t) => {
    const { scheduler } = house(t, { runtimes: [] })
    assert.equal((await answered(scheduler, version())).start, 'boot')
  })

  test('a spare is never given to two versions, and a warm sandbox serves its own version only', async (t) => {
    const { scheduler } = house(t)
    const [a, b] = [await answered(scheduler, version()), await answered(scheduler, version({ version: 2 }))]
    assert.notEqual(a.sandbox, b.sandbox)
    assert.equal((await answered(scheduler, version())).sandbox, a.sandbox)
  })

  test('the keeper is told digest and label, the guest configuration and environment', async (t) => {
    const { keeper, scheduler } = house(t)
    await answered(scheduler, version({ env: { A: '1' }, concurrency: 3 }))
    const asked = keeper.asked.find((message) => message.type === 'specialise')
    assert.ok(asked?.type === 'specialise' && asked.label === 'default/hello/1' && asked.codeDigest === 'ab'.repeat(32))
    const frame = await only(keeper).guest.next(frameTypes.SPECIALISE)
    assert.deepEqual(JSON.parse(frame.payload.toString()), {
      tenant: 'default',
      function: 'hello',
      version: 1,
      handler: 'index.ts',
      env: { A: '1' },
      memoryMiB: 256,
      timeoutMs: 5_000,
      concurrency: 3,
    })
  })

  test('the most recently used sandbox is preferred, so that the others can go idle', async (t) => {
    const { scheduler } = house(t)
    const v = version()
    const leases = [await acquire(scheduler, v), await acquire(scheduler, v)]
    leases[0]!.release()
    leases[1]!.release()
    for (let i = 0; i < 3; i++) assert.equal((await answered(scheduler, v)).sandbox, leases[1]!.sandbox)
  })

  test('a sandbox has as many requests at once as its version’s concurrency', async (t) => {
    const { keeper, scheduler } = house(t)
    keeper.onRequest = hold
    const v = version({ concurrency: 3 })
    const calls = [await call(scheduler, v), await call(scheduler, v), await call(scheduler, v), await call(scheduler, v)]
    const sandboxes = calls.map(({ lease }) => lease.sandbox)
    assert.equal(new Set(sandboxes.slice(0, 3)).size, 1)
    assert.notEqual(sandboxes[3], sandboxes[0])
  })

  test('an unused lease gives its place back, once', async (t) => {
    const { scheduler } = house(t)
    const v = version()
    {
      using lease = await acquire(scheduler, v)
      lease.release()
    }
    const again = await acquire(scheduler, v)
    assert.equal((await scheduler.list()).find((info) => info.sandbox === again.sandbox)?.inFlight, 1)
    again.release()
  })
})

describe('growth', () => {
  test('one request too many grows by one sandbox', async (t) => {
    const { keeper, scheduler } = house(t)
    keeper.onRequest = hold
    await call(scheduler, version())
    await call(scheduler, version())
    assert.equal(keeper.count('specialise'), 2)
  })

  test('a burst grows by what it needs, counts places on their way, and boots two at a time', async (t) => {
    const { keeper, scheduler } = house(t, { runtimes: [] })
    keeper.bootMs = 30
    keeper.onRequest = hold
    const v = version({ concurrency: 10 })
    await Promise.all(Array.from({ length: 50 }, () => call(scheduler, v)))
    assert.equal(keeper.count('specialise'), 5)
    assert.ok(keeper.bootsAtOnceMax <= 2, `${keeper.bootsAtOnceMax} boots at once`)
  })

  test('a version never started before, or failing, is tried with one sandbox first', async (t) => {
    const { keeper, scheduler } = house(t)
    keeper.onSpecialise = (room) => room.guest.json(frameTypes.INIT_FAILED, 0, 0, { kind: 'init', name: 'Error', message: 'no' })
    await until('there are spares', () => spares(keeper).length === 2)
    const v = version({ contract: null })
    const results = await Promise.allSettled(
      Array.from({ length: 20 }, async () => {
        const { sink } = await call(scheduler, v)
        await sink.done
        throw sink.error!
      }),
    )
    assert.ok(results.every((result) => result.status === 'rejected' && result.reason.code === 'init_failed'))
    assert.equal(keeper.count('specialise'), 1)
  })

  test('requests wait first in, first out, when no more sandboxes may be', async (t) => {
    const { keeper, scheduler } = house(t, { maxSandboxes: 1, runtimes: [] })
    keeper.onRequest = hold
    const first = await call(scheduler, version())
    const order: number[] = []
    const waiting = [1, 2, 3].map(async (n) => {
      const { sink } = await call(scheduler, version())
      order.push(n)
      await until('it is held', () => only(keeper).held.length > 0)
      releaseOne(only(keeper))
      await sink.done
    })
    await until('the first is held', () => only(keeper)?.held.length === 1)
    releaseOne(only(keeper))
    await Promise.all([first.sink.done, ...waiting])
    assert.deepEqual(order, [1, 2, 3])
  })

  test('a full queue refuses at once with a time to try again', async (t) => {
    const { scheduler, keeper } = house(t, { maxSandboxes: 1, runtimes: [] })
    keeper.onRequest = hold
    await call(scheduler, version())
    const abort = new AbortController()
    const waiting = Array.from({ length: limits.queueMaxRequests }, () => acquire(scheduler, version(), { signal: abort.signal }))
    await assert.rejects(async () => acquire(scheduler, version()), { code: 'too_many_requests', retryAfterSeconds: 1 })
    abort.abort()
    for (const result of await Promise.allSettled(waiting)) assert.equal((result as PromiseRejectedResult).reason.code, 'cancelled')
  })

  test('a client that leaves while waiting leaves the queue, and nobody’s place is lost', async (t) => {
    const { keeper, scheduler } = house(t, { maxSandboxes: 1, runtimes: [] })
    keeper.onRequest = hold
    const { sink } = await call(scheduler, version())
    const abort = new AbortController()
    const leaving = Promise.resolve(acquire(scheduler, version(), { signal: abort.signal }))
    const staying = Promise.resolve(acquire(scheduler, version()))
    abort.abort()
    await assert.rejects(leaving, { code: 'cancelled' })
    await until('the request is held', () => only(keeper).held.length === 1)
    releaseOne(only(keeper))
    await sink.done
    ;(await staying).release()
  })

  test('a wait ends with the invocation’s deadline', async (t) => {
    const { scheduler, keeper } = house(t, { maxSandboxes: 1, runtimes: [] })
    keeper.onRequest = hold
    await call(scheduler, version())
    await assert.rejects(async () => acquire(scheduler, version(), { withinMs: 30 }), { code: 'deadline_exceeded' })
  })

  test('a class that does not fit the budget even alone is refused at once', async (t) => {
    const { scheduler } = house(t, { memoryBudgetMiB: 512 })
    await assert.rejects(async () => acquire(scheduler, version({ memoryMiB: 1_024 })), { code: 'no_capacity' })
  })
})

describe('failed starts', () => {
  test('those waiting for that sandbox get init_failed with the guest’s file and line', async (t) => {
    const { keeper, scheduler } = house(t)
    keeper.onSpecialise = (room) =>
      room.guest.json(frameTypes.INIT_FAILED, 0, 0, { kind: 'init', name: 'SyntaxError', message: 'Unexpected token', file: 'index.ts', line: 3 })
    const { sink } = await call(scheduler, version())
    await sink.done
    assert.deepEqual(sink.calls, ['failed', 'settled'])
    assert.equal(sink.error?.code, 'init_failed')
    assert.deepEqual(sink.guestError, { kind: 'init', name: 'SyntaxError', message: 'Unexpected token', file: 'index.ts', line: 3 })
  })

  test('a process that ends while being started is a failed start, explained by its exit; it is not tried elsewhere', async (t) => {
    const { keeper, scheduler } = house(t)
    keeper.onSpecialise = (room) => keeper.die(room, { kind: 'exit', exitCode: 3 })
    const { sink } = await call(scheduler, version())
    await sink.done
    assert.equal(sink.error?.code, 'init_failed')
    assert.equal((sink.error!.facts['exit'] as { exitCode: number }).exitCode, 3)
    assert.equal(keeper.count('specialise'), 1)
  })

  test('too little memory to start is out_of_memory', async (t) => {
    const { keeper, scheduler } = house(t)
    keeper.onSpecialise = (room) => keeper.die(room, { kind: 'oom', oomKills: 1 })
    const { sink } = await call(scheduler, version())
    await sink.done
    assert.equal(sink.error?.code, 'out_of_memory')
  })

  test('a start that takes too long is init_timeout', async (t) => {
    const restore = limits.initTimeoutMs
    Object.assign(limits, { initTimeoutMs: 50 })
    t.after(() => Object.assign(limits, { initTimeoutMs: restore }))
    const { keeper, scheduler } = house(t)
    keeper.onSpecialise = () => {}
    keeper.onRequest = hold
    const { sink } = await call(scheduler, version())
    await sink.done
    assert.equal(sink.error?.code, 'init_timeout')
  })

  test('a version that fails again and again backs off, says until when, and starts nothing meanwhile', async (t) => {
    const { keeper, scheduler } = house(t)
    keeper.onSpecialise = (room) => room.guest.json(frameTypes.INIT_FAILED, 0, 0, { kind: 'init', name: 'Error', message: 'no' })
    for (let i = 0; i < 2; i++) await (await call(scheduler, version())).sink.done
    await assert.rejects(
      async () => acquire(scheduler, version()),
      (error: HostelError) => {
        assert.equal(error.code, 'init_failed')
        assert.match(error.message, /2 times in a row; the next try is in 1 s/)
        assert.equal(error.retryAfterSeconds, 1)
        assert.ok(error.facts['guest'])
        return true
      },
    )
    assert.equal(keeper.count('specialise'), 2)
    await pause(1_050)
    keeper.onSpecialise = (room) => room.guest.json(frameTypes.SPECIALISED, 0, 0, { contract: 'fetch' })
    assert.equal((await answered(scheduler, version())).start, 'spare')
  })

  test('a keeper that cannot specialise fails the request instead of trying for ever', async (t) => {
    const { keeper, scheduler } = house(t)
    keeper.fail.specialise = 100
    await assert.rejects(async () => acquire(scheduler, version()), { code: 'unavailable' })
    assert.equal(keeper.count('specialise'), 1)
  })

  test('boots that fail twice in a row are told to those who wait', async (t) => {
    const { keeper, scheduler } = house(t, { runtimes: [] })
    keeper.fail.boot = 2
    await assert.rejects(async () => acquire(scheduler, version()), { code: 'unavailable' })
    await assert.rejects(async () => acquire(scheduler, version()), { code: 'unavailable', retryAfterSeconds: 2 })
  })
})

describe('prepare', () => {
  test('starts the version once, tells its contract, and leaves it warm', async (t) => {
    const { keeper, scheduler } = house(t)
    keeper.onSpecialise = (room) => setTimeout(() => room.guest.json(frameTypes.SPECIALISED, 0, 0, { contract: 'event' }), 20)
    const v = version({ contract: null })
    const { contract, initMs } = await scheduler.prepare(v)
    assert.equal(contract, 'event')
    assert.ok(initMs >= 15 && initMs < 1_000, `${initMs}`)
    assert.equal((await scheduler.prepare(v)).contract, 'event')
    assert.equal((await answered(scheduler, v)).start, 'warm')
    assert.equal(keeper.count('specialise'), 1)
  })

  test('fails with the guest’s error, and is not held up by a back-off', async (t) => {
    const { keeper, scheduler } = house(t)
    keeper.onSpecialise = (room) => room.guest.json(frameTypes.INIT_FAILED, 0, 0, { kind: 'init', name: 'Error', message: 'no', file: 'a.js', line: 1 })
    for (let i = 0; i < 3; i++) {
      await assert.rejects(
        scheduler.prepare(version()),
        (error: HostelError) => error.code === 'init_failed' && (error.facts['guest'] as { file: string }).file === 'a.js',
      )
    }
  })
})

describe('a dying sandbox takes only its own requests', () => {
  const endings = [
    ['out_of_memory', { kind: 'oom', oomKills: 1, memoryPeakBytes: 268_435_456 }],
    ['exited', { kind: 'exit', exitCode: 1 }],
    ['killed', { kind: 'signal', signal: 'SIGSEGV' }],
  ] as const
  for (const [code, exit] of endings) {
    test(`what had begun gets ${code} with the kernel’s account`, async (t) => {
      const { keeper, scheduler, logs, ends } = house(t)
      keeper.onRequest = (room, request) => (request.meta.id === 'dies' ? keeper.die(room, exit, { tellAfterMs: 30 }) : hold(room, request))
      const other = await call(scheduler, version({ version: 2 }))
      const { sink } = await call(scheduler, version())
      await until('it is held', () => [...keeper.rooms.values()].some((room) => room.label === 'default/hello/1' && room.held.length === 1))
      const room = [...keeper.rooms.values()].find(({ label }) => label === 'default/hello/1')!
      keeper.die(room, exit, { tellAfterMs: 30 })
      await sink.done
      assert.deepEqual(sink.calls, ['failed', 'settled'])
      assert.equal(sink.error?.code, code)
      assert.equal((sink.error!.facts['exit'] as { kind: string }).kind, exit.kind)
      assert.equal(sink.error?.facts['memoryMiB'], 256)
      await until('its end is told', () => ends.length === 1)
      assert.equal(ends[0]!.exit?.kind, exit.kind)
      assert.equal(keeper.count('end'), 0, 'an end that we asked for would hide the one that came by itself')
      assert.equal(logs.at(-1)?.level, 'system')
      const otherRoom = [...keeper.rooms.values()].find(({ label }) => label === 'default/hello/2')!
      releaseOne(otherRoom)
      await other.sink.done
      assert.deepEqual(other.sink.calls, ['head', 'body', 'end', 'settled'])
    })
  }

  test('the cause is not guessed when the keeper says nothing for a second', async (t) => {
    const { keeper, scheduler } = house(t)
    keeper.tellsExits = false
    keeper.onRequest = (room) => keeper.die(room, {})
    const startedAt = Date.now()
    const { sink } = await call(scheduler, version())
    await sink.done
    assert.equal(sink.error?.code, 'sandbox_lost')
    assert.ok(Date.now() - startedAt >= 900)
  })

  test('one that breaks the protocol is ended with the rule named', async (t) => {
    const { keeper, scheduler, ends } = house(t)
    keeper.onRequest = (room, request) => room.guest.send(frameTypes.RESPONSE_BODY, 0, request.stream, 'garbage')
    const { sink } = await call(scheduler, version())
    await sink.done
    assert.equal(sink.error?.code, 'protocol_violation')
    assert.equal(sink.error?.facts['rule'], 'a body before a head')
    await until('it is gone', () => ends.length === 1)
    assert.match(ends[0]!.reason, /broke the sandbox protocol/)
  })

  test('a complete answer is not taken back when its sandbox dies before the invocation has settled', async (t) => {
    const { keeper, scheduler } = house(t)
    keeper.onRequest = (room, request) => {
      room.guest.json(frameTypes.RESPONSE_HEAD, frameFlags.END, request.stream, [204, []])
      setTimeout(() => keeper.die(room, { kind: 'exit', exitCode: 0 }), 10)
    }
    const { sink } = await call(scheduler, version())
    await sink.done
    assert.deepEqual(sink.calls, ['head', 'end', 'settled'])
  })

  test('what had not begun is retried elsewhere once', async (t) => {
    const { keeper, scheduler } = house(t)
    const v = version()
    const { sandbox } = await answered(scheduler, v)
    const lease = await acquire(scheduler, v)
    keeper.die(keeper.rooms.get(sandbox)!, { kind: 'signal', signal: 'SIGKILL' })
    await until('its end is known', () => keeper.rooms.size >= 2)
    await pause(30)
    const sink = new NotingSink()
    lease.exchange(requestHead(), sink)
    await sink.done
    assert.deepEqual(sink.calls, ['head', 'body', 'end', 'settled'])
    assert.notEqual(lease.sandbox, sandbox)
  })

  test('what was sent behind SPECIALISE is retried if its sandbox was lost by no fault of the function', async (t) => {
    const { keeper, scheduler } = house(t)
    let first = true
    keeper.onSpecialise = (room) => {
      if (first) keeper.die(room, { kind: 'requested' })
      else room.guest.json(frameTypes.SPECIALISED, 0, 0, { contract: 'fetch' })
      first = false
    }
    const { sink } = await call(scheduler, version())
    await sink.done
    assert.deepEqual(sink.calls, ['head', 'body', 'end', 'settled'])
    assert.equal(keeper.count('specialise'), 2)
  })

  test('but not if body has been sent', async (t) => {
    const { keeper, scheduler } = house(t)
    keeper.onRequest = hold
    keeper.onSpecialise = (room) => setTimeout(() => keeper.die(room, { kind: 'requested' }), 20)
    const lease = await acquire(scheduler, version())
    const sink = new NotingSink()
    const exchange = lease.exchange(requestHead({ method: 'POST', endStream: false }), sink)
    exchange.write(Buffer.from('half'))
    await sink.done
    assert.equal(sink.error?.code, 'sandbox_lost')
    assert.equal(keeper.count('specialise'), 1)
  })

  test('body written while another place is looked for arrives there', async (t) => {
    const { keeper, scheduler } = house(t)
    const v = version()
    const { sandbox } = await answered(scheduler, v)
    const lease = await acquire(scheduler, v)
    keeper.die(keeper.rooms.get(sandbox)!, { kind: 'signal', signal: 'SIGKILL' })
    await pause(30)
    let body = ''
    keeper.onRequest = (room) => {
      const inner = room.guest.onFrame
      room.guest.onFrame = (frame) => {
        inner(frame)
        if (frame.type !== frameTypes.REQUEST_BODY) return
        body += frame.payload.toString()
        if (frame.flags & frameFlags.END) room.guest.answer(frame.stream, 200, 'ok')
      }
    }
    const sink = new NotingSink()
    const exchange = lease.exchange(requestHead({ method: 'POST', endStream: false }), sink)
    assert.equal(exchange.write(Buffer.from('all of it')), false)
    exchange.end()
    await sink.done
    assert.equal(body, 'all of it')
    assert.equal(sink.drains, 1)
  })
})

describe('requests that do not end', () => {
  test('after its deadline a handler that gives up within the grace leaves its sandbox in use', async (t) => {
    const { keeper, scheduler } = house(t)
    keeper.onRequest = hold
    const lease = await acquire(scheduler, version())
    const sink = new NotingSink()
    const exchange = lease.exchange(requestHead(), sink)
    await until('it is held', () => only(keeper).held.length === 1)
    exchange.cancel('deadline')
    await sink.done
    assert.deepEqual(sink.calls, ['settled'])
    const next = await acquire(scheduler, version())
    assert.equal(next.sandbox, lease.sandbox)
    next.release()
  })

  test('a blocked event loop is killed; its other requests learn that a neighbour blocked it', async (t) => {
    const { keeper, scheduler, ends } = house(t)
    keeper.onRequest = () => {}
    const v = version({ concurrency: 2 })
    const lease = await acquire(scheduler, v)
    const [culprit, other] = [new NotingSink(), new NotingSink()]
    const exchange = lease.exchange(requestHead(), culprit)
    ;(await acquire(scheduler, v)).exchange(requestHead(), other)
    await until('it runs', () => only(keeper)?.guest.requests.length === 2)
    only(keeper).guest.socket.pause()
    exchange.cancel('deadline')
    await Promise.all([culprit.done, other.done])
    assert.deepEqual(culprit.calls, ['settled'])
    assert.equal(other.error?.code, 'sandbox_lost')
    assert.match(other.error!.message, /another request in the same sandbox blocked it/)
    await until('it is gone', () => ends.length === 1)
  })

  test('a handler that goes on although the event loop answers: no new requests, and the end when the others have finished', async (t) => {
    const { keeper, scheduler, ends } = house(t)
    keeper.onRequest = () => {}
    const v = version({ concurrency: 2 })
    const lease = await acquire(scheduler, v)
    const [stuck, other] = [new NotingSink(), new NotingSink()]
    const exchange = lease.exchange(requestHead(), stuck)
    ;(await acquire(scheduler, v)).exchange(requestHead(), other)
    await until('it runs', () => only(keeper)?.guest.requests.length === 2)
    const room = only(keeper)
    exchange.cancel('deadline')
    await pause(limits.cancelGraceMs + 100)
    assert.equal(keeper.count('end'), 0)
    keeper.onRequest = hold
    const third = await call(scheduler, v)
    assert.notEqual(third.lease.sandbox, lease.sandbox)
    room.guest.answer(2, 200, 'fine')
    await Promise.all([other.done, stuck.done])
    assert.deepEqual(other.calls, ['head', 'body', 'end', 'settled'])
    await until('it is gone', () => ends.length === 1)
    assert.match(ends[0]!.reason, /did not end after its deadline/)
  })

  test('after a disconnect the place stays taken until the deadline, then the same rules hold', async (t) => {
    const { keeper, scheduler, ends } = house(t)
    keeper.onRequest = () => {}
    const lease = await acquire(scheduler, version(), { withinMs: 900 })
    const sink = new NotingSink()
    const exchange = lease.exchange(requestHead(), sink)
    await until('it runs', () => only(keeper)?.guest.requests.length === 1)
    exchange.cancel('disconnect')
    await pause(limits.cancelGraceMs + 150)
    assert.equal((await scheduler.list()).find((info) => info.sandbox === lease.sandbox)?.inFlight, 1)
    assert.equal(keeper.count('end'), 0)
    await sink.done
    await until('it is gone', () => ends.length === 1)
  })
})

describe('spares', () => {
  test('two of each runtime’s default class and of each class in use are kept, booted one at a time', async (t) => {
    const { keeper, scheduler } = house(t, { runtimes: ['nodejs24', 'python3'] })
    scheduler.noteVersions([version({ memoryMiB: 1_024 })])
    await until('all are there', () => spares(keeper).length === 6)
    await pause(50)
    const classes = spares(keeper).map(({ spareClass }) => `${spareClass.runtime} ${spareClass.memoryMiB}`)
    assert.deepEqual(classes.sort(), ['nodejs24 1024', 'nodejs24 1024', 'nodejs24 256', 'nodejs24 256', 'python3 256', 'python3 256'])
    assert.equal(keeper.bootsAtOnceMax, 1)
  })

  test('demand raises their number, up to a bound', async (t) => {
    const { keeper, scheduler } = house(t)
    for (let i = 1; i <= 12; i++) await answered(scheduler, version({ version: i }))
    await until('there are eight', () => spares(keeper).length === 8)
    await pause(100)
    assert.equal(spares(keeper).length, 8)
  })

  test('a spare that dies is replaced', async (t) => {
    const { keeper, ends } = house(t)
    await until('there are two', () => spares(keeper).length === 2)
    keeper.die(spares(keeper)[0]!, { kind: 'exit', exitCode: 1 })
    await until('its end is told', () => ends.length === 1)
    await until('there are two again', () => spares(keeper).length === 2)
  })

  test('none is booted while the budget is used up', async (t) => {
    const { keeper, scheduler } = house(t, { memoryBudgetMiB: 256 })
    keeper.onRequest = hold
    await call(scheduler, version())
    await pause(150)
    assert.equal(spares(keeper).length, 0)
  })
})

describe('idle sandboxes', () => {
  test('neither age nor miss deadlines when the wall clock is set', async (t) => {
    const { keeper, scheduler } = house(t, { keepWarmMs: 60_000 })
    const { sandbox } = await answered(scheduler, version())
    const real = Date.now
    for (const jumpMs of [3_600_000, -3_600_000]) {
      t.mock.method(Date, 'now', () => real() + jumpMs)
      await pause(250)
      assert.ok(keeper.rooms.has(sandbox), 'it is kept')
      assert.equal((await answered(scheduler, version())).sandbox, sandbox)
    }
  })

  test('are frozen after a moment and thawed for the next request', async (t) => {
    const { keeper, scheduler } = house(t)
    const { sandbox } = await answered(scheduler, version())
    await until('it is frozen', () => keeper.rooms.get(sandbox)!.frozen)
    assert.equal((await scheduler.list()).find((info) => info.sandbox === sandbox)?.state, 'frozen')
    const lease = acquire(scheduler, version())
    assert.ok(lease instanceof Promise, 'the lease waits for the thaw')
    const sink = new NotingSink()
    ;(await lease).exchange(requestHead(), sink)
    await sink.done
    assert.equal(keeper.rooms.get(sandbox)!.frozen, false)
    assert.equal(sink.text, `from ${sandbox}`)
  })

  test('one that cannot be thawed is ended, and the request goes to another', async (t) => {
    const { keeper, scheduler } = house(t)
    const { sandbox } = await answered(scheduler, version())
    await until('it is frozen', () => keeper.rooms.get(sandbox)!.frozen)
    keeper.fail.thaw = 1
    const next = await answered(scheduler, version())
    assert.notEqual(next.sandbox, sandbox)
    assert.equal(keeper.rooms.has(sandbox), false)
  })

  test('are ended when they have been kept long enough', async (t) => {
    const { keeper, scheduler, ends } = house(t, { keepWarmMs: 300 })
    const { sandbox } = await answered(scheduler, version())
    await until('it is gone', () => ends.length === 1)
    assert.equal(ends[0]!.info.sandbox, sandbox)
    assert.match(ends[0]!.reason, /idle/)
    assert.equal(keeper.rooms.has(sandbox), false)
  })

  test('the longest idle one goes first when memory is short, never a busy one', async (t) => {
    const { keeper, scheduler } = house(t, { memoryBudgetMiB: 600, runtimes: [] })
    const first = await answered(scheduler, version({ version: 1 }))
    await pause(5)
    const second = await answered(scheduler, version({ version: 2 }))
    keeper.onRequest = hold
    const busy = await call(scheduler, version({ version: 3 }))
    const another = await call(scheduler, version({ version: 4 }))
    assert.equal(keeper.rooms.has(first.sandbox), false)
    assert.equal(keeper.rooms.has(second.sandbox), true)
    assert.ok(keeper.rooms.has(busy.lease.sandbox) && keeper.rooms.has(another.lease.sandbox))
  })

  test('and when there may be no more sandboxes', async (t) => {
    const { keeper, scheduler } = house(t, { maxSandboxes: 2, runtimes: [] })
    const first = await answered(scheduler, version({ version: 1 }))
    await pause(5)
    await answered(scheduler, version({ version: 2 }))
    await answered(scheduler, version({ version: 3 }))
    assert.equal(keeper.rooms.has(first.sandbox), false)
    assert.equal(keeper.rooms.size, 2)
  })
})

describe('retiring, listing, stopping', () => {
  test('a retired version’s idle sandboxes end at once, busy ones with their request; kept ones stay', async (t) => {
    const { keeper, scheduler } = house(t)
    const [old, kept] = [await answered(scheduler, version({ version: 1, concurrency: 1 })), await answered(scheduler, version({ version: 2 }))]
    keeper.onRequest = hold
    const busy = await call(scheduler, version({ version: 3 }))
    scheduler.retire('default', 'hello', [version({ version: 2 })])
    await until('the idle one is gone', () => !keeper.rooms.has(old.sandbox))
    assert.ok(keeper.rooms.has(busy.lease.sandbox) && keeper.rooms.has(kept.sandbox))
    await until('it is held', () => keeper.rooms.get(busy.lease.sandbox)!.held.length === 1)
    releaseOne(keeper.rooms.get(busy.lease.sandbox)!)
    await busy.sink.done
    assert.deepEqual(busy.sink.calls, ['head', 'body', 'end', 'settled'])
    await until('the busy one is gone', () => !keeper.rooms.has(busy.lease.sandbox))
  })

  test('the list tells state, version, requests in hand and memory', async (t) => {
    const { keeper, scheduler } = house(t)
    await answered(scheduler, version())
    await until('there are spares', () => spares(keeper).length === 2)
    await pause(20)
    const infos = await scheduler.list()
    const warm = infos.find((info) => info.function === 'hello')!
    assert.deepEqual([warm.state, warm.version, warm.inFlight, warm.invocations, warm.memoryBytes], ['idle', 1, 0, 1, 20 * 1_048_576])
    assert.ok(infos.some((info) => info.state === 'spare' && info.tenant === null))
  })

  test('stopping refuses new requests, lets running ones finish, and ends everything', async (t) => {
    const { keeper, scheduler } = house(t)
    keeper.onRequest = hold
    const { sink } = await call(scheduler, version())
    await until('it is held', () => only(keeper).held.length === 1)
    const stopped = scheduler.stop(3_000)
    assert.throws(() => acquire(scheduler, version()), { code: 'shutting_down' })
    await pause(50)
    releaseOne(only(keeper))
    await sink.done
    assert.deepEqual(sink.calls, ['head', 'body', 'end', 'settled'])
    await stopped
    assert.equal(keeper.rooms.size, 0)
  })

  test('what has not finished in time is broken off', async (t) => {
    const { keeper, scheduler } = house(t)
    keeper.onRequest = () => {}
    const { sink } = await call(scheduler, version())
    await scheduler.stop(limits.endGraceMs + 100)
    assert.equal(sink.error?.code, 'shutting_down')
  })
})

describe('output', () => {
  test('lines are attributed to their invocation, raw output to the only one in flight, all numbered in one sequence', async (t) => {
    const { keeper, scheduler, logs } = house(t)
    keeper.onRequest = hold
    const { lease, sink } = await call(scheduler, version())
    await until('it is held', () => only(keeper).held.length === 1)
    const room = only(keeper)
    room.guest.log(1, 4, 'structured')
    await until('a line', () => logs.length === 1)
    room.stderr.write('raw, from a child\n')
    await until('two lines', () => logs.length === 2)
    releaseOne(room)
    await sink.done
    room.stdout.write('later\n')
    await until('three lines', () => logs.length === 3)
    assert.deepEqual(
      logs.map(({ level, invocation, sequence, text }) => [level, invocation, sequence, text]),
      [
        ['info', '0190-test', 1, 'structured'],
        ['stderr', '0190-test', 2, 'raw, from a child'],
        ['stdout', null, 3, 'later'],
      ],
    )
    assert.equal(logs[0]!.sandbox, lease.sandbox)
  })

  test('the last words of a dying process belong to its request and come before the failure is told', async (t) => {
    const { keeper, scheduler, logs } = house(t)
    keeper.onRequest = hold
    const { sink } = await call(scheduler, version())
    await until('it is held', () => only(keeper).held.length === 1)
    const room = only(keeper)
    let linesBefore = 0
    room.stderr.end('FATAL: it is over')
    sink.failed = () => (linesBefore = logs.length)
    await pause(10)
    keeper.die(room, { kind: 'exit', exitCode: 134 })
    await sink.done
    assert.ok(linesBefore >= 1)
    assert.deepEqual([logs[0]!.text, logs[0]!.invocation], ['FATAL: it is over', '0190-test'])
  })
})

describe('adoption after a gateway’s crash', () => {
  const spareClass = { runtime: 'nodejs24', memoryMiB: 256, isolation: 'namespace' } as const

  test('a sandbox of a known version is thawed and serves on', async (t) => {
    const { keeper, scheduler } = house(t)
    await keeper.adopt(900, spareClass, 'default/hello/1')
    await pause(30)
    scheduler.noteVersions([version()])
    await pause(30)
    const next = await answered(scheduler, version())
    assert.deepEqual([next.sandbox, next.start], [900, 'warm'])
  })

  test('one of an unknown version is ended', async (t) => {
    const { keeper, scheduler } = house(t)
    await keeper.adopt(900, spareClass, 'default/gone/7')
    scheduler.noteVersions([version()])
    await until('it is gone', () => !keeper.rooms.has(900))
  })

  test('a spare is a spare again', async (t) => {
    const { keeper, scheduler } = house(t, { runtimes: [] })
    await keeper.adopt(900, spareClass, null)
    await pause(30)
    assert.deepEqual((await answered(scheduler, version())).sandbox, 900)
  })
})
