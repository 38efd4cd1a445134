import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { limits } from '../../../src/limits.ts'
import { forEachRuntime, started } from './suite.ts'

forEachRuntime('streamed answers', (runtime) => {
  test('a stream goes out piece by piece and no further than its credit', async () => {
    await using host = await started(runtime)
    const call = host.request({ url: '/stream?count=1000&bytes=1000', holdCredit: true })
    await host.until('a full window', () => call.bodyBytes === limits.streamWindowBytes)
    await sleep(50)
    assert.equal(call.settled, false)
    call.grant(1_000_000)
    assert.equal((await call.answer()).body.length, 1_000_000)
  })

  test('an endless stream is broken off by a cancellation after its head, with or without credit', async () => {
    await using host = await started(runtime)
    const calls = [false, true].map((holdCredit) => host.request({ url: '/stream?count=1000000000&bytes=100000', holdCredit }))
    for (const call of calls) await host.until('some body', () => call.bodyBytes >= limits.streamWindowBytes)
    for (const call of calls) call.cancel()
    for (const call of calls) await call.failure()
    assert.equal((await host.request().answer()).status, 200)
  })

  test('an error in the middle of a stream breaks the answer off', async () => {
    await using host = await started(runtime)
    const call = host.request({ url: '/stream_throw' })
    const error = await call.failure()
    assert.equal(error.message, 'on purpose')
    assert.equal(call.status, 200)
    assert.equal(Buffer.concat(call.chunks).toString(), 'begun')
  })

  test('an empty stream is an empty body', async () => {
    await using host = await started(runtime)
    assert.equal((await host.request({ url: '/stream?count=0&bytes=1' }).answer()).body.length, 0)
  })
}, 'streams')
