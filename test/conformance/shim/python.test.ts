import assert from 'node:assert/strict'
import { test } from 'node:test'

import { InitFailed, type ShimHost } from './host.ts'
import { runtimes } from './runtimes.ts'
import { started } from './suite.ts'

const runtime = runtimes.find(({ name }) => name === 'python3')!

function quirks(handler = 'quirks.py:handler', concurrency = 10): Promise<ShimHost> {
  return started(runtime, 'quirks', { handler, concurrency })
}

function call(host: ShimHost, action: string): ReturnType<ShimHost['request']> {
  return host.request({ body: JSON.stringify({ do: action }), meta: { event: true } })
}

async function failsWith(handler: string): Promise<InitFailed['guest']> {
  const error: unknown = await quirks(handler).catch((reason: unknown) => reason)
  assert.ok(error instanceof InitFailed, `${handler} did not fail: ${String(error)}`)
  return error.guest
}

test('python3: a handler is named file:function, file alone, or module.function as in AWS', async () => {
  for (const handler of ['plain.py:handler', 'plain.py', 'plain.handler', './plain.py']) {
    await using host = await quirks(handler)
    assert.equal((await host.request().answer()).body.toString(), 'hello', handler)
  }
})

test('python3: a decorated, partial or callable-object handler works, asynchronous or not', async () => {
  for (const [handler, result] of Object.entries({ wrapped: 'awaited', partial: 'awaited', instance: 'called' })) {
    await using host = await quirks(`quirks.py:${handler}`)
    assert.equal(await host.event({}), result, handler)
  }
})

test('python3: a start that fails says why', async () => {
  assert.match((await failsWith('exits_at_top.py')).message, /sys\.exit\(3\)/)
  assert.equal((await failsWith('exits_at_top.py')).line, 3)
  assert.match((await failsWith('quirks.py:not_callable')).message, /`not_callable` in quirks\.py is no function/)
  assert.match((await failsWith('plain')).message, /main\.py:handler/)
  assert.match((await failsWith('json.py')).message, /json\.py has the name of a module/)
  assert.match((await failsWith('broken_import.py')).message, /no_such_module.*pip install/)
})

test('python3: sys.exit and KeyboardInterrupt in a handler are errors of that request alone', async () => {
  await using host = await quirks()
  assert.match((await call(host, 'exits').failure()).message, /sys\.exit\(4\)/)
  assert.equal((await call(host, 'keyboard_interrupt').failure()).name, 'KeyboardInterrupt')
  await using loop = await quirks('quirks.py:exits_in_task')
  assert.equal(await loop.event({}), 'still here')
  assert.equal(await loop.event({}), 'still here')
})

test('python3: logging shows info and above without set-up, and a traceback line by line', async () => {
  await using host = await quirks()
  const request = call(host, 'plain_logging')
  await request.answer()
  const lines = host.linesOf(request)
  assert.deepEqual(lines.slice(0, 3), ['info shown', 'error failed', 'error Traceback (most recent call last):'])
  assert.equal(lines.at(-1), 'error ValueError: on purpose')
})

test('python3: logging.basicConfig does what it says', async () => {
  await using host = await quirks()
  const request = call(host, 'basic_config')
  await request.answer()
  assert.deepEqual(host.linesOf(request), ['warn WARNING! shown'])
})

test('python3: a line from a thread of the handler belongs to the only request there is', async () => {
  await using host = await quirks()
  const request = call(host, 'own_thread')
  await request.answer()
  assert.deepEqual(host.linesOf(request), ['stdout from a thread'])
})

test('python3: what is no UTF-8 is printed as well as it can be', async () => {
  await using host = await quirks()
  const request = call(host, 'raw_bytes')
  await request.answer()
  assert.deepEqual(host.linesOf(request), ['stdout bad \ufffd byte', 'stdout and é', 'stdout lone \\ud800 surrogate'])
})

test('python3: child processes and forks do not hold the streams, and print past the shim', async () => {
  await using host = await quirks()
  assert.equal((await call(host, 'child_process').answer()).body.toString(), '"from a child\\n"')
  assert.equal((await call(host, 'child_descriptors').answer()).body.toString(), '""')
  assert.equal((await call(host, 'fork').answer()).body.toString(), '0')
  assert.equal(host.output, 'from a fork\n')
})

test('python3: the first handler thread is the main one, where signal handlers may be set', async () => {
  await using host = await quirks()
  assert.equal((await call(host, 'alarm').answer()).body.toString(), '"rang"')
})

test('python3: printing from a signal handler in the middle of printing breaks no frame', async () => {
  await using host = await quirks()
  const request = call(host, 'prints_in_signal_handler')
  const rings = Number((await request.answer()).body.toString())
  assert.ok(rings > 0)
  // Two may share a line.
  assert.equal(host.linesOf(request).join('\n').split('ring').length - 1, rings)
})

test('python3: errors that cannot be shown well are shown as well as they can be', async () => {
  await using host = await quirks()
  assert.equal((await call(host, 'bad_message').failure()).name, 'Odd')
  assert.equal((await call(host, 'deep').failure()).name, 'RecursionError')
  assert.equal((await call(host, 'huge_message').failure()).name, 'ValueError')
  assert.equal((await call(host, 'nan').failure()).kind, 'invalid_response')
  await call(host, 'surrogate').answer()
})

test('python3: the context has the names of AWS, the code comes first on the module path and no bytecode is written', async () => {
  await using host = await quirks()
  assert.deepEqual(JSON.parse((await call(host, 'remembers').answer()).body.toString()), [256, 'invocation-1', false, '/code', true])
})

test('python3: no more threads are made than the version may have requests in hand', async () => {
  await using host = await quirks('quirks.py:pid', 2)
  const results = (await Promise.all(Array.from({ length: 10 }, () => host.event({})))) as [number, number][]
  // The main one, one more, and the reader.
  assert.ok(
    results.every(([, threads]) => threads <= 3),
    JSON.stringify(results),
  )
})
