import assert from 'node:assert/strict'
import { test } from 'node:test'

import { limits } from '../../../src/limits.ts'
import { CUT_MARK } from './rules.ts'
import { forEachRuntime, started } from './suite.ts'

forEachRuntime('logs', (runtime) => {
  test('lines of fifty requests at once each belong to the request that wrote them, in order', async () => {
    await using host = await started(runtime)
    const calls = Array.from({ length: 50 }, (_, i) => host.request({ url: `/say?text=request-${i}&times=10` }))
    await Promise.all(calls.map((call) => call.answer()))
    for (const [i, call] of calls.entries()) {
      const lines = host.logs.filter((log) => log.stream === call.stream).map((log) => log.text)
      assert.deepEqual(
        lines,
        Array.from({ length: 10 }, (_, n) => `request-${i} ${n}`),
      )
    }
  })

  test('an unfinished line goes out at the end of its request, before it settles', async () => {
    await using host = await started(runtime)
    const call = host.request({ url: '/partial' })
    await call.answer()
    assert.deepEqual(host.linesOf(call), [`${runtime.prints} no line break`])
  })

  test('unfinished lines of several requests at once are not mixed', async () => {
    await using host = await started(runtime)
    const calls = Array.from({ length: 10 }, () => host.request({ url: '/partial' }))
    await Promise.all(calls.map((call) => call.answer()))
    for (const call of calls) assert.deepEqual(host.linesOf(call), [`${runtime.prints} no line break`])
  })

  test('a long line is cut between two characters and marked, and the next is whole', async () => {
    await using host = await started(runtime)
    const call = host.request({ url: '/long' })
    await call.answer()
    const [cut, next, ...more] = host.logs.filter((log) => log.stream === call.stream).map((log) => log.text)
    assert.ok(cut!.endsWith(CUT_MARK))
    assert.match(cut!.slice(0, -CUT_MARK.length), /^é+ ?$/)
    assert.ok(Buffer.byteLength(cut!) > limits.logLineMaxBytes - 50)
    assert.equal(next, 'short')
    assert.deepEqual(more, [])
  })

  test('twenty thousand lines arrive whole and in order while PING is answered', async () => {
    await using host = await started(runtime)
    const call = host.request({ url: '/flood?lines=20000' })
    await host.ping()
    await call.answer()
    const lines = host.logs.filter((log) => log.stream === call.stream)
    assert.equal(lines.length, 20_000)
    assert.ok(lines.every((log, i) => log.text === `line ${i}`))
  })
})

forEachRuntime(
  'threads',
  (runtime) => {
    test("an error in a thread of the function's own is logged and harms nothing", async () => {
      await using host = await started(runtime)
      assert.equal((await host.request({ url: '/thread_error' }).answer()).body.toString(), 'ok')
      assert.ok(host.logs.some((log) => log.level === 'error' && log.text.includes('in a thread')))
      assert.equal((await host.request().answer()).status, 200)
    })
  },
  'threads',
)

forEachRuntime(
  'levels',
  (runtime) => {
    test("standard output, standard error and each level arrive in order, as the request's own", async () => {
      await using host = await started(runtime)
      const call = host.request({ url: '/levels' })
      await call.answer()
      const lines = ['stdout to stdout', 'stderr to stderr', 'debug debug line', 'info info line', 'warn warn line', 'error error line']
      assert.deepEqual(host.linesOf(call), lines)
    })
  },
  'levels',
)

forEachRuntime(
  'late lines',
  (runtime) => {
    test('what is printed after the end of a request breaks no rule', async () => {
      await using host = await started(runtime)
      await host.request({ url: '/later?ms=100' }).answer()
      await host.until('the late line', () => host.logs.some((log) => log.text === 'later'))
    })
  },
  'outlives',
)
