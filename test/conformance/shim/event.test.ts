import assert from 'node:assert/strict'
import { test } from 'node:test'

import { forEachRuntime, started } from './suite.ts'

const HEADERS = [
  'host',
  'orders.acme.localhost',
  'x-forwarded-for',
  '203.0.113.9, 10.0.0.1',
  'user-agent',
  'suite/1',
  'accept',
  'a',
  'accept',
  'b',
  'cookie',
  'one=1; two=2',
  'cookie',
  'three=3',
]

forEachRuntime(
  'events over HTTP',
  (runtime) => {
    test('a request comes as an event of payload format 2.0', async () => {
      await using host = await started(runtime)
      const before = Date.now()
      const event = await host.request({ url: '/event?x=1&y=a%20b+c&x=2&empty=&gr%C3%BC%C3%9Fe=%F0%9F%98%80&bad=%zz', headers: HEADERS }).json()
      const context = event['requestContext'] as Record<string, unknown>
      assert.equal(event['version'], '2.0')
      assert.equal(event['routeKey'], '$default')
      assert.equal(event['rawPath'], '/event')
      assert.equal(event['rawQueryString'], 'x=1&y=a%20b+c&x=2&empty=&gr%C3%BC%C3%9Fe=%F0%9F%98%80&bad=%zz')
      assert.deepEqual(event['queryStringParameters'], { x: '1,2', y: 'a b c', empty: '', grüße: '😀', bad: '%zz' })
      assert.deepEqual(event['cookies'], ['one=1', 'two=2', 'three=3'])
      assert.equal(event['isBase64Encoded'], false)
      assert.ok(event['body'] === undefined || event['body'] === null)
      const headers = event['headers'] as Record<string, string>
      assert.equal(headers['accept'], 'a,b')
      assert.equal(headers['user-agent'], 'suite/1')
      assert.equal(context['accountId'], 'acme')
      assert.equal(context['apiId'], 'orders')
      assert.equal(context['domainName'], 'orders.acme.localhost')
      assert.equal(context['requestId'], 'invocation-1')
      assert.equal(context['stage'], '$default')
      assert.deepEqual(context['http'], { method: 'GET', path: '/event', protocol: 'HTTP/1.1', sourceIp: '203.0.113.9', userAgent: 'suite/1' })
      assert.ok((context['timeEpoch'] as number) >= before && (context['timeEpoch'] as number) <= Date.now())
      assert.match(context['time'] as string, /^\d\d\/[A-Z][a-z]{2}\/\d{4}:\d\d:\d\d:\d\d \+0000$/)
    })

    test('a text body comes as text, a binary one as base64', async () => {
      await using host = await started(runtime)
      for (const type of ['text/plain; charset=utf-8', 'application/json', 'application/x-www-form-urlencoded', 'application/ld+json']) {
        const event = await host.request({ url: '/event', body: 'grüße=1', headers: ['content-type', type] }).json()
        assert.equal(event['body'], 'grüße=1', type)
        assert.equal(event['isBase64Encoded'], false, type)
      }
      const event = await host.request({ url: '/event', body: Buffer.from([0, 255, 1]), headers: ['content-type', 'image/png'] }).json()
      assert.equal(event['body'], 'AP8B')
      assert.equal(event['isBase64Encoded'], true)
    })

    test('the context tells id, function, version, tenant, memory and the time left', async () => {
      await using host = await started(runtime)
      const { remainingMs, version, memoryMiB, ...rest } = await host.request({ url: '/context', meta: { id: '0197-id', deadlineMs: 2_000 } }).json()
      assert.deepEqual(rest, { id: '0197-id', function: 'orders', tenant: 'acme' })
      assert.equal(String(version), '7')
      assert.equal(Number(memoryMiB), 256)
      assert.ok((remainingMs as number) > 500 && (remainingMs as number) <= 2_000, `${String(remainingMs)} ms left`)
    })

    test('status, headers and cookies of an answer are sent on, names in lower case', async () => {
      await using host = await started(runtime)
      const answer = { statusCode: 201, headers: { 'X-Number': 7, 'Content-Type': 'text/csv', 'x-latin': 'é' }, cookies: ['a=1; Path=/', 'b=2'], body: 'x,y' }
      const call = host.request({ url: '/answer', body: JSON.stringify(answer) })
      const { status, headers, body } = await call.answer()
      assert.equal(status, 201)
      assert.equal(body.toString(), 'x,y')
      assert.equal(call.header('x-number'), '7')
      assert.equal(call.header('x-latin'), 'é')
      assert.equal(call.header('content-type'), 'text/csv')
      assert.deepEqual(
        headers.filter((_, i) => headers[i - 1] === 'set-cookie' && i % 2 === 1),
        ['a=1; Path=/', 'b=2'],
      )
    })

    test('an answer in base64 goes out as bytes', async () => {
      await using host = await started(runtime)
      const { body } = await host.request({ url: '/answer', body: JSON.stringify({ statusCode: 200, body: 'AP8B', isBase64Encoded: true }) }).answer()
      assert.deepEqual([...body], [0, 255, 1])
    })

    test('an answer without a body ends with its head', async () => {
      await using host = await started(runtime)
      for (const answer of [{ statusCode: 204 }, { statusCode: 304, headers: { etag: '"a"' } }, { statusCode: 200 }, { statusCode: 200, body: '' }]) {
        const { status, body } = await host.request({ url: '/answer', body: JSON.stringify(answer) }).answer()
        assert.equal(status, answer.statusCode)
        assert.equal(body.length, 0)
      }
    })

    test('a result without a status is sent as JSON', async () => {
      await using host = await started(runtime)
      for (const value of [{ a: 'grüße' }, [1, 2], 'text', 7, true]) {
        const call = host.request({ url: '/answer', body: JSON.stringify(value) })
        const { status, body } = await call.answer()
        assert.equal(status, 200)
        assert.equal(call.header('content-type'), 'application/json')
        assert.deepEqual(JSON.parse(body.toString()), value)
      }
    })
  },
  'event',
)

forEachRuntime(
  'direct events',
  (runtime) => {
    test('the body is the event and the answer is the result', async () => {
      await using host = await started(runtime)
      assert.equal(await host.event({ double: 21 }), 42)
      const event = { statusCode: 500, nested: ['grüße', null, 1.5, { deep: true }] }
      assert.deepEqual(await host.event(event), event)
    })

    test('no body at all is an empty event', async () => {
      await using host = await started(runtime)
      assert.deepEqual(await host.request({ meta: { event: true } }).json(), {})
    })

    test('a body that is no JSON is answered with 400', async () => {
      await using host = await started(runtime)
      assert.equal((await host.request({ body: '{"half', meta: { event: true } }).answer()).status, 400)
      assert.deepEqual(await host.event({ fine: 1 }), { fine: 1 })
    })
  },
  'event',
)
