import assert from 'node:assert/strict'
import { test } from 'node:test'

import { InitFailed, type ShimHost } from './host.ts'
import { runtimes } from './runtimes.ts'
import { started } from './suite.ts'

const [asgi, wsgi] = ['ASGI', 'WSGI'].map((kind) => runtimes.find(({ name }) => name === `python3 with ${kind}`)!) as [
  (typeof runtimes)[0],
  (typeof runtimes)[0],
]

function lifespans(name: string): Promise<ShimHost> {
  return started(asgi, 'lifespans', { handler: `lifespans.py:${name}` })
}

test('python3: an app is told from an event handler by its parameters and its name', async () => {
  const kinds = {
    http: ['knows_none', 'plain', 'instance', 'partial', 'wrapped'],
    wsgi: ['environ_only', 'Classic', 'application'],
    '"event"': ['optional', 'lambda_handler'],
  }
  for (const [answer, names] of Object.entries(kinds)) {
    for (const name of names) {
      await using host = await lifespans(name)
      assert.equal((await host.request().answer()).body.toString(), answer, name)
    }
  }
})

test('python3: a file alone means its handler, lambda_handler, app or application', async () => {
  await using first = await started(asgi, 'lambda_only', { handler: 'lambda_only.py' })
  assert.equal((await first.request().answer()).body.toString(), '"found"')
  await using second = await started(asgi, 'web_wsgi', { handler: 'web_wsgi.py' })
  assert.equal((await second.request().answer()).body.toString(), 'hello')
})

test('python3: a start-up that fails fails the start with its message, or the error behind it', async () => {
  const reasons = await Promise.all(['says_why', 'raises'].map((name) => lifespans(name).catch((error: unknown) => error)))
  for (const reason of reasons) assert.ok(reason instanceof InitFailed && /the database is away/.test(reason.message), String(reason))
  const { guest } = reasons[1] as InitFailed
  assert.deepEqual({ name: guest.name, file: guest.file, line: guest.line }, { name: 'ConnectionError', file: 'lifespans.py', line: 18 })
})

test('python3: an app is shut down when its sandbox is told to end', async () => {
  await using host = await started(asgi)
  host.shim.process.kill('SIGTERM')
  assert.deepEqual(await host.exit(), { code: 0, signal: null })
  assert.deepEqual(host.linesOf(0), ['stdout shutting down'])
})

test('python3: an ASGI scope tells the whole request', async () => {
  await using host = await started(asgi)
  const headers = ['host', 'a.example:8080', 'x-forwarded-for', '203.0.113.9', 'x-forwarded-proto', 'https', 'x-forwarded-prefix', '/acme/orders', 'x-a', 'é']
  const scope = await host.request({ method: 'POST', url: 'http://a.example:8080/scope/?q=%20a&b', headers, body: '' }).json()
  assert.deepEqual(scope['headers'], [
    ['host', 'a.example:8080'],
    ['x-forwarded-for', '203.0.113.9'],
    ['x-forwarded-proto', 'https'],
    ['x-forwarded-prefix', '/acme/orders'],
    ['x-a', 'é'],
  ])
  delete scope['headers']
  assert.deepEqual(scope, {
    type: 'http',
    asgi: { version: '3.0', spec_version: '2.4' },
    http_version: '1.1',
    method: 'POST',
    scheme: 'https',
    path: '/acme/orders/scope/',
    raw_path: '/acme/orders/scope/',
    query_string: 'q=%20a&b',
    root_path: '/acme/orders',
    client: ['203.0.113.9', 0],
    server: ['a.example', 8080],
    state: { opened: 'at start' },
    extensions: {},
    id: 'invocation-1',
  })
})

test('python3: a WSGI environ tells the whole request, and wsgi.errors is a log', async () => {
  await using host = await started(wsgi)
  const headers = [
    'host',
    'a.example',
    'content-type',
    'text/x',
    'cookie',
    'a=1',
    'cookie',
    'b=2',
    'x-a',
    '1',
    'x-a',
    '2',
    'x_a',
    'no',
    'x-forwarded-prefix',
    '/p',
  ]
  const call = host.request({ method: 'POST', url: 'http://a.example/environ%2F?q=1', headers, body: 'x' })
  const environ = await call.json()
  const expected = {
    REQUEST_METHOD: 'POST',
    SCRIPT_NAME: '/p',
    PATH_INFO: '/environ/',
    QUERY_STRING: 'q=1',
    SERVER_NAME: 'a.example',
    SERVER_PORT: '80',
    CONTENT_TYPE: 'text/x',
    HTTP_COOKIE: 'a=1; b=2',
    HTTP_X_A: '1,2',
    'wsgi.url_scheme': 'http',
    id: 'invocation-1',
  }
  for (const [name, value] of Object.entries(expected)) assert.equal(environ[name], value, name)
  assert.deepEqual(host.linesOf(call), ['stderr to the log'])
})

test('python3: WSGI has lines of the body, the write of old apps, and a second start_response after an error', async () => {
  await using host = await started(wsgi)
  assert.deepEqual(await host.request({ url: '/lines', body: 'a\nb\n\nc' }).json(), ['a\n', 'b\n', '\n', 'c'])
  assert.equal((await host.request({ url: '/writes' }).answer()).body.toString(), 'one two three')
  const recovered = await host.request({ url: '/recovers' }).answer()
  assert.equal(`${recovered.status} ${recovered.body.toString()}`, '500 recovered')
  assert.equal((await host.request({ url: '/too_late' }).failure()).message, 'too late')
  assert.match((await host.request({ url: '/bad_piece' }).failure()).message, /made of bytes/)
})

for (const runtime of [asgi, wsgi]) {
  test(`${runtime.name}: an answer that HTTP cannot carry is an invalid response`, async () => {
    await using host = await started(runtime)
    for (const url of ['/bad_header', '/bad_status']) assert.equal((await host.request({ url }).failure()).kind, 'invalid_response', url)
  })

  test(`${runtime.name}: events and WebSockets are refused with a reason`, async () => {
    await using host = await started(runtime)
    const event = await host.request({ body: '{}', meta: { event: true } }).answer()
    assert.equal(event.status, 400)
    assert.match(event.body.toString(), /not events/)
    const socket = host.request({ open: true, meta: { upgrade: 'websocket' } })
    assert.equal((await socket.answer()).status, 501)
  })
}
