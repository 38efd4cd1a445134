import assert from 'node:assert/strict'
import { test } from 'node:test'

import { limits } from '../../../src/limits.ts'
import { forEachRuntime, started } from './suite.ts'

forEachRuntime('cancellation', (runtime) => {
  test('a handler that is cancelled is told, its answer is an error, and it settles when it has come to its end', async () => {
    await using host = await started(runtime)
    const call = host.request({ url: '/cancelled' })
    // The handler has begun by the time a later request is answered.
    await host.request().answer()
    call.cancel('deadline')
    assert.equal((await call.failure()).kind, 'handler')
    assert.deepEqual(host.linesOf(call), [`${runtime.prints} saw the cancellation`])
  })

  test('a cancelled answer that waits for credit settles', async () => {
    await using host = await started(runtime)
    const call = host.request({ url: '/bytes?count=1000000', holdCredit: true })
    await host.until('a full window', () => call.bodyBytes === limits.streamWindowBytes)
    call.cancel()
    await call.failure()
    assert.equal(call.bodyBytes, limits.streamWindowBytes)
  })

  test('cancelling one of many leaves the others alone', async () => {
    await using host = await started(runtime)
    const calls = Array.from({ length: 10 }, () => host.request({ url: '/sleep?ms=200' }))
    calls[3]!.cancel()
    for (const call of calls) await (call.cancelled ? call.done() : call.answer())
  })

  test('cancelling twice settles once', async () => {
    await using host = await started(runtime)
    const call = host.request({ url: '/sleep?ms=100' })
    call.cancel()
    call.cancel()
    await call.done()
    assert.equal((await host.request().answer()).status, 200)
  })
})

forEachRuntime(
  'errors of the language',
  (runtime) => {
    test('an error in the handler tells name, message, stack, file and line, and is logged', async () => {
      await using host = await started(runtime)
      const call = host.request({ url: '/throw' })
      const error = await call.failure()
      assert.equal(error.kind, 'handler')
      assert.match(error.name, /^(Value|Type)Error$/)
      assert.equal(error.message, 'on purpose')
      assert.deepEqual({ file: error.file, line: error.line }, runtime.failing.handlerThrows)
      assert.doesNotMatch(error.stack!, /\/code\/|\/hostel\//)
      assert.ok(
        host.linesOf(call).some((line) => line.startsWith('error ') && line.includes('on purpose')),
        host.linesOf(call).join('\n'),
      )
    })

    test('the next request after an error is answered', async () => {
      await using host = await started(runtime)
      await host.request({ url: '/throw' }).failure()
      assert.equal((await host.request().answer()).body.toString(), 'hello')
    })
  },
  'errors',
)

forEachRuntime(
  'invalid answers of an event handler',
  (runtime) => {
    test('a result that JSON cannot express is an invalid response', async () => {
      await using host = await started(runtime)
      const error = await host.request({ url: '/bad' }).failure()
      assert.equal(error.kind, 'invalid_response')
      assert.match(error.message, /JSON/)
    })

    for (const [what, answer] of Object.entries({
      'a status that is none': { statusCode: 99 },
      'a status of another type': { statusCode: 'many' },
      'a header with a line break': { statusCode: 200, headers: { 'x-split': 'a\r\nset-cookie: b' } },
      'a name that no header can have': { statusCode: 200, headers: { 'x y': 'a' } },
      'a header beyond Latin-1': { statusCode: 200, headers: { 'x-text': '\u4f60' } },
      'a body that is no text': { statusCode: 200, body: { a: 1 } },
      'cookies that are no list': { statusCode: 200, cookies: 'a=1' },
    })) {
      test(`${what} is an invalid response that says so`, async () => {
        await using host = await started(runtime)
        const error = await host.request({ url: '/answer', body: JSON.stringify(answer) }).failure()
        assert.equal(error.kind, 'invalid_response')
        assert.ok(error.message.length > 10)
        assert.equal((await host.request().answer()).status, 200)
      })
    }

    test('more headers than an answer may have are an invalid response', async () => {
      await using host = await started(runtime)
      const many = (count: number): string =>
        JSON.stringify({ statusCode: 200, headers: Object.fromEntries(Array.from({ length: count }, (_, i) => [`x-${i}`, 'a'])) })
      assert.equal((await host.request({ url: '/answer', body: many(limits.responseHeadMaxFields + 1) }).failure()).kind, 'invalid_response')
      const long = JSON.stringify({ statusCode: 200, headers: { 'x-long': 'a'.repeat(limits.responseHeadMaxBytes) } })
      assert.equal((await host.request({ url: '/answer', body: long }).failure()).kind, 'invalid_response')
    })
  },
  'event',
)

forEachRuntime(
  'ending the process',
  (runtime) => {
    test('a function that ends its process ends the shim with its code', async () => {
      await using host = await started(runtime)
      host.request({ url: '/exit?code=3' })
      assert.deepEqual(await host.exit(), { code: 3, signal: null })
    })
  },
  'outlives',
)
