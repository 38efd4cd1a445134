import assert from 'node:assert/strict'
import { request as httpRequest } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { describe, it } from 'node:test'
import { text } from 'node:stream/consumers'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

import { HostelError } from '../../src/errors.ts'
import { limits } from '../../src/limits.ts'
import { frameFlags } from '../../src/sandbox/protocol.ts'
import { rawExchange, startGateway } from './lib/harness.ts'

const LAST = frameFlags.END | frameFlags.SETTLED
const MiB = 1024 * 1024

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/**
 * Highest growth of the buffers in use (client's, gateway's and guest's, all in this process) while something runs, in bytes.
 * Freed ones are counted for some time, since V8 sweeps them in the background: half of what passes is a safe bound.
 */
async function growthDuring(run: () => Promise<void>): Promise<number> {
  const sample = (): number => {
    collectGarbage()
    return process.memoryUsage().arrayBuffers
  }
  const before = sample()
  let highest = 0
  const timer = setInterval(() => (highest = Math.max(highest, sample() - before)), 250)
  try {
    await run()
  } finally {
    clearInterval(timer)
  }
  return highest
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

describe('streaming', () => {
  it('takes 200 MB in without gathering them', { timeout: 120_000 }, async () => {
    let received = 0
    await using gateway = await startGateway(
      async (request, answer) => {
        for await (const chunk of request.body()) received += chunk.length
        answer.head(200)
        await answer.body(String(received), LAST)
      },
      { version: { timeoutMs: 120_000 } },
    )
    const growth = await growthDuring(async () => {
      // Not fetch: undici keeps what a streamed body has yielded.
      const request = httpRequest(gateway.url, { method: 'POST' })
      const response = new Promise<IncomingMessage>((resolve) => request.on('response', resolve))
      for (let i = 0; i < 3_200; i++) if (!request.write(Buffer.alloc(64 * 1024, 1))) await new Promise((resolve) => request.once('drain', resolve))
      request.end()
      assert.equal(await text(await response), String(3_200 * 64 * 1024))
    })
    assert.ok(growth < 100 * MiB, `grew by ${growth / MiB} MiB`)
    assert.equal((await gateway.recorded(1))[0]!.requestBytes, 3_200 * 64 * 1024)
  })

  it('gives 200 MB out without gathering them', { timeout: 120_000 }, async () => {
    const chunk = Buffer.alloc(64 * 1024, 1)
    await using gateway = await startGateway(
      async (_request, answer) => {
        answer.head(200)
        for (let i = 0; i < 3_200; i++) await answer.body(chunk)
        await answer.body('', LAST)
      },
      { version: { timeoutMs: 120_000 } },
    )
    let received = 0
    const growth = await growthDuring(async () => {
      const response = await new Promise<IncomingMessage>((resolve) => httpRequest(gateway.url).on('response', resolve).end())
      for await (const part of response) received += (part as Buffer).length
    })
    assert.equal(received, 3_200 * chunk.length)
    assert.ok(growth < 100 * MiB, `grew by ${growth / MiB} MiB`)
  })

  it('stops the function when the client reads no more', async () => {
    let sent = 0
    await using gateway = await startGateway(async (_request, answer) => {
      answer.head(200)
      for (let i = 0; i < 2_000; i++) {
        await answer.body(Buffer.alloc(64 * 1024))
        sent += 64 * 1024
      }
    })
    const socket = connect(gateway.port, '127.0.0.1')
    socket.on('error', () => {})
    socket.write('GET /default/hello HTTP/1.1\r\nHost: localhost\r\n\r\n')
    socket.pause()
    // Until the buffers on the way are full, and then a while longer: a busy machine takes its time to fill them.
    let before = -1
    while (sent === 0 || sent !== before) {
      before = sent
      await pause(500)
    }
    // The window, Node's and the kernel's buffers on both sides.
    assert.ok(sent < 32 * MiB, `${sent / MiB} MiB were taken from the function`)
    socket.destroy()
    assert.equal((await gateway.recorded(1))[0]!.outcome, 'cancelled')
  })

  it('stops the client when the function reads no more', async () => {
    const proceed = Promise.withResolvers<void>()
    await using gateway = await startGateway(async (request, answer) => {
      await proceed.promise
      for await (const _chunk of request.body());
      answer.head(200, [], LAST)
    })
    let sent = 0
    const request = httpRequest(gateway.url, { method: 'POST' })
    const answered = new Promise((resolve) => request.on('response', resolve))
    const growth = await growthDuring(async () => {
      for (let i = 0; i < 512; i++) {
        sent += 64 * 1024
        if (request.write(Buffer.alloc(64 * 1024))) continue
        const drained = await Promise.race([new Promise((resolve) => request.once('drain', () => resolve(true))), pause(500)])
        if (!drained) break
      }
    })
    assert.ok(sent < 24 * MiB, `${sent / MiB} MiB were taken from the client`)
    assert.ok(growth < 24 * MiB)
    proceed.resolve()
    request.end()
    await answered
    assert.equal((await gateway.recorded(1))[0]!.requestBytes, sent)
  })

  it('goes both ways at once', async () => {
    await using gateway = await startGateway(async (request, answer) => {
      answer.head(200)
      for await (const chunk of request.body()) await answer.body(chunk.toString().toUpperCase())
      await answer.body('', LAST)
    })
    const request = httpRequest(gateway.url, { method: 'POST' })
    request.flushHeaders()
    const response = await new Promise<IncomingMessage>((resolve) => request.on('response', resolve))
    for (const word of ['one', 'two']) {
      request.write(word)
      assert.equal(String(await new Promise((resolve) => response.once('data', resolve))), word.toUpperCase())
    }
    request.end()
    response.resume()
    await gateway.recorded(1)
  })
})

describe('a request body that is too large', () => {
  it('is refused at once when it says so', async () => {
    let called = false
    await using gateway = await startGateway(() => (called = true))
    const bytes = await rawExchange(
      gateway.port,
      `POST /default/hello HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${limits.requestBodyMaxBytes + 1}\r\n\r\n`,
      500,
    )
    assert.match(bytes, /^HTTP\/1\.1 413 /)
    assert.equal(called, false)
  })

  it('is refused while it streams when it does not, with an answer that the client can still read', async () => {
    await using gateway = await startGateway(
      async (request) => {
        for await (const _chunk of request.body());
      },
      { version: { contract: 'event' } },
    )
    const chunk = Buffer.alloc(64 * 1024)
    const body = (async function* () {
      for (let i = 0; i * chunk.length < limits.eventMaxBytes + MiB; i++) yield chunk
    })()
    const response = await fetch(gateway.url, { method: 'POST', body, duplex: 'half' } as RequestInit)
    assert.equal(response.status, 413)
    const [record] = await gateway.recorded(1)
    assert.equal(record!.outcome, 'request_too_large')
    assert.equal(record!.status, 413)
  })

  it('that is still sent long after the answer ends the connection', { timeout: 10_000 }, async () => {
    await using gateway = await startGateway((_request, answer) => {
      answer.head(200, [], LAST)
    })
    const socket = connect(gateway.port, '127.0.0.1')
    socket.on('error', () => {})
    socket.resume()
    socket.write('POST /default/hello HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n')
    const timer = setInterval(() => socket.write('1\r\na\r\n'), 100)
    const start = Date.now()
    await new Promise((resolve) => socket.on('close', resolve))
    clearInterval(timer)
    assert.ok(Date.now() - start >= limits.lingerMs - 100)
  })

  it('that the function took only a part of leaves the connection usable', async () => {
    await using gateway = await startGateway(async (request, answer) => {
      // Wait until the gateway has been stopped by the missing credit.
      if (request.method === 'POST') await pause(300)
      answer.head(200, [], LAST)
    })
    const body = 'x'.repeat(2 * MiB)
    const bytes = await rawExchange(
      gateway.port,
      `POST /default/hello HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n${body}GET /default/hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`,
    )
    assert.equal(bytes.split('HTTP/1.1 200 OK').length, 3, bytes)
  })

  it('that is read to its end after an early answer leaves the connection usable', async () => {
    await using gateway = await startGateway((_request, answer) => {
      answer.head(200, [], LAST)
    })
    const bytes = await rawExchange(
      gateway.port,
      'POST /default/hello HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhelloGET /default/hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n',
    )
    assert.equal(bytes.split('HTTP/1.1 200 OK').length, 3, bytes)
  })
})

describe('a client that goes away', () => {
  it('has its function told, and the invocation recorded as cancelled with 499', async () => {
    const reason = Promise.withResolvers<string>()
    const begun = Promise.withResolvers<void>()
    await using gateway = await startGateway((request) => {
      begun.resolve()
      void request.cancelled.then(reason.resolve)
    })
    const controller = new AbortController()
    const call = fetch(gateway.url, { signal: controller.signal })
    await begun.promise
    controller.abort()
    await assert.rejects(call)
    assert.equal(await reason.promise, 'disconnect')
    const [record] = await gateway.recorded(1)
    assert.equal(record!.status, 499)
    assert.equal(record!.outcome, 'cancelled')
    assert.equal(gateway.inFlight(), 0)
  })

  it('takes all its pipelined requests with it', async () => {
    let cancelled = 0
    let begun = 0
    await using gateway = await startGateway((request) => {
      begun++
      void request.cancelled.then(() => cancelled++)
    })
    const socket = connect(gateway.port, '127.0.0.1')
    socket.write('GET /default/hello HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(3))
    while (begun < 3) await pause(10)
    socket.destroy()
    await gateway.recorded(3)
    assert.equal(cancelled, 3)
  })

  it('while it waits for a place leaves the queue', async () => {
    let signal: AbortSignal | undefined
    const waiting = Promise.withResolvers<void>()
    await using gateway = await startGateway(() => {}, {
      scheduler: {
        acquire(_version, options) {
          signal = options.signal
          waiting.resolve()
          return new Promise((_resolve, reject) => signal!.addEventListener('abort', () => reject(signal!.reason)))
        },
      },
    })
    const controller = new AbortController()
    const call = fetch(gateway.url, { signal: controller.signal })
    await waiting.promise
    controller.abort()
    await assert.rejects(call)
    const [record] = await gateway.recorded(1)
    assert.equal(signal!.aborted, true)
    assert.equal(record!.outcome, 'cancelled')
    assert.equal(record!.sandbox, null)
    assert.equal(gateway.inFlight(), 0)
  })
})

describe('the deadline', () => {
  it('answers 504 when there is no head yet, and tells the function', async () => {
    const reason = Promise.withResolvers<string>()
    await using gateway = await startGateway((request) => void request.cancelled.then(reason.resolve), { version: { timeoutMs: 100 } })
    const response = await fetch(gateway.url)
    assert.equal(response.status, 504)
    assert.equal(((await response.json()) as { code: string }).code, 'deadline_exceeded')
    assert.equal(await reason.promise, 'deadline')
    const [record] = await gateway.recorded(1)
    assert.equal(record!.outcome, 'deadline_exceeded')
    assert.equal(record!.detail!['explanation'], 'no answer within the timeout of 100 ms')
  })

  it('cuts the connection when the answer has begun', async () => {
    await using gateway = await startGateway(
      async (_request, answer) => {
        answer.head(200)
        await answer.body('half')
      },
      { version: { timeoutMs: 100 } },
    )
    const response = await fetch(gateway.url)
    await assert.rejects(response.text())
    const [record] = await gateway.recorded(1)
    assert.equal(record!.status, 200)
    assert.equal(record!.outcome, 'deadline_exceeded')
  })

  it('counts the wait for a place, and gives back one that comes too late', async () => {
    let released = 0
    const lease = Promise.withResolvers<never>()
    await using gateway = await startGateway(() => {}, { version: { timeoutMs: 100 }, scheduler: { acquire: () => lease.promise } })
    const response = await fetch(gateway.url)
    assert.equal(response.status, 504)
    assert.equal(gateway.records.length, 0)
    lease.resolve({ sandbox: 1, start: 'warm', release: () => released++, exchange: () => assert.fail('begun too late') } as never)
    const [record] = await gateway.recorded(1)
    assert.equal(released, 1)
    assert.match(String(record!.detail!['explanation']), /waiting for a sandbox/)
  })

  it('stays the cause of an invocation, whatever follows from it', async () => {
    await using gateway = await startGateway(() => {}, {
      version: { timeoutMs: 100 },
      scheduler: {
        acquire: (_version, { signal }) => new Promise((_resolve, reject) => signal!.addEventListener('abort', () => reject(new HostelError('cancelled')))),
      },
    })
    assert.equal((await fetch(gateway.url)).status, 504)
    assert.equal((await gateway.recorded(1))[0]!.outcome, 'deadline_exceeded')
  })

  it('cuts a client that does not read its answer', async () => {
    await using gateway = await startGateway(
      async (_request, answer) => {
        answer.head(200)
        for (;;) await answer.body(Buffer.alloc(64 * 1024))
      },
      { version: { timeoutMs: 300 } },
    )
    const socket = connect(gateway.port, '127.0.0.1')
    socket.on('error', () => {})
    socket.write('GET /default/hello HTTP/1.1\r\nHost: localhost\r\n\r\n')
    socket.pause()
    const [record] = await gateway.recorded(1)
    assert.equal(record!.outcome, 'deadline_exceeded')
    socket.destroy()
  })

  it('ends what goes on after the answer, without changing its outcome', async () => {
    const reason = Promise.withResolvers<string>()
    await using gateway = await startGateway(
      async (request, answer) => {
        void request.cancelled.then(reason.resolve)
        answer.head(200)
        await answer.body('ok', frameFlags.END)
      },
      { version: { timeoutMs: 200 } },
    )
    assert.equal(await (await fetch(gateway.url)).text(), 'ok')
    assert.equal(await reason.promise, 'deadline')
    const [record] = await gateway.recorded(1)
    assert.equal(record!.outcome, 'ok')
    assert.match(String(record!.detail!['afterAnswer']), /deadline/)
  })
})

describe('a refusal', () => {
  it('with a time to wait says so in Retry-After, and is recorded', async () => {
    await using gateway = await startGateway(() => {}, {
      scheduler: {
        acquire() {
          throw new HostelError('too_many_requests', undefined, { retryAfterSeconds: 1.2 })
        },
      },
    })
    const response = await fetch(gateway.url)
    assert.equal(response.status, 429)
    assert.equal(response.headers.get('retry-after'), '2')
    const [record] = await gateway.recorded(1)
    assert.equal(record!.outcome, 'too_many_requests')
    assert.equal(record!.status, 429)
    assert.equal(record!.sandbox, null)
  })

  it('because of a fault of our own tells nothing of it to the client, and all to the owner', async () => {
    await using gateway = await startGateway(() => {}, {
      scheduler: {
        acquire() {
          throw new TypeError('secret')
        },
      },
    })
    const response = await fetch(gateway.url)
    assert.equal(response.status, 500)
    assert.doesNotMatch(await response.text(), /secret/)
    assert.equal((await gateway.recorded(1))[0]!.outcome, 'internal')
  })

  it("because of the server's state or the function's fault keeps its details for the owner", async () => {
    await using gateway = await startGateway(() => {}, {
      scheduler: {
        acquire() {
          throw new HostelError('no_capacity', 'secret: 17 sandboxes of other tenants')
        },
      },
    })
    const response = await fetch(gateway.url)
    assert.equal(response.status, 503)
    assert.doesNotMatch(await response.text(), /secret/)
    assert.match(String((await gateway.recorded(1))[0]!.detail!['explanation']), /secret/)
  })

  it('while the server drains is a 503 that closes the connection', async () => {
    await using gateway = await startGateway((_request, answer) => answer.head(200, [], LAST))
    gateway.setDraining()
    const response = await fetch(gateway.url)
    assert.equal(response.status, 503)
    assert.equal(response.headers.get('connection'), 'close')
    assert.equal(((await response.json()) as { code: string }).code, 'shutting_down')
  })

  it('of more requests on one connection than may be in hand comes in their order', async () => {
    const proceed = Promise.withResolvers<void>()
    await using gateway = await startGateway(async (_request, answer) => {
      await proceed.promise
      answer.head(200, [], LAST)
    })
    setTimeout(proceed.resolve, 200)
    const bytes = await rawExchange(gateway.port, 'GET /default/hello HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(limits.pipelinedRequestsMax + 1), 1_000)
    const statuses = [...bytes.matchAll(/HTTP\/1\.1 (\d{3})/g)].map((match) => match[1])
    assert.deepEqual(statuses, [...Array.from({ length: limits.pipelinedRequestsMax }, () => '200'), '429'])
  })
})
