/** Clients that take their time on purpose, with the limits as they are; side by side, since they wait. And what must not wait: server-sent events. */
import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { describe, it } from 'node:test'

import { limits } from '../../src/limits.ts'
import { frameFlags } from '../../src/sandbox/protocol.ts'
import { startGateway } from './lib/harness.ts'

const LAST = frameFlags.END | frameFlags.SETTLED
const HEAD = 'POST /default/hello HTTP/1.1\r\nHost: localhost\r\n'
/** Node looks for slow ones every two seconds. */
const MARGIN_MS = 4_000

/** Sends a byte at a time until the connection closes; what came back, and after how long. */
async function trickle(port: number, first: string, next: () => string, everyMs: number): Promise<{ text: string; ms: number }> {
  const startedAt = performance.now()
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  let text = ''
  socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')))
  socket.on('error', () => {})
  socket.write(first)
  const timer = setInterval(() => socket.write(next()), everyMs)
  await new Promise<void>((resolve) => socket.once('end', resolve).once('close', resolve))
  clearInterval(timer)
  socket.destroy()
  return { text, ms: performance.now() - startedAt }
}

describe('a client that sends slowly', { concurrency: true, timeout: 60_000 }, () => {
  for (const [what, first, next] of [
    ['nothing', '', ''],
    ['its request line', 'GET /', 'a'],
    ['its fields, whole ones', HEAD, 'X: y\r\n'],
    ['its next request', 'GET /default/hello HTTP/1.1\r\nHost: localhost\r\n\r\nGET /', 'a'],
  ] as const) {
    it(`${what} is cut off when the time for a head is over, and holds up nobody else`, async () => {
      await using gateway = await startGateway((_request, answer) => answer.head(200, [], LAST))
      const slow = trickle(gateway.port, first, () => next, 500)
      await new Promise((resolve) => setTimeout(resolve, 1_000))
      assert.equal((await fetch(gateway.url)).status, 200)
      const { text, ms } = await slow
      assert.ok(ms > limits.requestHeadTimeoutMs - 1_000 && ms < limits.requestHeadTimeoutMs + MARGIN_MS, `${ms} ms`)
      if (first !== '') assert.match(text, /HTTP\/1\.1 408 Request Timeout\r\n[^]*"code":"request_timeout"/)
    })
  }

  it('its body has until the deadline of the function', async () => {
    await using gateway = await startGateway(
      async (request, answer) => {
        for await (const chunk of request.body()) void chunk
        answer.head(200, [], LAST)
      },
      { version: { timeoutMs: 1_000 } },
    )
    const { text, ms } = await trickle(gateway.port, `${HEAD}Content-Length: 1000\r\n\r\n`, () => 'a', 50)
    assert.match(text, /^HTTP\/1\.1 504 /)
    assert.ok(ms < 1_000 + limits.lingerMs + 1_000, `${ms} ms`)
  })
})

describe('server-sent events', { timeout: 20_000 }, () => {
  it('arrive one by one, as they are written', async () => {
    const times: number[] = []
    await using gateway = await startGateway(async (_request, answer) => {
      answer.head(200, ['content-type', 'text/event-stream'])
      for (let i = 0; i < 3; i++) {
        times.push(performance.now())
        await answer.body(`data: ${i}\n\n`)
        await new Promise((resolve) => setTimeout(resolve, 200))
      }
      await answer.body('', LAST)
    })
    const response = await fetch(gateway.url)
    assert.equal(response.headers.get('content-type'), 'text/event-stream')
    let seen = 0
    for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
      assert.equal(chunk, `data: ${seen}\n\n`)
      assert.ok(performance.now() - times[seen]! < 150, 'an event waited')
      seen++
    }
    assert.equal(seen, 3)
  })
})
