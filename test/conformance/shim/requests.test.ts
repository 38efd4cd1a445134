import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { limits } from '../../../src/limits.ts'
import { forEachRuntime, started } from './suite.ts'

const BINARY = ['content-type', 'application/octet-stream']

forEachRuntime('requests', (runtime) => {
  test('a request without a body is answered with status, headers and body', async () => {
    await using host = await started(runtime)
    const call = host.request()
    const { status, body } = await call.answer()
    assert.equal(status, 200)
    assert.equal(call.header('content-type'), 'text/plain')
    assert.equal(body.toString(), 'hello')
  })

  test('a body that ends with an empty frame, one in many frames and one with END on its last are the same to the handler', async () => {
    await using host = await started(runtime)
    const ways = [['grüße', '', 'last'] as const, ['gr', 'ü', 'ßel', 'ast'] as const, ['grüßelast'] as const]
    for (const pieces of ways) {
      const call = host.request({ method: 'POST', url: '/echo', open: true })
      for (const piece of pieces) call.send(piece)
      call.send('', pieces.length > 1)
      if (pieces.length === 1) call.send(Buffer.alloc(0), true)
      assert.equal((await call.answer()).body.toString(), 'grüßelast')
    }
  })

  test('a body with END on its head and an empty body are both empty', async () => {
    await using host = await started(runtime)
    assert.equal((await host.request({ method: 'POST', url: '/echo' }).answer()).body.length, 0)
    assert.equal((await host.request({ url: '/echo', body: '' }).answer()).body.length, 0)
  })

  test('HEAD is answered without a body', async () => {
    await using host = await started(runtime)
    const { status, body } = await host.request({ method: 'HEAD' }).answer()
    assert.equal(status, 200)
    assert.equal(body.length, 0)
  })

  test('a binary body comes and goes as it is', async () => {
    await using host = await started(runtime)
    const bytes = Buffer.from(Array.from({ length: 1_000 }, (_, i) => 255 - (i % 256)))
    assert.deepEqual((await host.request({ url: '/echo', body: bytes, headers: BINARY }).answer()).body, bytes)
  })

  test('a body of 4 MiB comes in with the credit that the shim gives, and goes out with what it gets', async () => {
    await using host = await started(runtime)
    const bytes = Buffer.alloc(4 * 1024 * 1024, 'abcdefg')
    const { body } = await host.request({ url: '/echo', body: bytes, headers: BINARY }).answer()
    assert.ok(body.equals(bytes))
  })

  test('a shim sends exactly its window before it is given credit, then exactly what it is given', async () => {
    await using host = await started(runtime)
    const totalBytes = limits.streamWindowBytes + 100_000
    const call = host.request({ url: `/bytes?count=${totalBytes}`, holdCredit: true })
    await host.until('a full window', () => call.bodyBytes === limits.streamWindowBytes)
    for (const bytes of [1, 70_000]) {
      const before = call.bodyBytes
      await sleep(50)
      assert.equal(call.bodyBytes, before)
      call.grant(bytes)
      await host.until('what was granted', () => call.bodyBytes === before + bytes)
    }
    assert.equal(call.ended, false)
    // More than is left: the end comes by itself.
    call.grant(1_000_000)
    const { body } = await call.answer()
    assert.equal(body.length, totalBytes)
    assert.ok(body.every((byte, i) => byte === i % 251))
  })

  test('an answer of exactly one window needs no credit', async () => {
    await using host = await started(runtime)
    const { body } = await host.request({ url: `/bytes?count=${limits.streamWindowBytes}`, holdCredit: true }).answer()
    assert.equal(body.length, limits.streamWindowBytes)
  })

  test('a slow reader of one answer holds up no other request', async () => {
    await using host = await started(runtime)
    const slow = host.request({ url: '/bytes?count=1000000', holdCredit: true })
    await host.until('a full window', () => slow.bodyBytes === limits.streamWindowBytes)
    assert.equal((await host.request().answer()).body.toString(), 'hello')
    await host.ping()
    slow.grant(1_000_000)
    assert.equal((await slow.answer()).body.length, 1_000_000)
  })

  test('a request whose body does not come holds up no other, and settles when it is cancelled', async () => {
    await using host = await started(runtime)
    const stuck = host.request({ method: 'POST', url: '/echo', open: true })
    stuck.send('half')
    assert.equal((await host.request().answer()).body.toString(), 'hello')
    stuck.cancel()
    await stuck.done()
  })

  test('fifty requests at once are each answered with their own, whatever the order of their bodies', async () => {
    await using host = await started(runtime)
    const calls = Array.from({ length: 50 }, () => host.request({ method: 'POST', url: '/echo', open: true }))
    for (const call of calls) call.send(`${call.stream} `)
    for (const call of calls.toReversed()) call.send(`is ${call.stream}`, true)
    for (const call of calls) assert.equal((await call.answer()).body.toString(), `${call.stream} is ${call.stream}`)
  })

  test('requests that wait run at the same time', async () => {
    await using host = await started(runtime)
    const start = performance.now()
    await Promise.all(Array.from({ length: 20 }, () => host.request({ url: '/sleep?ms=200' }).answer()))
    assert.ok(performance.now() - start < 2_000, `took ${performance.now() - start} ms`)
  })

  test('PING is answered while requests wait', async () => {
    await using host = await started(runtime)
    const call = host.request({ url: '/sleep?ms=300' })
    await host.ping()
    assert.equal(call.settled, false)
    await call.answer()
  })

  test('CREDIT and CANCEL that cross the end of a request are ignored', async () => {
    await using host = await started(runtime)
    const call = host.request()
    await call.answer()
    call.grant(5)
    call.cancel()
    assert.equal((await host.request().answer()).status, 200)
  })
})

forEachRuntime(
  'computing',
  (runtime) => {
    test('PING and other requests are answered while a handler computes', async () => {
      await using host = await started(runtime)
      const busy = host.request({ url: '/compute?ms=1500' })
      await sleep(100)
      assert.ok((await host.ping()) < limits.pingTimeoutMs)
      assert.equal((await host.request().answer()).body.toString(), 'hello')
      assert.equal(busy.settled, false)
      await busy.answer()
    })
  },
  'computes',
)

forEachRuntime(
  'events that are too long',
  (runtime) => {
    test('a body over the limit of an event is answered with 413, and its rest is thrown away', async () => {
      await using host = await started(runtime)
      const call = host.request({ url: '/hello', body: Buffer.alloc(limits.eventMaxBytes + 1) })
      assert.equal((await call.answer()).status, 413)
      call.send('after the end')
      assert.equal((await host.request().answer()).status, 200)
    })
  },
  'event',
)
