import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import { Shim } from '../../test/lib/node-shim.ts'

/** A shim with a fetch handler whose body is given. */
const fetching = (body: string, env = {}): Promise<Shim> =>
  Shim.start({ 'index.mjs': `export default { async fetch(request, env, ctx) { ${body} } }` }, 'index.mjs', env)
const handling = (body: string): Promise<Shim> => Shim.start({ 'index.mjs': `export const handler = async (event, context) => { ${body} }` })

describe('the fetch contract', () => {
  test('request, env and ctx hold what the version and the invocation are', async () => {
    await using shim = await fetching(
      'return Response.json([request.method, request.url, request.headers.get("a"), await request.text(), env, process.env.KEY, process.env.HOSTEL_FUNCTION, ctx.invocationId, ctx.function, ctx.getRemainingTimeInMillis() > 1000])',
      { KEY: 'value' },
    )
    const { body } = await shim.call('/p?q', { body: 'sent', headers: ['a', '1', 'a', '2'] })
    assert.deepEqual(JSON.parse(body), [
      'POST',
      'http://orders.test/p?q',
      '1, 2',
      'sent',
      { KEY: 'value' },
      'value',
      'orders',
      'id-1',
      { name: 'orders', version: 7, tenant: 'acme', memoryMiB: 256, timeoutMs: 5000 },
      true,
    ])
  })

  for (const [what, source, expected] of [
    ['a string', '"text"', 'text'],
    ['bytes', 'new Uint8Array([111, 107])', 'ok'],
    ['a blob', 'new Blob(["b", "c"])', 'bc'],
    ['a stream', 'new Blob(["in a stream"]).stream()', 'in a stream'],
    ['an async iterable', '(async function* () { yield "one "; yield "two" })()', 'one two'],
    ['parameters', 'new URLSearchParams({ a: "b" })', 'a=b'],
    ['nothing', 'null', ''],
    ['more than a window', '"é".repeat(400_000)', 'é'.repeat(400_000)],
  ] as const) {
    test(`a body that is ${what} goes out`, async () => {
      await using shim = await fetching(`return new Response(${source})`)
      assert.equal((await shim.call()).body, expected)
    })
  }

  test('what fetch gives can be returned, and is an instance of Response', async () => {
    await using shim = await fetching('const real = await fetch("data:text/x,real"); if (!(real instanceof Response)) throw 1; return real')
    const { body, headers } = await shim.call()
    assert.equal(body, 'real')
    assert.deepEqual(headers, ['content-type', 'text/x'])
  })

  test('fetch takes a light request with its body, and says that there is no network', async () => {
    await using shim = await fetching(`
      const { createServer } = await import('node:http')
      const server = createServer((req, res) => req.pipe(res).setHeader('x-method', req.method)).listen(0, '127.0.0.1')
      await new Promise((resolve) => server.once('listening', resolve))
      const echo = await fetch(new Request('http://127.0.0.1:' + server.address().port, { method: 'PUT', body: await request.text() }))
      server.close()
      const failed = await fetch('http://no-such-host.invalid/').catch((error) => error)
      return Response.json([await echo.text(), echo.headers.get('x-method'), failed.message])`)
    const [text, method, message] = JSON.parse((await shim.call('/', { body: 'through' })).body) as string[]
    assert.deepEqual([text, method], ['through', 'PUT'])
    assert.match(message!, /no-such-host\.invalid cannot be reached from this sandbox/)
  })

  test('a form is read', async () => {
    await using shim = await fetching('return Response.json([...await request.formData()])')
    assert.equal((await shim.call('/', { body: 'a=1&b=2', headers: ['content-type', 'application/x-www-form-urlencoded'] })).body, '[["a","1"],["b","2"]]')
  })

  test('HEAD sends no body', async () => {
    await using shim = await fetching('return new Response("not wanted", { headers: { a: "b" } })')
    const { status, body, headers } = await shim.call('/', { method: 'HEAD' })
    assert.deepEqual([status, body, headers.includes('a')], [200, '', true])
  })

  test('waitUntil keeps the request open, and its error is logged', async () => {
    await using shim = await fetching(
      'ctx.waitUntil(new Promise((resolve) => setTimeout(() => { console.log("later"); resolve() }, 30))); ctx.waitUntil(Promise.reject(new Error("lost"))); return new Response("now")',
    )
    const { body, lines } = await shim.call()
    assert.equal(body, 'now')
    assert.ok(lines.includes('stdout later') && lines.some((line) => line.includes('lost')), lines.join('\n'))
  })

  for (const [what, source, message] of [
    ['nothing', 'undefined', /must return a Response, not undefined/],
    ['another object', '({ a: 1 })', /not another object/],
    ['a used response', 'await (async () => { const r = new Response("x"); await r.text(); return r })()', /already used/],
    ['an error response', 'Response.error()', /Response\.error/],
    ['a stream of texts', 'new Response(new ReadableStream({ start(c) { c.enqueue("x"); c.close() } }))', /Uint8Array/],
    ['a control character in a header', 'new Response("", { headers: { a: "b\\x01" } })', /control character/],
  ] as const) {
    test(`${what} is an invalid response`, async () => {
      await using shim = await fetching(`return ${source}`)
      const { error } = await shim.call()
      assert.equal(error?.kind, 'invalid_response')
      assert.match(error!.message, message)
    })
  }

  test('a cancelled request aborts its signal and its stream', async () => {
    await using shim = await fetching(`
      if (request.url.endsWith('/stream')) return new Response(new ReadableStream({ pull() { return new Promise(() => {}) }, cancel(reason) { console.log('cancelled', reason.name) } }))
      await new Promise((resolve) => request.signal.addEventListener('abort', resolve)); console.log('aborted', request.signal.reason.name)`)
    const stop = (reason: string) => (stream: number) => void setTimeout(() => shim.cancel(stream, reason), 50)
    const disconnected = await shim.call('/', { onStart: stop('disconnect') })
    assert.deepEqual([disconnected.error?.name, disconnected.lines], ['AbortError', ['stdout aborted AbortError']])
    assert.equal((await shim.call('/', { onStart: stop('deadline') })).error?.name, 'TimeoutError')
    const streamed = await shim.call('/stream', { onStart: stop('disconnect') })
    assert.ok(streamed.lines.includes('stdout cancelled AbortError'), streamed.lines.join('\n'))
  })

  test('a function that breaks built-ins breaks itself, not the shim', async () => {
    await using shim = await fetching(
      'Array.prototype.push = Map.prototype.get = JSON.stringify = JSON.parse = () => { throw 1 }; return new Response("still")',
    )
    for (let i = 0; i < 2; i++) assert.equal((await shim.call()).body, 'still')
  })
})

describe('the event contract', () => {
  test('a result without a status is JSON, undefined is null', async () => {
    await using shim = await handling('return event.rawPath === "/none" ? undefined : { path: event.rawPath }')
    assert.equal((await shim.call('/a')).body, '{"path":"/a"}')
    assert.equal((await shim.call('/none')).body, 'null')
  })

  test('a direct event is the argument, and its result the answer, status and all', async () => {
    await using shim = await handling('return { statusCode: 404, event }')
    const { status, body } = await shim.call('/', { event: true, body: '{"a":1}' })
    assert.deepEqual([status, body], [200, '{"statusCode":404,"event":{"a":1}}'])
    assert.equal((await shim.call('/', { event: true })).body, '{"statusCode":404,"event":{}}')
  })

  test('a fetch function gets no direct events', async () => {
    await using shim = await fetching('return new Response("")')
    assert.match((await shim.call('/', { event: true })).error!.message, /not events/)
  })

  test("a callback's error is the handler's", async () => {
    await using shim = await Shim.start({ 'index.cjs': 'exports.handler = (event, context, callback) => callback(new RangeError("called back"))' })
    assert.deepEqual((await shim.call()).error?.message, 'called back')
  })
})

describe('errors outside of handlers', () => {
  for (const [what, source] of [
    ['a throw in a timer', 'setTimeout(() => { throw new RangeError("late") }, 10); await new Promise(() => {})'],
    ['a rejection that nobody handles', 'void Promise.reject(new RangeError("late")); await new Promise(() => {})'],
  ] as const) {
    test(`${what} is logged, ends its own request with the error, and then the process`, async () => {
      await using shim = await fetching(source)
      const { error, lines } = await shim.call()
      assert.equal(await shim.exited, 1)
      assert.deepEqual([error?.message, error?.file, error?.line], ['late', 'index.mjs', 1])
      assert.ok(lines.some((line) => line.startsWith('error Uncaught RangeError: late')))
    })
  }

  test("a listener of the function's own for such errors is left in charge", async () => {
    await using shim = await fetching(
      'process.once("uncaughtException", () => {}); setTimeout(() => { throw 1 }, 1); await new Promise((resolve) => setTimeout(resolve, 50)); return new Response("alive")',
    )
    assert.equal((await shim.call()).body, 'alive')
  })
})

describe('logs', () => {
  test('console formats as ever, at its levels', async () => {
    await using shim = await fetching(
      'console.group("G"); console.log("%s is %d", "a", 1, { b: [1] }); console.groupEnd(); console.dir({ c: 1 }); console.assert(false, "no"); console.trace("here"); return new Response("")',
    )
    const { lines } = await shim.call()
    assert.deepEqual(lines, [
      'stdout G',
      'stdout   a is 1 { b: [ 1 ] }',
      'stdout { c: 1 }',
      'warn Assertion failed: no',
      'error Trace: here',
      'error     at Object.fetch (index.mjs:1:196)',
    ])
  })

  test('what was written before a loop without end, or before exit, is not lost', async () => {
    await using shim = await fetching(
      'console.log("before"); if (request.url.endsWith("exit")) { process.stdout.write("no break"); process.exit(3) } for (;;);',
    )
    const seen = await new Promise((resolve) => {
      void shim.call('/', { onStart: () => setTimeout(resolve, 300) }).then((answer) => assert.deepEqual(answer.lines, ['stdout before']))
    })
    assert.equal(seen, undefined)
    await using other = await fetching('console.log("before"); process.stdout.write("no break"); process.exit(3)')
    assert.deepEqual((await other.call()).lines, ['stdout before', 'stdout no break'])
    assert.equal(await other.exited, 3)
  })
})
