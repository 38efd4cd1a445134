/** WebSockets through the real edge: the handshake, the bytes, and every way a connection ends. The guest echoes bytes; frames are the shims' matter. */
import assert from 'node:assert/strict'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { describe, it } from 'node:test'

import { limits } from '../../src/limits.ts'
import { frameFlags } from '../../src/sandbox/protocol.ts'
import type { GuestHandler } from './lib/guest.ts'
import { rawExchange, startGateway } from './lib/harness.ts'

const LAST = frameFlags.END | frameFlags.SETTLED
/** The example of RFC 6455, section 1.3. */
const KEY = 'dGhlIHNhbXBsZSBub25jZQ=='
const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='

const handshake = (changes: Record<string, string | null> = {}, line = 'GET /default/hello/chat HTTP/1.1'): string => {
  const fields = {
    Host: 'localhost',
    Connection: 'keep-alive, Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': KEY,
    ...changes,
  }
  return `${line}\r\n${Object.entries(fields)
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('')}\r\n`
}

/** Echoes what it gets until the client's end. */
const echo: GuestHandler = async (request, answer) => {
  assert.equal(request.meta.upgrade, 'websocket')
  answer.head(101, ['sec-websocket-protocol', 'chat', 'set-cookie', 'a=1', 'sec-websocket-accept', 'wrong', 'connection', 'close'])
  for await (const chunk of request.body()) await answer.body(chunk)
  await answer.body('', LAST)
}

interface Client {
  socket: Socket
  text(): string
  until(pattern: RegExp): Promise<string>
  closed: Promise<void>
}

function dial(port: number, bytes: string): Client {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  let text = ''
  let wake = (): void => {}
  socket.on('error', () => {})
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1')
    wake()
  })
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()).once('end', () => resolve()))
  socket.write(bytes, 'latin1')
  return {
    socket,
    text: () => text,
    closed,
    async until(pattern) {
      while (!pattern.test(text)) {
        const gone = closed.then(() => {
          throw new Error(`closed after ${JSON.stringify(text)}`)
        })
        await Promise.race([new Promise<void>((resolve) => (wake = resolve)), gone])
      }
      return text
    },
  }
}

describe('a WebSocket handshake', { timeout: 30_000 }, () => {
  it('is passed on as a request, and answered with the proof that it was understood', async () => {
    let seen: string[] = []
    await using gateway = await startGateway((request, answer) => {
      seen = request.headers
      return echo(request, answer)
    })
    const client = dial(gateway.port, handshake({ 'Sec-WebSocket-Protocol': 'chat' }))
    const head = await client.until(/\r\n\r\n/)
    client.socket.destroy()
    assert.match(head, /^HTTP\/1\.1 101 Switching Protocols\r\n/)
    assert.ok(head.includes(`\r\nsec-websocket-accept: ${ACCEPT}\r\n`), head)
    assert.equal(head.match(/sec-websocket-accept/g)!.length, 1)
    assert.match(head, /\r\nupgrade: websocket\r\n/)
    assert.match(head, /\r\nconnection: upgrade\r\n/)
    assert.match(head, /\r\nsec-websocket-protocol: chat\r\n/)
    assert.match(head, /\r\nset-cookie: a=1\r\n/)
    assert.match(head, /\r\nhostel-invocation: /)
    assert.equal(seen[seen.indexOf('upgrade') + 1], 'websocket')
    assert.equal(seen[seen.indexOf('sec-websocket-key') + 1], KEY)
  })

  for (const [what, request, status] of [
    ['another version', handshake({ 'Sec-WebSocket-Version': '8' }), 400],
    ['no key', handshake({ 'Sec-WebSocket-Key': null }), 400],
    ['a key of another length', handshake({ 'Sec-WebSocket-Key': 'c2hvcnQ=' }), 400],
    ['a body', handshake({ 'Content-Length': '3' }) + 'abc', 400],
    ['another method', handshake({}, 'POST /default/hello HTTP/1.1'), 400],
    ['an unknown function', handshake({}, 'GET /default/other HTTP/1.1'), 404],
    ['two hosts', handshake({ host: 'localhost' }), 400],
  ] as const) {
    it(`with ${what} is refused`, async () => {
      await using gateway = await startGateway(echo)
      const text = await rawExchange(gateway.port, request)
      assert.match(text, new RegExp(`^HTTP/1\\.1 ${status} `), text)
      assert.equal(text.split('HTTP/1.1 ').length, 2, text)
      assert.equal(gateway.inFlight(), 0)
    })
  }

  it('to a function that handles events is refused as not supported', async () => {
    await using gateway = await startGateway(echo, { version: { contract: 'event' } })
    assert.match(await rawExchange(gateway.port, handshake()), /^HTTP\/1\.1 501 /)
  })

  it('behind a request without its answer is refused, and smuggles nothing', async () => {
    await using gateway = await startGateway(async () => {})
    const text = await rawExchange(gateway.port, `GET /default/hello HTTP/1.1\r\nHost: localhost\r\n\r\n${handshake()}`)
    assert.match(text, /^HTTP\/1\.1 400 /)
    assert.equal(text.split('HTTP/1.1 ').length, 2, text)
  })

  it('that the function refuses gets its answer, whole, and the connection closes', async () => {
    await using gateway = await startGateway(async (request, answer) => {
      let bytes = 0
      for await (const chunk of request.body()) bytes += chunk.length
      answer.head(403, ['x-why', 'no'])
      await answer.body(`${bytes} `)
      await answer.body('go away', LAST)
    })
    const client = dial(gateway.port, handshake())
    client.socket.end()
    await client.closed
    assert.match(client.text(), /^HTTP\/1\.1 403 Forbidden\r\nx-why: no\r\n/)
    assert.match(client.text(), /go away/)
    assert.match(client.text(), /\r\nconnection: close\r\n/i)
    assert.equal((await gateway.recorded(1))[0]!.status, 403)
  })

  it('that no one answers runs into the deadline', async () => {
    await using gateway = await startGateway(() => {}, { version: { timeoutMs: 200 } })
    assert.match(await rawExchange(gateway.port, handshake()), /^HTTP\/1\.1 504 /)
    assert.equal((await gateway.recorded(1))[0]!.outcome, 'deadline_exceeded')
  })

  it('answered with 101 is good only where it was asked for, and not as the whole answer', async () => {
    await using plain = await startGateway((_request, answer) => answer.head(101))
    assert.match(await rawExchange(plain.port, 'GET /default/hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'), /^HTTP\/1\.1 502 /)
    await using ended = await startGateway((_request, answer) => answer.head(101, [], frameFlags.END))
    assert.doesNotMatch(await rawExchange(ended.port, handshake(), 500), /"ok"/)
    assert.equal((await ended.recorded(1))[0]!.outcome, 'exited')
  })

  it('is not what an offer of another protocol gets', async () => {
    await using gateway = await startGateway(async (request, answer) => {
      answer.head(200)
      await answer.body(String(request.meta.upgrade), LAST)
    })
    assert.match(await rawExchange(gateway.port, handshake({ Upgrade: 'h2c', Connection: 'close, Upgrade' })), /^HTTP\/1\.1 200 OK[^]*undefined$/)
  })
})

describe('an open WebSocket', { timeout: 60_000 }, () => {
  it('carries bytes both ways, also those that come with the handshake, beyond the timeout of a request', async () => {
    await using gateway = await startGateway(echo, { version: { timeoutMs: 300 } })
    const client = dial(gateway.port, `${handshake()}early`)
    await client.until(/early$/)
    await new Promise((resolve) => setTimeout(resolve, 600))
    client.socket.write('late')
    await client.until(/earlylate$/)
    client.socket.end()
    await client.closed
    const [record] = await gateway.recorded(1)
    assert.deepEqual([record!.status, record!.outcome, record!.requestBytes, record!.responseBytes], [101, 'ok', 9, 9])
    assert.ok(record!.totalMs > 600)
  })

  it('does not gather what the other side does not read', async () => {
    let sent = 0
    await using gateway = await startGateway(async (_request, answer) => {
      answer.head(101)
      for (let i = 0; i < 1_000; i++) {
        await answer.body(Buffer.alloc(64 * 1024))
        sent += 64 * 1024
      }
    })
    const client = dial(gateway.port, handshake())
    client.socket.pause()
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    assert.ok(sent < 20 * 1024 * 1024, `${sent} bytes were taken`)
    client.socket.destroy()
    await gateway.recorded(1)
  })

  it('ends with its function, and with its sandbox', async () => {
    await using gateway = await startGateway(async (request, answer) => {
      answer.head(101)
      await answer.body('bye')
      if (request.url.endsWith('die')) answer.die()
      else await answer.body('', LAST)
    })
    const whole = dial(gateway.port, handshake())
    await whole.closed
    assert.match(whole.text(), /bye$/)
    const broken = dial(gateway.port, handshake({}, 'GET /default/hello/die HTTP/1.1'))
    await broken.closed
    const records = await gateway.recorded(2)
    assert.deepEqual(
      records.map(({ status, outcome }) => [status, outcome]),
      [
        [101, 'ok'],
        [101, 'exited'],
      ],
    )
  })

  it('whose client is cut off is cancelled in the function', async () => {
    let reason = ''
    await using gateway = await startGateway(async (request, answer) => {
      answer.head(101)
      reason = await request.cancelled
    })
    const client = dial(gateway.port, handshake())
    await client.until(/\r\n\r\n/)
    client.socket.resetAndDestroy()
    const [record] = await gateway.recorded(1)
    assert.deepEqual([record!.status, record!.outcome, reason], [101, 'cancelled', 'disconnect'])
  })

  it('is asked to end when the server stops, and cut when it does not', async () => {
    await using gateway = await startGateway(async (request, answer) => {
      answer.head(101)
      if (request.url.endsWith('deaf')) return
      for await (const chunk of request.body()) void chunk
      await answer.body('going away', LAST)
    })
    const polite = dial(gateway.port, handshake())
    const deaf = dial(gateway.port, handshake({}, 'GET /default/hello/deaf HTTP/1.1'))
    await Promise.all([polite.until(/\r\n\r\n/), deaf.until(/\r\n\r\n/)])
    gateway.drain()
    await polite.closed
    assert.match(polite.text(), /going away$/)
    const startedAt = performance.now()
    await deaf.closed
    assert.ok(performance.now() - startedAt < limits.webSocketCloseGraceMs + 1_000)
  })
})
