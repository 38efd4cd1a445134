/** Where a request comes from: proxies that are trusted or not, traces, limits for each client, and the access log. */
import assert from 'node:assert/strict'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'

import { createAccessLog } from '../../src/gateway/access-log.ts'
import { clientAddressOf, originOf, trustedProxiesOf } from '../../src/gateway/client.ts'
import { clientKey, createRateLimiter } from '../../src/gateway/rate-limit.ts'
import { frameFlags } from '../../src/sandbox/protocol.ts'
import type { GuestHandler } from './lib/guest.ts'
import { rawExchange, startGateway } from './lib/harness.ts'

const LAST = frameFlags.END | frameFlags.SETTLED

const mirror: GuestHandler = async (request, answer) => {
  answer.head(200)
  await answer.body(JSON.stringify({ url: request.url, headers: request.headers, trace: request.meta.traceparent ?? null }), LAST)
}

interface Seen {
  url: string
  trace: string | null
  field(name: string): string[]
}

async function ask(port: number, fields: string, target = '/default/hello'): Promise<Seen> {
  const text = await rawExchange(port, `GET ${target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${fields}\r\n`)
  assert.match(text, /^HTTP\/1\.1 200 /, text)
  const { url, headers, trace } = JSON.parse(text.slice(text.indexOf('\r\n\r\n') + 4)) as { url: string; headers: string[]; trace: string | null }
  return { url, trace, field: (name) => headers.filter((_value, index) => index % 2 === 1 && headers[index - 1] === name) }
}

describe('the client behind proxies', () => {
  const proxies = trustedProxiesOf(['10.0.0.0/8', '127.0.0.1', 'fd00::/8'])
  const none = { for: '', proto: '', host: '' }
  for (const [what, remote, list, expected] of [
    ['nobody trusted says anything', '192.0.2.1', '203.0.113.7', '192.0.2.1'],
    ['one proxy', '127.0.0.1', '203.0.113.7', '203.0.113.7'],
    ['two proxies', '127.0.0.1', '203.0.113.7, 10.1.1.1', '203.0.113.7'],
    ['a claim of the client, left of its address', '127.0.0.1', '198.51.100.9, 203.0.113.7, 10.1.1.1', '203.0.113.7'],
    ['a claim to be one of the proxies', '127.0.0.1', '10.9.9.9, 203.0.113.7', '203.0.113.7'],
    ['only proxies: the farthest', '127.0.0.1', '10.2.2.2, 10.1.1.1', '10.2.2.2'],
    ['no list', '127.0.0.1', '', '127.0.0.1'],
    ['what is no address', '127.0.0.1', '203.0.113.7, unknown', '127.0.0.1'],
    ['what is no address, behind a proxy', '127.0.0.1', 'unknown, 10.1.1.1', '10.1.1.1'],
    ['IPv6', 'fd00::1', '2001:db8::7', '2001:db8::7'],
    ['IPv6 with a port', 'fd00::1', '[2001:DB8::7]:443', '2001:db8::7'],
    ['IPv4 with a port', '127.0.0.1', '203.0.113.7:5555', '203.0.113.7'],
    ['a mapped address', '127.0.0.1', '::ffff:203.0.113.7', '203.0.113.7'],
    ['a list without end', '127.0.0.1', '10.1.1.1,'.repeat(5_000) + '10.1.1.1', '10.1.1.1'],
  ] as const) {
    it(`with ${what} is ${expected}`, () => {
      assert.equal(originOf(remote, { ...none, for: list }, proxies, 'http').address, expected)
    })
  }

  it('has the scheme and host of the nearest', () => {
    assert.deepEqual(originOf('127.0.0.1', { for: '203.0.113.7', proto: 'http, https', host: 'evil.example, shop.example' }, proxies, 'http'), {
      address: '203.0.113.7',
      scheme: 'https',
      host: 'shop.example',
    })
    assert.deepEqual(originOf('127.0.0.1', { for: '', proto: 'gopher', host: '' }, proxies, 'http'), { address: '127.0.0.1', scheme: 'http', host: null })
  })

  it('takes no network that is none', () => {
    for (const text of ['10.0.0.0/33', 'example.com', '::/129', '10.0.0.0/', '10.0.0.0/-1'])
      assert.throws(() => trustedProxiesOf([text]), { code: 'invalid_input' })
  })

  it('is what the function sees, and the host names the function', async () => {
    await using gateway = await startGateway(mirror, { trustedProxies: ['127.0.0.0/8'] })
    const seen = await ask(
      gateway.port,
      'X-Forwarded-For: 198.51.100.9\r\nX-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: hello.default.localhost\r\n',
      '/a',
    )
    assert.equal(seen.url, 'https://hello.default.localhost/a')
    assert.deepEqual(
      [seen.field('x-forwarded-for'), seen.field('x-forwarded-proto'), seen.field('x-forwarded-host'), seen.field('host')],
      [['203.0.113.7'], ['https'], ['hello.default.localhost'], ['hello.default.localhost']],
    )
  })

  it('is nobody but who connects, where no proxy is trusted', async () => {
    await using gateway = await startGateway(mirror)
    const seen = await ask(gateway.port, 'X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: other.default.localhost\r\n')
    assert.deepEqual([seen.url, seen.field('x-forwarded-for'), seen.field('x-forwarded-proto')], ['http://localhost/', ['127.0.0.1'], ['http']])
  })
})

describe('a trace', () => {
  const VALID = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  it('goes on into the function, as a field and beside it', async () => {
    await using gateway = await startGateway(mirror)
    const seen = await ask(gateway.port, `traceparent: ${VALID}\r\ntracestate: a=b\r\n`)
    assert.deepEqual([seen.trace, seen.field('traceparent'), seen.field('tracestate')], [VALID, [VALID], ['a=b']])
  })

  it('that can not be read is dropped with its state', async () => {
    await using gateway = await startGateway(mirror)
    for (const fields of [
      VALID.replace('00-', 'ff-'),
      VALID.replace('0af7651916cd43dd8448eb211c80319c', '0'.repeat(32)),
      VALID.toUpperCase(),
      'x',
      `${VALID}\r\ntraceparent: ${VALID}`,
    ]) {
      const seen = await ask(gateway.port, `traceparent: ${fields}\r\ntracestate: a=b\r\n`)
      assert.deepEqual([seen.trace, seen.field('traceparent'), seen.field('tracestate')], [null, [], []], fields)
    }
  })
})

describe('a rate limit', () => {
  it('lets a burst through, then so many a second, for each key alone', () => {
    const limiter = createRateLimiter(10, 100)
    const taken = (key: string, atMs: number): number => Array.from({ length: 50 }, () => limiter.take(key, atMs)).filter((seconds) => seconds === 0).length
    assert.equal(taken('a', 0), 10)
    assert.equal(taken('b', 0), 10)
    assert.equal(taken('a', 500), 5)
    assert.equal(taken('a', 60_000), 10)
    assert.ok(Math.abs(limiter.take('a', 60_000) - 0.1) < 0.001)
    // A clock that goes back gives nothing away.
    assert.equal(taken('a', 0), 0)
  })

  it('keeps no more keys than it may', () => {
    const limiter = createRateLimiter(1, 1_000)
    for (let i = 0; i < 100_000; i++) limiter.take(`key ${i}`, i)
    const before = process.memoryUsage().heapUsed
    for (let i = 0; i < 300_000; i++) limiter.take(`other ${i}`, i)
    assert.ok(process.memoryUsage().heapUsed - before < 50_000_000)
  })

  it('counts an IPv6 network as one', () => {
    assert.equal(clientKey('203.0.113.7'), '203.0.113.7')
    assert.equal(clientKey('2001:db8:1:2:3:4:5:6'), clientKey('2001:db8:1:2::1'))
    assert.equal(clientKey('2001:db8::1'), '2001:db8:0:0')
    assert.notEqual(clientKey('2001:db8:1::1'), clientKey('2001:db8:2::1'))
    assert.equal(clientKey('::1'), '0:0:0:0')
  })

  it('answers 429 with the time to wait, to the client behind a proxy and not to the proxy', async () => {
    await using gateway = await startGateway(mirror, { clientLimit: 2, trustedProxies: ['127.0.0.1'] })
    const call = (from: string): Promise<Response> => fetch(gateway.url, { headers: { 'x-forwarded-for': from } })
    const statuses = [await call('203.0.113.7'), await call('203.0.113.7'), await call('203.0.113.7'), await call('203.0.113.8')]
    assert.deepEqual(
      statuses.map(({ status }) => status),
      [200, 200, 429, 200],
    )
    assert.equal(statuses[2]!.headers.get('retry-after'), '1')
  })
})

describe('the access log', () => {
  for (const format of ['combined', 'json'] as const) {
    it(`has a line for each call, as ${format}, whatever clients send`, async () => {
      const directory = mkdtempSync(join(tmpdir(), 'hostel-log-'))
      const file = join(directory, 'access.log')
      const fd = openSync(file, 'a')
      const proxies = trustedProxiesOf(['127.0.0.1'])
      try {
        const accessLog = createAccessLog(fd, format, (req, connection) => clientAddressOf(req, connection, proxies))
        await using gateway = await startGateway(
          async (request, answer) => {
            if (request.url.endsWith('hang')) return
            answer.head(201)
            await answer.body('twelve bytes', LAST)
          },
          { accessLog, trustedProxies: ['127.0.0.1'] },
        )
        const raw = (line: string, fields = ''): Promise<string> =>
          rawExchange(gateway.port, `${line}\r\nHost: localhost\r\nConnection: close\r\n${fields}\r\n`)
        await raw('GET /default/hello/a?b HTTP/1.1', 'User-Agent: "quo\\ted"\x80\r\nReferer: http://r/\r\nX-Forwarded-For: 203.0.113.7\r\n')
        await raw('GET /nowhere HTTP/1.0')
        const leaver = connect(gateway.port, '127.0.0.1')
        leaver.write('GET /default/hello/hang HTTP/1.1\r\nHost: localhost\r\n\r\n')
        await new Promise((resolve) => setTimeout(resolve, 100))
        leaver.destroy()
        await gateway.recorded(2)
        await new Promise((resolve) => setTimeout(resolve, 50))
        await accessLog.flush()
        const lines = readFileSync(file, 'utf8').trimEnd().split('\n')
        if (format === 'combined') {
          const time = String.raw`\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\]`
          assert.match(
            lines[0]!,
            new RegExp(String.raw`^203\.0\.113\.7 - - ${time} "GET /default/hello/a\?b HTTP/1\.1" 201 12 "http://r/" "\\"quo\\\\ted\\"\\xc2\\x80"$`),
          )
          assert.match(lines[1]!, new RegExp(String.raw`^127\.0\.0\.1 - - ${time} "GET /nowhere HTTP/1\.0" 404 0 "-" "-"$`))
          assert.match(lines[2]!, / 499 0 "-" "-"$/)
        } else {
          const entries = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
          assert.deepEqual(
            entries.map(({ client, status, bytes, target }) => [client, status, bytes, target]),
            [
              ['203.0.113.7', 201, 12, '/default/hello/a?b'],
              ['127.0.0.1', 404, 0, '/nowhere'],
              ['127.0.0.1', 499, 0, '/default/hello/hang'],
            ],
          )
          assert.match(String(entries[0]!['invocation']), /^[0-9a-f-]{36}$/)
        }
        assert.equal(lines.length, 3)
      } finally {
        closeSync(fd)
        rmSync(directory, { recursive: true })
      }
    })
  }
})
