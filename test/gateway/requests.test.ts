import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { describe, it } from 'node:test'

import type { RoutedFunction } from '../../src/functions/types.ts'
import { limits } from '../../src/limits.ts'
import { frameFlags } from '../../src/sandbox/protocol.ts'
import type { GuestHandler, GuestRequest } from './lib/guest.ts'
import { rawExchange, startGateway, testVersion } from './lib/harness.ts'

const LAST = frameFlags.END | frameFlags.SETTLED

/** Answers with what the function was shown. */
const mirror: GuestHandler = async (request, answer) => {
  const body: Buffer[] = []
  for await (const chunk of request.body()) body.push(chunk)
  answer.head(200, ['content-type', 'application/json'])
  await answer.body(JSON.stringify({ ...request, body: Buffer.concat(body).toString('latin1') }), LAST)
}
type Seen = Pick<GuestRequest, 'method' | 'url' | 'headers' | 'meta'> & { body: string }

/** Sends a request as it is; the answer's status, and what the function saw if it was called. */
async function send(port: number, request: string): Promise<{ status: number; seen: Seen | null; code: string | undefined; text: string }> {
  const text = await rawExchange(port, request)
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0)
  const body = text.slice(text.indexOf('\r\n\r\n') + 4)
  const json = body.startsWith('{') ? (JSON.parse(body.slice(0, body.lastIndexOf('}') + 1)) as Record<string, unknown>) : {}
  return { status, seen: 'method' in json ? (json as unknown as Seen) : null, code: json['code'] as string | undefined, text }
}

const get = (target: string, host = 'localhost', more = ''): string => `GET ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n${more}\r\n`
const valuesOf = (seen: Seen, name: string): string[] => seen.headers.filter((_value, index) => index % 2 === 1 && seen.headers[index - 1] === name)

const functions: RoutedFunction[] = [
  {
    tenant: 'default',
    name: 'hello',
    aliases: { live: 2, canary: 1 },
    versions: [testVersion({ version: 1 }), testVersion({ version: 2 })],
  },
]

describe('the function that a request means', () => {
  const shown: [target: string, host: string, url: string, version: number, prefix: string | undefined][] = [
    ['/default/hello', 'localhost', 'http://localhost/', 2, '/default/hello'],
    ['/default/hello?q=1', 'localhost:8080', 'http://localhost:8080/?q=1', 2, '/default/hello'],
    ['/default/hello/', '127.0.0.1', 'http://127.0.0.1/', 2, '/default/hello'],
    ['/default/hello/a/b?x=/y', '[::1]:8080', 'http://[::1]:8080/a/b?x=/y', 2, '/default/hello'],
    ['/default/hello:canary/a', 'LocalHost.', 'http://localhost./a', 1, '/default/hello:canary'],
    ['/default/hello%3A1/a', 'localhost', 'http://localhost/a', 1, '/default/hello%3A1'],
    ['/default/hello/%2e%2e/..%2f/../x', 'localhost', 'http://localhost/%2e%2e/..%2f/../x', 2, '/default/hello'],
    ['/default/hello//evil.example/x', 'localhost', 'http://localhost//evil.example/x', 2, '/default/hello'],
    ['/a/b?c', 'hello.default.localhost:8080', 'http://hello.default.localhost:8080/a/b?c', 2, undefined],
    ['//x', 'HELLO.Default.LocalHost.:80', 'http://hello.default.localhost.:80//x', 2, undefined],
    ['/', 'canary--hello.default.localhost', 'http://canary--hello.default.localhost/', 1, undefined],
    ['/', '1--hello.default.localhost', 'http://1--hello.default.localhost/', 1, undefined],
    ['http://hello.default.localhost/abs?q', 'localhost', 'http://hello.default.localhost/abs?q', 2, undefined],
    ['http://LOCALHOST:81/default/hello', 'elsewhere.example', 'http://localhost:81/', 2, '/default/hello'],
    ['http://hello.default.localhost', 'localhost', 'http://hello.default.localhost/', 2, undefined],
  ]
  for (const [target, host, url, version, prefix] of shown) {
    it(`is found for ${target} at ${host}, and sees ${url}`, async () => {
      await using gateway = await startGateway(mirror, { functions })
      const { status, seen } = await send(gateway.port, get(target, host))
      assert.equal(status, 200)
      assert.equal(seen!.url, url)
      assert.deepEqual(valuesOf(seen!, 'x-forwarded-prefix'), prefix === undefined ? [] : [prefix])
      assert.equal((await gateway.recorded(1))[0]!.version, version)
    })
  }

  const refused: [request: string, status: number, code: string][] = [
    [get('/'), 404, 'unknown_function'],
    [get('/favicon.ico'), 404, 'unknown_function'],
    [get('/default/nothing'), 404, 'unknown_function'],
    [get('/default/hello:beta'), 404, 'unknown_function'],
    [get('/default/hello:3'), 404, 'unknown_function'],
    [get('/default/HELLO'), 404, 'unknown_function'],
    [get('/default/%68ello'), 404, 'unknown_function'],
    [get('/../default/hello'), 404, 'unknown_function'],
    [get('/default/__proto__'), 404, 'unknown_function'],
    [get('/default/hello:constructor'), 404, 'unknown_function'],
    [get('/default/hello', 'evil.example'), 404, 'unknown_function'],
    [get('/default/hello', 'localhost.evil.example'), 404, 'unknown_function'],
    [get('/default/hello', 'evillocalhost'), 404, 'unknown_function'],
    [get('/', 'hello.defaultxlocalhost'), 404, 'unknown_function'],
    [get('/default/hello', '10.0.0.1'), 404, 'unknown_function'],
    [get('/', 'deep.hello.default.localhost'), 404, 'unknown_function'],
    [get('/', 'default.localhost'), 404, 'unknown_function'],
    [get('/', 'a--b--hello.default.localhost'), 404, 'unknown_function'],
    [get('/', 'hello.default.localhost:99999'), 400, 'malformed_request'],
    [get('/', 'user@hello.default.localhost'), 400, 'malformed_request'],
    [get('/', 'hello.default.localhost/x'), 400, 'malformed_request'],
    [get('/', 'hello..default.localhost'), 400, 'malformed_request'],
    [get('/', 'a b'), 400, 'malformed_request'],
    [get('/', ''), 400, 'malformed_request'],
    [get('/default/hello', 'localhost', 'Host: localhost\r\n'), 400, 'malformed_request'],
    ['GET /default/hello HTTP/1.1\r\nConnection: close\r\n\r\n', 400, 'malformed_request'],
    ['GET /default/hello HTTP/1.0\r\n\r\n', 400, 'malformed_request'],
    [get('http://user@localhost/default/hello'), 400, 'malformed_request'],
    [get('ftp://localhost/default/hello'), 400, 'malformed_request'],
    [get('*').replace('GET', 'OPTIONS'), 400, 'malformed_request'],
    [get('/default/hello#fragment'), 400, 'malformed_request'],
    [get('/default/hello/\xe9'), 400, 'malformed_request'],
    [get(`/default/hello/${'a'.repeat(limits.requestUrlMaxBytes)}`), 414, 'uri_too_long'],
  ]
  for (const [request, status, code] of refused) {
    it(`is not found, with ${status}, for ${JSON.stringify(request.slice(0, 60))}`, async () => {
      await using gateway = await startGateway(mirror, { functions })
      const answer = await send(gateway.port, Buffer.from(request, 'latin1').toString('latin1'))
      assert.equal(answer.status, status, answer.text)
      assert.equal(answer.code, code)
      assert.match(answer.text, /\r\ncontent-type: application\/problem\+json\r\n/)
      assert.match(answer.text, /\r\nhostel-invocation: [0-9a-f-]{36}\r\n/)
      assert.equal(gateway.records.length, 0)
    })
  }

  it("is every IP address's too where the server listens on all of them", async () => {
    const { hostRulesOf, parseAddress } = await import('../../src/gateway/address.ts')
    const rules = hostRulesOf('functions.example', ['0.0.0.0'])
    assert.equal(parseAddress('/default/hello', '192.0.2.7:8080', rules).function, 'hello')
    assert.equal(parseAddress('/default/hello', '[2001:db8::7]', rules).function, 'hello')
    assert.throws(() => parseAddress('/default/hello', 'rebound.example', rules), { code: 'unknown_function' })
  })

  it('is unavailable, with 503, before control has sent a routing table', async () => {
    const { createRoutingTable } = await import('../../src/gateway/routes.ts')
    assert.equal(createRoutingTable({ onRetire() {}, onVersions() {} }).filled, false)
  })
})

describe('a request on its way to the function', () => {
  it('keeps its fields in order, with repeats, and loses those about the connection and those that claim who forwarded it', async () => {
    await using gateway = await startGateway(mirror)
    const { seen } = await send(
      gateway.port,
      `GET /default/hello HTTP/1.1\r\nHost: localhost\r\nX-One: 1\r\nX-Two: 2\r\nx-one: 3\r\nConnection: close, X-Private\r\nX-Private: 1\r\nKeep-Alive: 1\r\nTE: trailers\r\nUpgrade: h2c\r\nProxy-Authorization: a\r\nX-Forwarded-For: 1.2.3.4\r\nX_Forwarded_For: 1.2.3.4\r\nX-Forwarded-Whatever: 1\r\nForwarded: for=1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\nHostel-Tenant: other\r\nAuthorization: Bearer x\r\n\r\n`,
    )
    assert.deepEqual(seen!.headers, [
      'x-one',
      '1',
      'x-two',
      '2',
      'x-one',
      '3',
      'authorization',
      'Bearer x',
      'host',
      'localhost',
      'x-forwarded-for',
      '127.0.0.1',
      'x-forwarded-proto',
      'http',
      'x-forwarded-host',
      'localhost',
      'x-forwarded-prefix',
      '/default/hello',
    ])
  })

  it('brings its id and the milliseconds that are left', async () => {
    await using gateway = await startGateway(mirror, { version: { timeoutMs: 5_000 } })
    const { seen } = await send(gateway.port, get('/default/hello'))
    assert.equal(seen!.meta.id, (await gateway.recorded(1))[0]!.id)
    assert.ok(seen!.meta.deadlineMs > 4_000 && seen!.meta.deadlineMs <= 5_000)
    assert.equal(seen!.meta.event, undefined)
  })

  it('is an event when it is a POST of the event type, and no other way', async () => {
    await using gateway = await startGateway(mirror)
    const call = async (method: string, type: string): Promise<unknown> => {
      const { seen } = await send(
        gateway.port,
        `${method} /default/hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: ${type}\r\nContent-Length: 2\r\n\r\n{}`,
      )
      assert.equal(seen!.body, '{}')
      return seen!.meta.event
    }
    assert.equal(await call('POST', 'application/vnd.hostel.event+json'), true)
    assert.equal(await call('POST', 'Application/Vnd.Hostel.Event+JSON; charset=utf-8'), true)
    assert.equal(await call('PUT', 'application/vnd.hostel.event+json'), undefined)
    assert.equal(await call('POST', 'application/json'), undefined)
  })

  it('may be chunked', async () => {
    await using gateway = await startGateway(mirror)
    const { seen } = await send(
      gateway.port,
      `POST /default/hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n`,
    )
    assert.equal(seen!.body, 'abcde')
    assert.deepEqual(valuesOf(seen!, 'transfer-encoding'), [])
  })

  it('is told to continue only once there is a place for it', async () => {
    await using gateway = await startGateway(mirror)
    const { text } = await send(
      gateway.port,
      `POST /default/hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc`,
    )
    assert.match(text, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK\r\n/)
  })

  it('that expects to be told to continue, and is refused, gets no 100 and its connection is closed', async () => {
    await using gateway = await startGateway(mirror)
    const { status, text } = await send(gateway.port, `POST /default/nothing HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n`)
    assert.equal(status, 404)
    assert.match(text, /\r\nconnection: close\r\n/i)
  })

  it("for a service worker's script is refused in the path form and passed on in the host form", async () => {
    await using gateway = await startGateway(mirror)
    assert.equal((await send(gateway.port, get('/default/hello/sw.js', 'localhost', 'Service-Worker: script\r\n'))).code, 'not_supported')
    assert.equal((await send(gateway.port, get('/sw.js', 'hello.default.localhost', 'Service-Worker: script\r\n'))).status, 200)
  })

  it('with TRACE or CONNECT is answered as not supported', async () => {
    await using gateway = await startGateway(mirror)
    for (const request of [get('/default/hello').replace('GET', 'TRACE'), 'CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n']) {
      const { status, code } = await send(gateway.port, request)
      assert.equal(status, 501)
      assert.equal(code, 'not_supported')
    }
  })
})

describe('a request that is not valid HTTP/1.1', () => {
  const post = (fields: string, body: string): string => `POST /default/hello HTTP/1.1\r\nHost: localhost\r\n${fields}\r\n${body}`
  const odd: [what: string, request: string][] = [
    [
      'Content-Length next to Transfer-Encoding',
      post('Content-Length: 4\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n'),
    ],
    ['Transfer-Encoding next to Content-Length', post('Transfer-Encoding: chunked\r\nContent-Length: 4\r\n', '0\r\n\r\n')],
    ['two different Content-Lengths', post('Content-Length: 3\r\nContent-Length: 4\r\n', 'abcd')],
    ['the same Content-Length twice', post('Content-Length: 3\r\nContent-Length: 3\r\n', 'abc')],
    ['a list as Content-Length', post('Content-Length: 3, 3\r\n', 'abc')],
    ['a signed Content-Length', post('Content-Length: +3\r\n', 'abc')],
    ['an unknown transfer coding', post('Transfer-Encoding: chunked, identity\r\n', '0\r\n\r\n')],
    ['a transfer coding hidden by a tab and letters', post('Transfer-Encoding: xchunked\r\n', '0\r\n\r\n')],
    ['a bad chunk size', post('Transfer-Encoding: chunked\r\n', 'zz\r\nabc\r\n0\r\n\r\n')],
    ['a negative chunk size', post('Transfer-Encoding: chunked\r\n', '-1\r\nabc\r\n0\r\n\r\n')],
    ['a chunk longer than it says', post('Transfer-Encoding: chunked\r\n', '2\r\nabc\r\n0\r\n\r\n')],
    ['a folded field', post('X-Folded: a\r\n b\r\nContent-Length: 0\r\n', '')],
    ['a space before the colon', post('Content-Length : 0\r\n', '')],
    ['bare line feeds', 'GET /default/hello HTTP/1.1\nHost: localhost\n\n'],
    ['a bare carriage return in a value', post('X-Bare: a\rb\r\n', '')],
    ['a NUL in a value', post('X-Nul: a\0b\r\n', '')],
    ['a field without a name', post(': a\r\n', '')],
    ['a space in the target', 'GET /default/hello x HTTP/1.1\r\nHost: localhost\r\n\r\n'],
    ['another protocol version', 'GET /default/hello HTTP/3.0\r\nHost: localhost\r\n\r\n'],
    ['a lower-case method', 'get /default/hello HTTP/1.1\r\nHost: localhost\r\n\r\n'],
    ['TLS on a plain port', '\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03'],
  ]
  for (const [what, request] of odd) {
    it(`because of ${what} is answered with 400, once, and the connection is closed`, async () => {
      await using gateway = await startGateway(mirror)
      const text = await rawExchange(gateway.port, Buffer.from(request, 'latin1'), 5_000)
      assert.match(text, /^HTTP\/1\.1 400 Bad Request\r\n/, text)
      assert.match(text, /"code":"malformed_request"/)
      assert.equal(text.split('HTTP/1.1 ').length, 2, text)
      for (let i = 0; i < 100 && gateway.inFlight() > 0; i++) await new Promise((resolve) => setTimeout(resolve, 10))
      assert.equal(gateway.inFlight(), 0)
    })
  }

  it('or has too large a head is answered with 431', async () => {
    await using gateway = await startGateway(mirror)
    assert.equal(
      (await send(gateway.port, get('/default/hello', 'localhost', `X-Large: ${'a'.repeat(limits.requestHeadMaxBytes)}\r\n`))).code,
      'headers_too_large',
    )
    assert.equal((await send(gateway.port, get('/default/hello', 'localhost', 'X: 1\r\n'.repeat(limits.requestHeadMaxFields)))).code, 'headers_too_large')
    assert.equal((await send(gateway.port, get('/default/hello', 'localhost', 'X: 1\r\n'.repeat(limits.requestHeadMaxFields - 2)))).status, 200)
  })

  it('does not end the answers that were begun before it with something the client could take for theirs', async () => {
    await using gateway = await startGateway(async (_request, answer) => {
      answer.head(200)
      await answer.body('half')
    })
    const socket = connect(gateway.port, '127.0.0.1')
    let text = ''
    socket.on('data', (chunk: Buffer) => {
      if (text === '') socket.write('garbage\r\n\r\n')
      text += chunk.toString()
    })
    socket.write('GET /default/hello HTTP/1.1\r\nHost: localhost\r\n\r\n')
    await new Promise((resolve) => socket.on('close', resolve))
    assert.ok(text.includes('half'))
    assert.equal(text.split('HTTP/1.1 ').length, 2, text)
    assert.equal((await gateway.recorded(1))[0]!.outcome, 'malformed_request')
  })

  it('can be one of several sent at once: the ones before it are answered in order', async () => {
    await using gateway = await startGateway(mirror)
    const text = await rawExchange(gateway.port, get('/default/hello/1').replace('close', 'keep-alive') + get('/default/hello/2'))
    assert.deepEqual(
      [...text.matchAll(/"url":"([^"]*)"/g)].map((match) => match[1]),
      ['http://localhost/1', 'http://localhost/2'],
    )
  })
})
