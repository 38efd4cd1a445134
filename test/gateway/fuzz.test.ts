/**
 * Any bytes at all on a client's connection: the edge answers or closes in time, and lives. Run it for longer with
 * `HOSTEL_FUZZ_RUNS=100000 node --test test/gateway/fuzz.test.ts`; a failure names its seed.
 */
import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { describe, it } from 'node:test'
import fc from 'fast-check'

import { frameFlags } from '../../src/sandbox/protocol.ts'
import { startGateway } from './lib/harness.ts'

const RUNS = Number(process.env['HOSTEL_FUZZ_RUNS'] ?? 300)
const LAST = frameFlags.END | frameFlags.SETTLED
/** The function's timeout, lingering and the closing of a WebSocket, with room. */
const ANSWER_MS = 6_000

/** Pieces of HTTP and WebSocket, right and nearly right. */
const pieces = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('GET ', 'POST ', 'HEAD ', 'PRI ', 'CONNECT ', 'TRACE ') },
  { weight: 6, arbitrary: fc.constantFrom('/default/hello', '/', '*', 'http://localhost/default/hello', 'http://', '//', '/default/hello?a=b', '/\xff') },
  { weight: 6, arbitrary: fc.constantFrom(' HTTP/1.1\r\n', ' HTTP/1.0\r\n', ' HTTP/2.0\r\n', '\r\n', ' HTTP/1.1\n') },
  { weight: 8, arbitrary: fc.constantFrom('Host: localhost\r\n', 'host: hello.default.localhost\r\n', 'Host:\r\n', 'Connection: close\r\n') },
  { weight: 6, arbitrary: fc.constantFrom('Content-Length: 3\r\n', 'Content-Length: x\r\n', 'Transfer-Encoding: chunked\r\n', 'Expect: 100-continue\r\n') },
  {
    weight: 4,
    arbitrary: fc.constantFrom('Connection: Upgrade\r\nUpgrade: websocket\r\n', 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'),
  },
  { weight: 8, arbitrary: fc.constantFrom('\r\n', '\r\n\r\n', 'abc', '3\r\nabc\r\n', '0\r\n\r\n', 'ffffffffffffffff\r\n', ' ', '\0') },
  { weight: 3, arbitrary: fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes).toString('latin1')) },
)
/** A whole request, with a piece of anything somewhere in it. */
const nearly = fc
  .tuple(
    fc.constantFrom(
      'GET /default/hello HTTP/1.1\r\nHost: localhost\r\n\r\n',
      'POST /default/hello HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc',
    ),
    pieces,
    fc.nat(80),
  )
  .map(([request, piece, at]) => request.slice(0, at) + piece + request.slice(at))
const writes = fc.array(
  fc.oneof(
    pieces,
    nearly,
    fc.array(pieces, { maxLength: 12 }).map((parts) => parts.join('')),
  ),
  { minLength: 1, maxLength: 6 },
)

describe('the edge', { timeout: 60_000 + RUNS * 200 }, () => {
  it('answers or closes, whatever bytes come, and answers the next client', async () => {
    await using gateway = await startGateway(
      async (request, answer) => {
        for await (const chunk of request.body()) void chunk
        answer.head(200)
        await answer.body('ok', LAST)
      },
      { version: { timeoutMs: 1_000 } },
    )
    await fc.assert(
      fc.asyncProperty(writes, async (parts) => {
        const socket = connect({ port: gateway.port, host: '127.0.0.1' })
        const { promise, resolve } = Promise.withResolvers<string>()
        let text = ''
        socket.on('error', () => resolve('closed'))
        socket.on('close', () => resolve('closed'))
        socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')))
        for (const part of parts) socket.write(part, 'latin1')
        // The end of what comes: whatever is incomplete then can't be completed.
        socket.end()
        const timer = setTimeout(() => resolve('late'), ANSWER_MS)
        assert.equal(await promise, 'closed', `after ${JSON.stringify(text)}`)
        clearTimeout(timer)
        assert.ok(text === '' || text.startsWith('HTTP/1.1 '), text)
        assert.doesNotMatch(text, /"code":"internal"|^HTTP\/1\.1 500/)
      }),
      { numRuns: RUNS, endOnFailure: false },
    )
    const next = await fetch(gateway.url)
    assert.equal(await next.text(), 'ok')
    for (let i = 0; i < 300 && gateway.inFlight() > 0; i++) await new Promise((resolve) => setTimeout(resolve, 10))
    assert.equal(gateway.inFlight(), 0)
  })
})
