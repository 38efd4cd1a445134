import assert from 'node:assert/strict'
import { describe, it } from 'node:test'

import { frameFlags } from '../../src/sandbox/protocol.ts'
import { rawExchange, startGateway } from './lib/harness.ts'

const LAST = frameFlags.END | frameFlags.SETTLED

describe('an answer through the gateway', () => {
  it("comes whole, with the status, fields and body that the function gave, and the invocation's id", async () => {
    await using gateway = await startGateway((_request, answer) => {
      answer.head(201, ['content-type', 'text/plain', 'x-own', 'a', 'x-own', 'b'])
      void answer.body('hello', LAST)
    })
    const response = await fetch(gateway.url)
    assert.equal(response.status, 201)
    assert.equal(await response.text(), 'hello')
    assert.equal(response.headers.get('x-own'), 'a, b')
    assert.equal(response.headers.get('content-length'), '5')
    const [record] = await gateway.recorded(1)
    assert.equal(response.headers.get('hostel-invocation'), record!.id)
    assert.match(record!.id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    assert.equal(record!.status, 201)
    assert.equal(record!.outcome, 'ok')
    assert.equal(record!.responseBytes, 5)
    assert.deepEqual(gateway.notes, [])
    assert.equal(gateway.inFlight(), 0)
  })

  it('is sent on piece by piece as the function writes it', async () => {
    const proceed = Promise.withResolvers<void>()
    await using gateway = await startGateway(async (_request, answer) => {
      answer.head(200)
      await answer.body('one')
      await proceed.promise
      await answer.body('two', LAST)
    })
    const response = await fetch(gateway.url)
    const reader = response.body!.getReader()
    assert.equal(Buffer.from((await reader.read()).value!).toString(), 'one')
    proceed.resolve()
    assert.equal(Buffer.from((await reader.read()).value!).toString(), 'two')
    assert.equal((await reader.read()).done, true)
  })

  it('has its head sent at once when the body takes its time', async () => {
    const proceed = Promise.withResolvers<void>()
    await using gateway = await startGateway(async (_request, answer) => {
      answer.head(200, ['x-early', '1'])
      await proceed.promise
      await answer.body('late', LAST)
    })
    const response = await fetch(gateway.url)
    assert.equal(response.headers.get('x-early'), '1')
    proceed.resolve()
    assert.equal(await response.text(), 'late')
  })

  it('to HEAD has the fields but no body, even if the function sends one', async () => {
    await using gateway = await startGateway((_request, answer) => {
      answer.head(200, ['content-length', '5'])
      void answer.body('hello', LAST)
    })
    const text = await rawExchange(gateway.port, 'HEAD /default/hello HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n')
    assert.match(text, /^HTTP\/1\.1 200 OK\r\n/)
    assert.match(text, /\r\ncontent-length: 5\r\n/)
    assert.ok(text.endsWith('\r\n\r\n'), text)
  })

  for (const status of [204, 205, 304]) {
    it(`with status ${status} has no body, so that the next answer on the connection is not misread`, async () => {
      await using gateway = await startGateway((request, answer) => {
        answer.head(request.url.endsWith('/first') ? status : 200)
        void answer.body('body', LAST)
      })
      const text = await rawExchange(
        gateway.port,
        `GET /default/hello/first HTTP/1.1\r\nhost: localhost\r\n\r\nGET /default/hello/second HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n`,
      )
      const [first, second, ...more] = text.split(/(?=HTTP\/1\.1 )/)
      assert.ok(first!.startsWith(`HTTP/1.1 ${status} `), first)
      assert.doesNotMatch(first!, /body|transfer-encoding/i)
      assert.ok(second!.endsWith('\r\n\r\nbody'), second)
      assert.equal(more.length, 0)
    })
  }

  it('loses the fields that are about one connection, and those that only Hostel sets', async () => {
    await using gateway = await startGateway((_request, answer) => {
      answer.head(200, [
        'connection',
        'x-private, keep-alive',
        'x-private',
        '1',
        'keep-alive',
        'timeout=9',
        'transfer-encoding',
        'chunked',
        'upgrade',
        'h2c',
        'trailer',
        'x',
        'proxy-authenticate',
        'Basic',
        'hostel-invocation',
        'forged',
        'x-kept',
        '1',
      ])
      void answer.body('ok', LAST)
    })
    const text = await rawExchange(gateway.port, 'GET /default/hello HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n')
    assert.match(text, /\r\nx-kept: 1\r\n/)
    assert.doesNotMatch(text, /x-private|timeout=9|transfer-encoding|upgrade|trailer|proxy-authenticate|forged/i)
  })

  it('that has more bytes than its content-length is broken off before the first byte too many', async () => {
    await using gateway = await startGateway(async (_request, answer) => {
      answer.head(200, ['content-length', '3'])
      await answer.body('abc')
      setTimeout(() => void answer.body('HTTP/1.1 200 OK\r\n\r\n', LAST), 50)
    })
    const text = await rawExchange(gateway.port, 'GET /default/hello HTTP/1.1\r\nhost: localhost\r\n\r\n')
    assert.ok(text.endsWith('\r\n\r\nabc'), text)
    const [record] = await gateway.recorded(1)
    // All that was declared had been sent, so the client has its answer; the record tells the owner.
    assert.equal(record!.outcome, 'invalid_response')
  })

  it('that has fewer bytes than its content-length is broken off', async () => {
    await using gateway = await startGateway(async (_request, answer) => {
      answer.head(200, ['content-length', '10'])
      await answer.body('abc')
      setTimeout(() => void answer.body('', LAST), 50)
    })
    const response = await fetch(gateway.url)
    await assert.rejects(response.text())
    const [record] = await gateway.recorded(1)
    assert.equal(record!.outcome, 'invalid_response')
    assert.match(String(record!.detail!['explanation']), /fewer bytes than its content-length of 10/)
  })

  it('with two different content-lengths becomes a 502', async () => {
    await using gateway = await startGateway(async (_request, answer) => {
      answer.head(200, ['content-length', '3', 'content-length', '4'])
      await answer.body('abc', LAST)
    })
    const response = await fetch(gateway.url)
    assert.equal(response.status, 502)
    assert.equal(((await response.json()) as { code: string }).code, 'invalid_response')
    assert.match(String((await gateway.recorded(1))[0]!.detail!['explanation']), /must be one whole number/)
  })

  it('of a function that throws is a 500 with code and id, and nothing of what it said', async () => {
    await using gateway = await startGateway((_request, answer) =>
      answer.error({ kind: 'handler', name: 'TypeError', message: 'secret is not a function', file: 'index.ts', line: 3 }),
    )
    const response = await fetch(gateway.url)
    assert.equal(response.status, 500)
    assert.equal(response.headers.get('content-type'), 'application/problem+json')
    const [record] = await gateway.recorded(1)
    const problem = await response.text()
    assert.deepEqual(JSON.parse(problem), {
      type: 'urn:hostel:error:handler_error',
      title: 'The function threw an error',
      status: 500,
      code: 'handler_error',
      invocation: record!.id,
    })
    assert.equal(record!.outcome, 'handler_error')
    assert.equal(record!.detail!['explanation'], 'the function threw: TypeError: secret is not a function, at index.ts:3')
    assert.deepEqual(gateway.notes, ['handler_error: the function threw: TypeError: secret is not a function, at index.ts:3'])
  })

  it('that the function breaks off after its head is cut, so that the client does not take it for whole', async () => {
    await using gateway = await startGateway(async (_request, answer) => {
      answer.head(200)
      await answer.body('half')
      setTimeout(() => answer.error({ kind: 'handler', name: 'Error', message: 'no' }), 50)
    })
    const response = await fetch(gateway.url)
    await assert.rejects(response.text())
    const [record] = await gateway.recorded(1)
    assert.equal(record!.status, 200)
    assert.equal(record!.outcome, 'handler_error')
  })

  it('to an HTTP/1.0 client that is broken off ends with a reset, since the end of the connection would mean the end of the answer', async () => {
    await using gateway = await startGateway(async (_request, answer) => {
      answer.head(200)
      await answer.body('half')
      setTimeout(() => answer.error({ kind: 'handler', name: 'Error', message: 'no' }), 50)
    })
    const { connect } = await import('node:net')
    const socket = connect(gateway.port, '127.0.0.1')
    socket.write('GET /default/hello HTTP/1.0\r\nhost: localhost\r\n\r\n')
    socket.resume()
    const error = await new Promise<NodeJS.ErrnoException | null>((resolve) => {
      socket.on('error', resolve)
      socket.on('end', () => resolve(null))
    })
    assert.equal(error?.code, 'ECONNRESET')
  })

  it("of a sandbox that dies is a 502 with the kernel's account in the record", async () => {
    await using gateway = await startGateway((_request, answer) => answer.die())
    const response = await fetch(gateway.url)
    assert.equal(response.status, 502)
    const [record] = await gateway.recorded(1)
    assert.equal(record!.outcome, 'exited')
    assert.match(String(record!.detail!['explanation']), /exit code 3/)
  })

  it('is recorded only once the invocation is over, waitUntil included', async () => {
    const proceed = Promise.withResolvers<void>()
    await using gateway = await startGateway(async (_request, answer) => {
      answer.head(200)
      await answer.body('ok', frameFlags.END)
      await proceed.promise
      answer.settled()
    })
    const response = await fetch(gateway.url)
    assert.equal(await response.text(), 'ok')
    await new Promise((resolve) => setTimeout(resolve, 50))
    assert.equal(gateway.records.length, 0)
    assert.equal(gateway.inFlight(), 1)
    proceed.resolve()
    assert.equal((await gateway.recorded(1))[0]!.outcome, 'ok')
  })
})

describe('cookies', () => {
  async function cookiesAt(path: string, host: string, cookies: string[]): Promise<string[]> {
    await using gateway = await startGateway((_request, answer) => {
      answer.head(
        200,
        cookies.flatMap((cookie) => ['set-cookie', cookie]),
      )
      void answer.body('ok', LAST)
    })
    const text = await rawExchange(gateway.port, `GET ${path} HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`)
    return [...text.matchAll(/^set-cookie: (.*)\r$/gm)].map((match) => match[1]!)
  }

  it("for a domain above the function's own host become cookies of that host alone", async () => {
    const seen = await cookiesAt('/', 'Hello.default.LOCALHOST:8080', [
      'a=1; Domain=localhost; Path=/',
      'b=2; domain = .default.localhost',
      'c=3; Domain=hello.default.localhost',
      'd=4;Domain=.Hello.Default.localhost;Secure',
      'domain=5',
      'e=6; Domain',
      'f=7; Domain=localhost; Domain=hello.default.localhost',
    ])
    assert.deepEqual(seen, [
      'a=1; Path=/',
      'b=2',
      'c=3; Domain=hello.default.localhost',
      'd=4;Domain=.Hello.Default.localhost;Secure',
      'domain=5',
      'e=6',
      'f=7; Domain=hello.default.localhost',
    ])
  })

  it('never keep a domain in the path form, whose host is shared', async () => {
    assert.deepEqual(await cookiesAt('/default/hello', 'localhost', ['a=1; Domain=localhost', 'b=2; HttpOnly']), ['a=1', 'b=2; HttpOnly'])
  })
})
