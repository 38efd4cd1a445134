import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { encodeFrame, frameTypes } from '../../../src/sandbox/protocol.ts'
import { ShimHost } from './host.ts'
import { forEachRuntime, started } from './suite.ts'

forEachRuntime('the second stream', (runtime) => {
  test('a spare whose host goes moves to fd 4 and can be specialised there', async () => {
    await using host = new ShimHost(runtime)
    await host.hello()
    assert.equal((await host.fallBack()).protocol, 1)
    await host.specialise('actions')
    assert.equal((await host.request().answer()).body.toString(), 'hello')
  })

  test('a shim whose host never said a word moves too', async () => {
    await using host = new ShimHost(runtime)
    await host.fallBack()
    await host.ping()
  })

  test('an idle shim stays specialised when it moves, and counts its requests anew', async () => {
    await using host = await started(runtime)
    for (let i = 0; i < 3; i++) await host.request().answer()
    await host.fallBack()
    assert.equal((await host.request().answer()).body.toString(), 'hello')
    await host.ping()
  })

  test('half a frame on the first stream is forgotten', async () => {
    await using host = await started(runtime)
    host.raw(encodeFrame(frameTypes.PING, 0, 0, 'abcd').subarray(0, 12))
    await sleep(50)
    await host.fallBack()
    await host.ping()
  })

  test('a shim with a request in hand exits with 0 when its host goes', async () => {
    await using host = await started(runtime)
    host.request({ url: '/sleep?ms=60000' })
    await host.ping()
    host.close()
    assert.deepEqual(await host.exit(), { code: 0, signal: null })
  })

  test('a shim on fd 4 exits with 0 when that ends', async () => {
    await using host = await started(runtime)
    await host.fallBack()
    host.close()
    assert.deepEqual(await host.exit(), { code: 0, signal: null })
  })
})

forEachRuntime('a host that breaks the protocol', (runtime) => {
  const json = (value: unknown): string => JSON.stringify(value)
  const cases: Record<string, Buffer> = {
    'a type that is not known': encodeFrame(0x7f, 0, 0),
    'a frame that only a shim sends': encodeFrame(frameTypes.READY, 0, 0, json({ protocol: 1 })),
    'a payload over the limit': Buffer.from([0, 1, 0, 1, frameTypes.PING, 0, 0, 0, 0, 0]),
    'a head that is no JSON': encodeFrame(frameTypes.REQUEST_HEAD, 1, 1, '{'),
    'a body for a request that was never opened': encodeFrame(frameTypes.REQUEST_BODY, 0, 9, 'x'),
    'a second SPECIALISE': encodeFrame(frameTypes.SPECIALISE, 0, 0, '{}'),
    'a second HELLO': encodeFrame(frameTypes.HELLO, 0, 0, json({ protocol: 1 })),
  }
  for (const [what, bytes] of Object.entries(cases)) {
    test(`${what} ends the shim with a word on its standard error`, async () => {
      await using host = await started(runtime)
      host.raw(bytes)
      const { code } = await host.exit()
      assert.ok(code !== null && code > 0, `exit code ${code}`)
      assert.match(host.output, /protocol/)
    })
  }

  test('a protocol of another version ends the shim', async () => {
    await using host = new ShimHost(runtime)
    host.raw(encodeFrame(frameTypes.HELLO, 0, 0, json({ protocol: 2 })))
    assert.ok(((await host.exit()).code ?? 0) > 0)
    assert.match(host.output, /protocol 2/)
  })

  test('a frame before HELLO ends the shim', async () => {
    await using host = new ShimHost(runtime)
    host.raw(encodeFrame(frameTypes.PING, 0, 0, 'abcd'))
    assert.ok(((await host.exit()).code ?? 0) > 0)
  })
})

forEachRuntime(
  'late lines and the second stream',
  (runtime) => {
    test('what an old request prints after the move breaks no rule of the new stream', async () => {
      await using host = await started(runtime)
      for (let i = 0; i < 3; i++) await host.request().answer()
      await host.request({ url: '/later?ms=400' }).answer()
      await host.fallBack()
      await host.until('the late line', () => host.logs.some((log) => log.text === 'later'))
      assert.deepEqual(host.linesOf(0), ['stdout later'])
    })

    test('what is printed between the streams is not sent before HELLO', async () => {
      await using host = await started(runtime)
      await host.request({ url: '/later?ms=50' }).answer()
      // Says HELLO 100 ms later.
      await host.fallBack()
      await host.ping()
    })
  },
  'outlives',
)
