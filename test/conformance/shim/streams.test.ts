import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { limits } from '../../../src/limits.ts'
import { ShimHost } from './host.ts'
import { forEachRuntime, started } from './suite.ts'

forEachRuntime(
  'streamed answers',
  (runtime) => {
    test('a stream goes out piece by piece and no further than its credit', async () => {
      await using host = await started(runtime, 'streams')
      const call = host.request({ url: '/stream?count=1000&bytes=1000', holdCredit: true })
      await host.until('a full window', () => call.bodyBytes === limits.streamWindowBytes)
      await sleep(50)
      assert.equal(call.settled, false)
      call.grant(1_000_000)
      assert.equal((await call.answer()).body.length, 1_000_000)
    })

    test('an endless stream is broken off by a cancellation after its head, with or without credit', async () => {
      await using host = await started(runtime, 'streams')
      const calls = [false, true].map((holdCredit) => host.request({ url: '/stream?count=1000000000&bytes=100000', holdCredit }))
      for (const call of calls) await host.until('some body', () => call.bodyBytes >= limits.streamWindowBytes)
      for (const call of calls) call.cancel()
      for (const call of calls) await call.failure()
      assert.equal((await host.request().answer()).status, 200)
    })

    test('an error in the middle of a stream breaks the answer off', async () => {
      await using host = await started(runtime, 'streams')
      const call = host.request({ url: '/stream_throw' })
      const error = await call.failure()
      if (runtime.capabilities.has('errors')) assert.equal(error.message, 'on purpose')
      assert.equal(call.status, 200)
      assert.equal(Buffer.concat(call.chunks).toString(), 'begun')
    })

    test('an empty stream is an empty body', async () => {
      await using host = await started(runtime, 'streams')
      assert.equal((await host.request({ url: '/stream?count=0&bytes=1' }).answer()).body.length, 0)
    })
  },
  'streams',
)

forEachRuntime(
  'fetch handlers',
  (runtime) => {
    test('the contract is fetch', async () => {
      await using host = new ShimHost(runtime)
      await host.hello()
      assert.deepEqual(await host.specialise('fetch'), { contract: 'fetch' })
    })

    test('a body streams in and out at the same time', async () => {
      await using host = await started(runtime, 'fetch')
      const call = host.request({ method: 'POST', url: '/duplex', open: true })
      for (const piece of ['one ', 'two ', 'three']) {
        const before = call.bodyBytes
        call.send(piece)
        await host.until('the piece', () => call.bodyBytes === before + piece.length)
      }
      call.send('', true)
      assert.equal((await call.answer()).body.toString(), 'one two three')
    })

    test('8 MiB stream through, exactly as credit allows on both sides', async () => {
      await using host = await started(runtime, 'fetch')
      const bytes = Buffer.from(Array.from({ length: 8 * 1024 * 1024 }, (_, i) => (i * 7) % 253))
      const { body } = await host.request({ url: '/duplex', body: bytes }).answer()
      assert.ok(body.equals(bytes))
    })

    test('a slow reader of an answer slows the writer of its request', async () => {
      await using host = await started(runtime, 'fetch')
      const call = host.request({ url: '/duplex', body: Buffer.alloc(4 * 1024 * 1024), holdCredit: true })
      await host.until('a full window', () => call.bodyBytes === limits.streamWindowBytes)
      await sleep(200)
      assert.ok(call.sentBytes <= 4 * limits.streamWindowBytes, `${call.sentBytes} bytes went into the shim`)
      call.grant(4 * 1024 * 1024)
      await call.answer()
    })

    test('credit comes as the handler takes the body, and not for what it leaves', async () => {
      await using host = await started(runtime, 'fetch')
      const call = host.request({ url: '/one_piece', body: Buffer.alloc(4 * 1024 * 1024) })
      await call.answer()
      assert.ok(call.sentBytes <= 2 * limits.streamWindowBytes, `${call.sentBytes} bytes went into the shim`)
    })

    test('an answer that leaves the body unread settles while the body is still coming', async () => {
      await using host = await started(runtime, 'fetch')
      const call = host.request({ method: 'POST', url: '/unread', open: true })
      call.send('some')
      assert.equal((await call.answer()).body.toString(), 'unread')
      call.send(' more', true)
      assert.equal((await host.request().answer()).status, 200)
    })

    test('a cancellation aborts request.signal, and the request settles when the handler does', async () => {
      await using host = await started(runtime, 'fetch')
      const call = host.request({ url: '/aborted' })
      await host.request().answer()
      call.cancel()
      await call.failure()
      assert.deepEqual(host.linesOf(call), [`${runtime.prints} saw the cancellation`])
    })

    test('an answer ends before what waitUntil was given, and settles after it', async () => {
      await using host = await started(runtime, 'fetch')
      const call = host.request({ url: '/wait_until' })
      await host.until('the end of the answer', () => call.ended)
      assert.equal(call.settled, false)
      await call.answer()
      assert.deepEqual(
        host.linesOf(call).map((line) => line.split(' ')[1]),
        ['waited'],
      )
    })

    test('repeated headers stay apart and names are in lower case', async () => {
      await using host = await started(runtime, 'fetch')
      const call = host.request({ url: '/cookies' })
      const { status, headers } = await call.answer()
      assert.equal(status, 202)
      assert.equal(call.header('x-mixed'), 'a')
      assert.deepEqual(
        headers.filter((_, i) => i % 2 === 1 && headers[i - 1] === 'set-cookie'),
        ['a=1', 'b=2'],
      )
    })

    test('what is no Response is an invalid response', async () => {
      await using host = await started(runtime, 'fetch')
      assert.equal((await host.request({ url: '/no_response' }).failure()).kind, 'invalid_response')
    })
  },
  'fetch',
)
