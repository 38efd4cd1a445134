import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { ShimHost, InitFailed } from './host.ts'
import type { ShimRuntime } from './runtimes.ts'
import { forEachRuntime, started } from './suite.ts'

async function failsToStart(runtime: ShimRuntime, fixture: string): Promise<InitFailed['guest']> {
  await using host = new ShimHost(runtime)
  await host.hello()
  const error: unknown = await host.specialise(fixture).catch((reason: unknown) => reason)
  assert.ok(error instanceof InitFailed, `${fixture} did not fail: ${String(error)}`)
  assert.equal(error.guest.kind, 'init')
  return error.guest
}

forEachRuntime('start', (runtime) => {
  test('a shim says nothing before HELLO and answers it with READY', async () => {
    await using host = new ShimHost(runtime)
    await sleep(300)
    const ready = await host.hello()
    assert.equal(ready.protocol, 1)
    assert.equal(ready.runtime, runtime.name.split(' ')[0])
    assert.match(ready.runtimeVersion, /^\d+(\.\d+){1,2}$/)
  })

  test('a spare answers PING', async () => {
    await using host = new ShimHost(runtime)
    await host.hello()
    await host.ping()
  })

  test('SPECIALISED names the contract of the function', async () => {
    await using host = new ShimHost(runtime)
    await host.hello()
    assert.deepEqual(await host.specialise('actions'), { contract: runtime.contract })
  })

  test('a handler in a file that is not there fails the start with the name of the file', async () => {
    assert.match((await failsToStart(runtime, 'not_there')).message, /not_there/)
  })

  test('the function sees its environment, its names and its directory', async () => {
    await using host = await started(runtime, 'actions', { env: { GREETING: 'grüße', EMPTY: '' }, memoryMiB: 512 })
    const env = await host.request({ url: '/env' }).json()
    const expected = {
      GREETING: 'grüße',
      EMPTY: '',
      HOSTEL_TENANT: 'acme',
      HOSTEL_FUNCTION: 'orders',
      HOSTEL_VERSION: '7',
      HOSTEL_MEMORY_MIB: '512',
      cwd: '/code',
    }
    for (const [name, value] of Object.entries(expected)) assert.equal(env[name], value, name)
  })
})

forEachRuntime(
  'loading',
  (runtime) => {
    test('requests right behind SPECIALISE are answered once the function is loaded', async () => {
      await using host = new ShimHost(runtime)
      await host.hello()
      const specialised = host.specialise('slow_start')
      const calls = [host.request(), host.request({ body: 'x' })]
      await specialised
      for (const call of calls) assert.equal((await call.answer()).body.toString(), 'hello')
      assert.deepEqual(host.linesOf(0), ['stdout loaded'])
    })

    test('nothing is said of a body beyond its window before the function is loaded', async () => {
      await using host = new ShimHost(runtime)
      await host.hello()
      const specialised = host.specialise('slow_start')
      const call = host.request({ body: Buffer.alloc(1_000_000) })
      await specialised
      assert.equal((await call.answer()).body.toString(), 'hello')
    })

    test('a request that is cancelled before the function is loaded settles without having run', async () => {
      await using host = new ShimHost(runtime)
      await host.hello()
      const { specialised, call } = host.together(() => {
        const specialised = host.specialise('slow_start')
        const call = host.request()
        call.cancel()
        return { specialised, call }
      })
      await specialised
      await call.done()
      await host.request().answer()
      assert.equal(host.logs.filter((log) => log.text === 'ran').length, 1)
    })

    test('an error of syntax fails the start with its file and line', async () => {
      const error = await failsToStart(runtime, 'broken_syntax')
      assert.equal(error.name, 'SyntaxError')
      assert.equal(error.file, runtime.failing.syntax.file)
      assert.equal(error.line, runtime.failing.syntax.line)
      assert.ok(error.column! > 0)
    })

    test('an error at the top level fails the start with its file, line and stack', async () => {
      const error = await failsToStart(runtime, 'broken_throws')
      assert.match(error.message, /top level/)
      assert.deepEqual({ file: error.file, line: error.line }, runtime.failing.throws)
      assert.match(error.stack!, new RegExp(`${runtime.failing.throws.file.replace('.', '\\.')}.*${runtime.failing.throws.line}`))
      assert.doesNotMatch(error.stack!, /\/code\/|\/hostel\//)
    })

    test('a module that is missing fails the start with its name', async () => {
      assert.match((await failsToStart(runtime, 'broken_import')).message, /no_such_module/)
    })

    test('a function without its handler fails the start, naming file and handler', async () => {
      const { message } = await failsToStart(runtime, 'broken_export')
      assert.match(message, /broken_export/)
      assert.match(message, /handler/)
    })

    test('a shim whose start failed still answers PING and goes quietly when the host goes', async () => {
      await using host = new ShimHost(runtime)
      await host.hello()
      await assert.rejects(host.specialise('broken_throws'), InitFailed)
      await host.ping()
      host.close()
      assert.deepEqual(await host.exit(), { code: 0, signal: null })
    })
  },
  'loads',
)
