import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'

import { HostelError } from '../errors.ts'
import { limits } from '../limits.ts'
import { Connection } from './connection.ts'
import type { ConnectionEnd, LogLevel } from './connection.ts'
import { encodeFrame, frameFlags, frameTypes } from './protocol.ts'
import type { Contract, GuestError } from './protocol.ts'
import { createGuest, socketPair, specialiseMessage } from './testing/guest.ts'
import type { Guest } from './testing/guest.ts'
import { NotingSink, requestHead } from './testing/sink.ts'

const { END, SETTLED } = frameFlags
const KIB = 1024

interface Rig {
  connection: Connection
  guest: Guest
  logs: { level: LogLevel; invocation: string | null; text: string }[]
  contracts: Contract[]
  initErrors: GuestError[]
  closed: Promise<ConnectionEnd>
}

async function rig(t: TestContext, options: { manners?: boolean; specialised?: boolean; adopted?: boolean } = {}): Promise<Rig> {
  const [near, far] = await socketPair()
  t.after(() => {
    near.destroy()
    far.destroy()
  })
  const { promise: closed, resolve } = Promise.withResolvers<ConnectionEnd>()
  const logs: Rig['logs'] = []
  const contracts: Contract[] = []
  const initErrors: GuestError[] = []
  const connection = new Connection(
    near,
    {
      specialised: (contract) => contracts.push(contract),
      initFailed: (error) => initErrors.push(error),
      log: (level, owner, text) => {
        logs.push({ level, invocation: owner?.invocation ?? null, text: text.toString() })
        return true
      },
      settled() {},
      closed: resolve,
    },
    { adopted: options.adopted ?? false },
  )
  const guest = createGuest(far, { manners: options.manners ?? true })
  if (options.specialised !== false) {
    await connection.handshake(1_000)
    connection.specialise(specialiseMessage)
    await guest.next(frameTypes.SPECIALISE)
  }
  return { connection, guest, logs, contracts, initErrors, closed }
}

async function tick(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 20))
}

describe('a guest that sends frames without end', () => {
  test('is read more slowly, since all share our time, and its answer still comes', async (t) => {
    const { connection, guest } = await rig(t)
    const sink = new NotingSink()
    const exchange = connection.exchange(requestHead(), sink)
    await guest.next(frameTypes.REQUEST_HEAD)
    const startedAtMs = performance.now()
    const credit = encodeFrame(frameTypes.CREDIT, 0, exchange.id, Buffer.alloc(4))
    guest.socket.write(Buffer.concat(Array.from({ length: 60_000 }, () => credit)))
    guest.socket.write(encodeFrame(frameTypes.RESPONSE_HEAD, END | SETTLED, exchange.id, JSON.stringify([200, []])))
    while (connection.running > 0) await tick()
    assert.ok(performance.now() - startedAtMs >= 300, `${performance.now() - startedAtMs} ms`)
  })
})

describe('handshake', () => {
  test('the host speaks first, and READY tells runtime and version', async (t) => {
    const { connection } = await rig(t, { specialised: false })
    assert.deepEqual(await connection.handshake(1_000), { runtime: 'nodejs24', runtimeVersion: '24.0.0' })
  })

  test('a shim that stays silent is given up after the time limit', async (t) => {
    const { connection } = await rig(t, { specialised: false, manners: false })
    await assert.rejects(connection.handshake(30), { code: 'unavailable', message: /not ready within 30 ms/ })
  })

  test('a shim that goes away before READY is told apart at once', async (t) => {
    const { connection, guest } = await rig(t, { specialised: false, manners: false })
    guest.socket.destroy()
    await assert.rejects(connection.handshake(5_000), { code: 'unavailable', message: /ended before it was ready/ })
  })

  test('an adopted sandbox answers requests without being specialised again', async (t) => {
    const { connection, guest } = await rig(t, { specialised: false, adopted: true })
    await connection.handshake(1_000)
    guest.onRequest = ({ stream }) => guest.answer(stream, 200, 'still here')
    const sink = new NotingSink()
    connection.exchange(requestHead(), sink)
    await sink.done
    assert.equal(sink.text, 'still here')
  })
})

describe('specialisation', () => {
  test('the contract is reported', async (t) => {
    const { contracts } = await rig(t)
    await tick()
    assert.deepEqual(contracts, ['fetch'])
  })

  test('a failed start is reported with file and line', async (t) => {
    const { connection, guest, initErrors } = await rig(t, { specialised: false, manners: false })
    const ready = connection.handshake(1_000)
    guest.json(frameTypes.READY, 0, 0, { protocol: 1, runtime: 'nodejs24', runtimeVersion: '24.0.0' })
    await ready
    connection.specialise(specialiseMessage)
    await guest.next(frameTypes.SPECIALISE)
    guest.json(frameTypes.INIT_FAILED, 0, 0, { kind: 'init', name: 'SyntaxError', message: 'Unexpected token', file: 'index.ts', line: 3, column: 7 })
    await tick()
    assert.deepEqual(initErrors, [{ kind: 'init', name: 'SyntaxError', message: 'Unexpected token', file: 'index.ts', line: 3, column: 7 }])
  })

  test('a request may be sent right behind SPECIALISE', async (t) => {
    const { connection, guest } = await rig(t, { specialised: false })
    await connection.handshake(1_000)
    guest.onRequest = ({ stream }) => guest.answer(stream, 200, 'hi')
    connection.specialise(specialiseMessage)
    const sink = new NotingSink()
    connection.exchange(requestHead(), sink)
    await sink.done
    assert.deepEqual(sink.calls, ['head', 'body', 'end', 'settled'])
  })

  test('an environment that does not fit a frame is refused with its size', async (t) => {
    const { connection } = await rig(t, { specialised: false })
    await connection.handshake(1_000)
    assert.throws(() => connection.specialise({ ...specialiseMessage, env: { A: '\u0001'.repeat(32 * KIB) } }), {
      code: 'init_failed',
      message: /bytes as JSON/,
    })
  })
})

describe('exchange', () => {
  test('head, body and end arrive in order, and settled is last', async (t) => {
    const { connection, guest } = await rig(t)
    guest.onRequest = ({ stream }) => {
      guest.json(frameTypes.RESPONSE_HEAD, 0, stream, [201, ['x-a', '1', 'set-cookie', 'a', 'set-cookie', 'b']])
      guest.send(frameTypes.RESPONSE_BODY, 0, stream, 'one ')
      guest.send(frameTypes.RESPONSE_BODY, END, stream, 'two')
      guest.send(frameTypes.SETTLED, 0, stream)
    }
    const sink = new NotingSink()
    connection.exchange(requestHead(), sink)
    await sink.done
    assert.deepEqual(sink.calls, ['head', 'body', 'end', 'settled'])
    assert.equal(sink.status, 201)
    assert.deepEqual(sink.headers, ['x-a', '1', 'set-cookie', 'a', 'set-cookie', 'b'])
    assert.equal(sink.text, 'one two')
    assert.equal(connection.running, 0)
  })

  test('the guest gets method, url, headers and meta as they were given', async (t) => {
    const { connection, guest } = await rig(t)
    connection.exchange(requestHead({ method: 'PUT', url: 'http://h/p?q=ü', headers: ['a', 'ÿ'], id: 'i1' }), new NotingSink())
    await guest.next(frameTypes.REQUEST_HEAD)
    assert.deepEqual(guest.requests[0], { stream: 1, method: 'PUT', url: 'http://h/p?q=ü', headers: ['a', 'ÿ'], meta: { id: 'i1', deadlineMs: 5_000 } })
  })

  test('a hundred exchanges run at once, each with its own answer', async (t) => {
    const { connection, guest } = await rig(t)
    guest.onRequest = ({ stream, meta }) => setTimeout(() => guest.answer(stream, 200, meta.id), 100 - stream)
    const sinks = Array.from({ length: 100 }, (_, i) => {
      const sink = new NotingSink()
      connection.exchange(requestHead({ id: `id-${i}` }), sink)
      return sink
    })
    await Promise.all(sinks.map((sink) => sink.done))
    assert.deepEqual(
      sinks.map((sink) => sink.text),
      sinks.map((_, i) => `id-${i}`),
    )
  })

  test('the requests of one turn leave with one write', async (t) => {
    const { connection, guest } = await rig(t)
    let writes = 0
    guest.socket.on('data', () => writes++)
    for (let i = 0; i < 10; i++) connection.exchange(requestHead(), new NotingSink())
    await tick()
    assert.equal(guest.requests.length, 10)
    assert.equal(writes, 1)
  })

  test('an error of the handler breaks the answer off with the guest’s account, before or after the head', async (t) => {
    const { connection, guest } = await rig(t)
    guest.onRequest = ({ stream }) => {
      if (stream === 2) guest.json(frameTypes.RESPONSE_HEAD, 0, stream, [200, []])
      guest.json(frameTypes.RESPONSE_ERROR, SETTLED, stream, { kind: 'handler', name: 'TypeError', message: 'x is not a function', file: 'index.ts', line: 9 })
    }
    const [early, late] = [new NotingSink(), new NotingSink()]
    connection.exchange(requestHead(), early)
    connection.exchange(requestHead(), late)
    await Promise.all([early.done, late.done])
    assert.deepEqual(early.calls, ['failed', 'settled'])
    assert.deepEqual(late.calls, ['head', 'failed', 'settled'])
    assert.equal(early.error?.code, 'handler_error')
    assert.equal(early.error?.message.includes('x is not'), false, 'nothing of the guest’s text is in what anonymous callers see')
    assert.equal(early.guestError?.line, 9)
  })

  test('waitUntil goes on after the end: settled comes when the guest says so', async (t) => {
    const { connection, guest } = await rig(t)
    guest.onRequest = ({ stream }) => {
      guest.json(frameTypes.RESPONSE_HEAD, END, stream, [204, []])
      setTimeout(() => guest.send(frameTypes.SETTLED, 0, stream), 30)
    }
    const sink = new NotingSink()
    connection.exchange(requestHead(), sink)
    await sink.ended
    assert.deepEqual(sink.calls, ['head', 'end'])
    assert.equal(connection.running, 1)
    await sink.done
    assert.deepEqual(sink.calls, ['head', 'end', 'settled'])
  })

  test('a head that does not fit a frame is refused as too large, and the stream goes on', async (t) => {
    const { connection, guest } = await rig(t)
    assert.throws(() => connection.exchange(requestHead({ headers: ['a', '"'.repeat(40 * KIB)] }), new NotingSink()), { code: 'headers_too_large' })
    guest.onRequest = ({ stream }) => guest.answer(stream, 200, 'ok')
    const sink = new NotingSink()
    connection.exchange(requestHead(), sink)
    await sink.done
    assert.equal(sink.text, 'ok')
  })

  test('an answer over the limit is broken off and cancelled in the guest', async (t) => {
    const { connection, guest } = await rig(t)
    const restore = limits.responseBodyMaxBytes
    Object.assign(limits, { responseBodyMaxBytes: 10 })
    t.after(() => Object.assign(limits, { responseBodyMaxBytes: restore }))
    guest.onRequest = ({ stream }) => {
      guest.json(frameTypes.RESPONSE_HEAD, 0, stream, [200, []])
      guest.send(frameTypes.RESPONSE_BODY, 0, stream, 'elevenbytes')
    }
    const sink = new NotingSink()
    connection.exchange(requestHead(), sink)
    await guest.next(frameTypes.CANCEL)
    assert.equal(sink.error?.code, 'response_too_large')
  })
})

describe('cancellation', () => {
  test('after cancel the sink hears settled only, though the guest goes on answering', async (t) => {
    const { connection, guest } = await rig(t)
    const sink = new NotingSink()
    const exchange = connection.exchange(requestHead(), sink)
    await guest.next(frameTypes.REQUEST_HEAD)
    exchange.cancel('disconnect')
    exchange.cancel('deadline')
    const cancel = await guest.next(frameTypes.CANCEL)
    assert.deepEqual(JSON.parse(cancel.payload.toString()), { reason: 'disconnect' })
    guest.answer(1, 200, 'too late')
    await sink.done
    assert.deepEqual(sink.calls, ['settled'])
    assert.equal(guest.frames.filter((frame) => frame.type === frameTypes.CANCEL).length, 1)
  })

  test('CANCEL and SETTLED may cross', async (t) => {
    const { connection, guest } = await rig(t)
    guest.onRequest = ({ stream }) => guest.answer(stream, 200, 'done')
    const sink = new NotingSink()
    const exchange = connection.exchange(requestHead(), sink)
    await sink.done
    exchange.cancel('disconnect')
    exchange.grant(4)
    assert.equal(exchange.write(Buffer.from('x')), true)
    await tick()
    assert.equal(
      guest.frames.some((frame) => frame.type === frameTypes.CANCEL),
      false,
    )
  })
})

describe('flow control', () => {
  test('a guest that reads nothing of the body stops the client at the window', async (t) => {
    const { connection, guest } = await rig(t)
    const sink = new NotingSink()
    const exchange = connection.exchange(requestHead({ endStream: false }), sink)
    sink.onDrain = () => {
      while (exchange.write(Buffer.alloc(32 * KIB)));
    }
    sink.onDrain()
    await tick()
    await tick()
    const received = guest.frames.filter((frame) => frame.type === frameTypes.REQUEST_BODY).reduce((sum, frame) => sum + frame.payload.length, 0)
    assert.equal(received, limits.streamWindowBytes)
    const { drains } = sink
    await tick()
    assert.equal(sink.drains, drains, 'without credit it is not asked for more')
  })

  test('credit from the guest lets the client go on, and no byte is lost or reordered', async (t) => {
    const { connection, guest } = await rig(t)
    const received: Buffer[] = []
    guest.onFrame = (frame) => {
      if (frame.type !== frameTypes.REQUEST_BODY) return
      received.push(Buffer.from(frame.payload))
      const credit = Buffer.alloc(4)
      credit.writeUInt32BE(frame.payload.length)
      guest.send(frameTypes.CREDIT, 0, frame.stream, credit)
      if (frame.flags & END) guest.answer(frame.stream, 200, 'got it')
    }
    const body = Buffer.alloc(3 * 1024 * KIB, 'abcdefghijklmnopqrstuvw')
    const sink = new NotingSink()
    const exchange = connection.exchange(requestHead({ method: 'POST', endStream: false }), sink)
    let at = 0
    function feed(): void {
      while (at < body.length) {
        const chunk = body.subarray(at, at + 100_001)
        at += chunk.length
        if (!exchange.write(chunk)) {
          sink.onDrain = feed
          return
        }
      }
      exchange.end()
    }
    feed()
    await sink.done
    assert.ok(sink.drains > 0)
    assert.ok(Buffer.concat(received).equals(body))
  })

  test('a guest that never reads its socket does not make the host hold more than the sockets and one chunk a request', async (t) => {
    const { connection, guest } = await rig(t)
    guest.socket.pause()
    let writtenBytes = 0
    for (let i = 0; i < 50; i++) {
      const exchange = connection.exchange(requestHead({ endStream: false }), new NotingSink())
      for (let n = 0; n < 4 && exchange.write(Buffer.alloc(64 * KIB)); n++) writtenBytes += 64 * KIB
      await new Promise(setImmediate)
    }
    assert.ok(connection.unsentBytes < 512 * KIB, `${connection.unsentBytes} bytes wait in the socket`)
    assert.ok(writtenBytes < 2_048 * KIB)
  })

  test('a client that takes nothing stops the guest at the window; granting gives credit for what was taken', async (t) => {
    const { connection, guest } = await rig(t)
    const sink = new NotingSink()
    const exchange = connection.exchange(requestHead(), sink)
    await guest.next(frameTypes.REQUEST_HEAD)
    guest.json(frameTypes.RESPONSE_HEAD, 0, 1, [200, []])
    for (let i = 0; i < 4; i++) guest.send(frameTypes.RESPONSE_BODY, 0, 1, Buffer.alloc(64 * KIB, i))
    await tick()
    assert.equal(sink.bodyBytes, limits.streamWindowBytes)
    assert.equal(
      guest.frames.some((frame) => frame.type === frameTypes.CREDIT),
      false,
    )
    exchange.grant(100 * KIB)
    const credit = await guest.next(frameTypes.CREDIT)
    assert.equal(credit.payload.readUInt32BE(), 100 * KIB)
    guest.send(frameTypes.RESPONSE_BODY, 0, 1, Buffer.alloc(64 * KIB))
    guest.send(frameTypes.RESPONSE_BODY, END | SETTLED, 1, Buffer.alloc(36 * KIB))
    await sink.done
    assert.equal(sink.bodyBytes, limits.streamWindowBytes + 100 * KIB)
  })

  test('more is never granted than was received', async (t) => {
    const { connection, guest, closed } = await rig(t)
    const sink = new NotingSink()
    const exchange = connection.exchange(requestHead(), sink)
    exchange.grant(10_000_000)
    await guest.next(frameTypes.REQUEST_HEAD)
    guest.json(frameTypes.RESPONSE_HEAD, 0, 1, [200, []])
    for (let i = 0; i < 4; i++) guest.send(frameTypes.RESPONSE_BODY, 0, 1, Buffer.alloc(64 * KIB))
    guest.send(frameTypes.RESPONSE_BODY, 0, 1, 'x')
    assert.deepEqual(await closed, { kind: 'violation', rule: 'more body than credit' })
  })

  test('a window of single bytes reaches a sink that takes nothing as few chunks, complete and in order', async (t) => {
    const { connection, guest } = await rig(t)
    const sink = new NotingSink()
    const exchange = connection.exchange(requestHead(), sink)
    await guest.next(frameTypes.REQUEST_HEAD)
    guest.json(frameTypes.RESPONSE_HEAD, 0, 1, [200, []])
    const bytes = Buffer.from(Array.from({ length: 5_000 }, (_, i) => i & 0xff))
    for (const byte of bytes) guest.send(frameTypes.RESPONSE_BODY, 0, 1, Buffer.from([byte]))
    await tick()
    assert.ok(sink.chunks.length <= 64)
    exchange.grant(1)
    guest.send(frameTypes.RESPONSE_BODY, END | SETTLED, 1)
    await sink.done
    assert.ok(sink.chunks.length <= 70)
    assert.ok(Buffer.concat(sink.chunks).equals(bytes))
  })
})

describe('logs', () => {
  test('lines carry level and the invocation during which they were written, also after it has settled', async (t) => {
    const { connection, guest, logs } = await rig(t)
    const sink = new NotingSink()
    connection.exchange(requestHead({ id: 'inv-1' }), sink)
    await guest.next(frameTypes.REQUEST_HEAD)
    guest.log(0, 1, 'outside')
    guest.log(1, 6, 'inside')
    guest.answer(1, 200, '')
    guest.log(1, 2, 'afterwards')
    await sink.done
    await tick()
    assert.deepEqual(logs, [
      { level: 'stdout', invocation: null, text: 'outside' },
      { level: 'error', invocation: 'inv-1', text: 'inside' },
      { level: 'stderr', invocation: 'inv-1', text: 'afterwards' },
    ])
  })
})

describe('ping', () => {
  test('a live event loop answers, a blocked one is found out in time, and its late PONG breaks no rule', async (t) => {
    const { connection, guest } = await rig(t, { manners: true })
    assert.equal(await connection.ping(1_000), true)
    guest.socket.pause()
    assert.equal(await connection.ping(30), false)
    guest.socket.resume()
    await tick()
    assert.equal(await connection.ping(1_000), true)
  })

  test('the same PONG twice is one too many', async (t) => {
    const { connection, guest, closed } = await rig(t)
    await connection.ping(1_000)
    const ping = await guest.next(frameTypes.PING)
    guest.send(frameTypes.PONG, 0, 0, ping.payload)
    assert.deepEqual(await closed, { kind: 'violation', rule: 'a PONG that no PING asked for' })
  })
})

describe('the end', () => {
  test('what was running is handed out with whether the guest may have begun', async (t) => {
    const { connection, guest, closed } = await rig(t)
    const [begun, cancelled] = [new NotingSink(), new NotingSink()]
    connection.exchange(requestHead(), begun)
    connection.exchange(requestHead(), cancelled).cancel('disconnect')
    await guest.next(frameTypes.CANCEL)
    guest.socket.destroy()
    assert.deepEqual(await closed, { kind: 'eof' })
    const abandoned = connection.abandon()
    assert.deepEqual(abandoned, [
      { sink: begun, begun: true, answered: false },
      { sink: cancelled, begun: true, answered: true },
    ])
    assert.deepEqual(connection.abandon(), [])
    assert.throws(() => connection.exchange(requestHead(), begun), HostelError)
  })

  test('what was sent behind SPECIALISE has not begun before SPECIALISED', async (t) => {
    const { connection, guest, closed } = await rig(t, { specialised: false, manners: false })
    const ready = connection.handshake(1_000)
    guest.json(frameTypes.READY, 0, 0, { protocol: 1, runtime: 'nodejs24', runtimeVersion: '24.0.0' })
    await ready
    connection.specialise(specialiseMessage)
    connection.exchange(requestHead(), new NotingSink())
    await guest.next(frameTypes.REQUEST_HEAD)
    guest.socket.destroy()
    await closed
    assert.equal(connection.abandon()[0]?.begun, false)
  })

  test('a request whose head was still to be written when the guest died has not begun', async (t) => {
    const { connection, guest } = await rig(t)
    await tick()
    connection.exchange(requestHead(), new NotingSink())
    connection.close()
    await tick()
    assert.equal(connection.abandon()[0]?.begun, false)
    assert.equal(guest.requests.length, 0)
  })

  test('nothing is reported after the connection was closed, though more frames lay in the same chunk', async (t) => {
    const { connection, guest, logs } = await rig(t)
    guest.onRequest = ({ stream }) => {
      guest.socket.cork()
      guest.json(frameTypes.RESPONSE_HEAD, 0, stream, [200, []])
      guest.log(0, 1, 'x')
      guest.socket.uncork()
    }
    const sink = new NotingSink()
    sink.head = () => connection.close()
    connection.exchange(requestHead(), sink)
    await tick()
    assert.deepEqual(sink.calls, [])
    assert.deepEqual(logs, [])
  })

  test('a sink that throws is our fault, not the guest’s', async (t) => {
    const { connection, guest, closed } = await rig(t)
    const sink = new NotingSink()
    sink.onBody = () => {
      throw new Error('broken sink')
    }
    guest.onRequest = ({ stream }) => guest.answer(stream, 200, 'x')
    connection.exchange(requestHead(), sink)
    const end = await closed
    assert.equal(end.kind, 'fault')
  })
})

describe('violations end the sandbox and name the rule', () => {
  const head = (value: unknown) => (guest: Guest) => guest.json(frameTypes.RESPONSE_HEAD, 0, 1, value)
  const cases: Record<string, { rule: RegExp; act(guest: Guest): void }> = {
    'a payload over its limit': { rule: /over the limit of 65536/, act: (guest) => guest.socket.write(Buffer.from([0, 1, 0, 1, 0x21, 0, 0, 0, 0, 1])) },
    'an unknown type': { rule: /type 0x7f, which a shim does not send/, act: (guest) => guest.send(0x7f, 0, 0) },
    'a frame from the wrong side': { rule: /type 0x10, which a shim does not send/, act: (guest) => guest.send(frameTypes.REQUEST_HEAD, 0, 1, '[]') },
    'an unknown flag': { rule: /a flag that its frame does not have/, act: (guest) => guest.send(frameTypes.RESPONSE_BODY, 0x80, 1) },
    'READY twice': { rule: /READY without HELLO/, act: (guest) => guest.json(frameTypes.READY, 0, 0, { protocol: 1, runtime: 'x', runtimeVersion: '1' }) },
    'SPECIALISED twice': { rule: /SPECIALISED without SPECIALISE/, act: (guest) => guest.json(frameTypes.SPECIALISED, 0, 0, { contract: 'fetch' }) },
    'INIT_FAILED after SPECIALISED': { rule: /INIT_FAILED without SPECIALISE/, act: (guest) => guest.json(frameTypes.INIT_FAILED, 0, 0, {}) },
    'a head that is no JSON': { rule: /RESPONSE_HEAD carries no JSON/, act: (guest) => guest.send(frameTypes.RESPONSE_HEAD, 0, 1, '[200,') },
    'a head that is no pair': { rule: /not \[status, headers\]/, act: head([200]) },
    'an interim status': { rule: /from 200 to 599/, act: head([100, []]) },
    'a status that is no whole number': { rule: /from 200 to 599/, act: head([200.5, []]) },
    'a name without a value': { rule: /no list of names and values/, act: head([200, ['a']]) },
    'too many header fields': { rule: /more than 200 fields/, act: head([200, Array.from({ length: 402 }, () => 'a')]) },
    'a header name in upper case': { rule: /no token in lower case/, act: head([200, ['X-A', '1']]) },
    'a header name with a colon': { rule: /no token in lower case/, act: head([200, ['a:b', '1']]) },
    'an empty header name': { rule: /no token in lower case/, act: head([200, ['', '1']]) },
    'a header value with CR LF': { rule: /does not allow/, act: head([200, ['a', 'b\r\nset-cookie: x']]) },
    'a header value with NUL': { rule: /does not allow/, act: head([200, ['a', 'b\0']]) },
    'a header value beyond Latin-1': { rule: /does not allow/, act: head([200, ['a', '☃']]) },
    'a header value that is no text': { rule: /does not allow/, act: head([200, ['a', 1]]) },
    'a body before a head': { rule: /a body before a head/, act: (guest) => guest.send(frameTypes.RESPONSE_BODY, 0, 1, 'x') },
    'a head after a head': {
      rule: /a head after a head/,
      act: (guest) => {
        head([200, []])(guest)
        head([200, []])(guest)
      },
    },
    'a body after the end': {
      rule: /after the end of the answer/,
      act: (guest) => {
        guest.json(frameTypes.RESPONSE_HEAD, END, 1, [200, []])
        guest.send(frameTypes.RESPONSE_BODY, 0, 1, 'x')
      },
    },
    'SETTLED before the end': { rule: /settled before the end/, act: (guest) => guest.send(frameTypes.SETTLED, 0, 1) },
    'a frame after SETTLED': {
      rule: /after its request had settled/,
      act: (guest) => {
        guest.answer(1, 200, 'x')
        guest.send(frameTypes.SETTLED, 0, 1)
      },
    },
    'an answer for no request': { rule: /a request that was never sent/, act: (guest) => guest.json(frameTypes.RESPONSE_HEAD, 0, 2, [200, []]) },
    'an answer on stream 0': { rule: /type 0x20 without a request/, act: (guest) => guest.json(frameTypes.RESPONSE_HEAD, 0, 0, [200, []]) },
    'a log line for no request': { rule: /log line for a request that was never sent/, act: (guest) => guest.log(2, 1, 'x') },
    'a log line over its limit': { rule: /a log line over/, act: (guest) => guest.log(0, 1, 'x'.repeat(17 * KIB)) },
    'a log line without a level': { rule: /without a known level/, act: (guest) => guest.log(0, 7, 'x') },
    'an empty log frame': { rule: /without a known level/, act: (guest) => guest.send(frameTypes.LOG, 0, 0) },
    'an error of unknown kind': {
      rule: /kind that is not known/,
      act: (guest) => guest.json(frameTypes.RESPONSE_ERROR, 0, 1, { kind: 'evil', name: '', message: '' }),
    },
    'an error without a message': {
      rule: /"message" of an error is no text/,
      act: (guest) => guest.json(frameTypes.RESPONSE_ERROR, 0, 1, { kind: 'handler', name: '' }),
    },
    'credit of the wrong size': { rule: /four bytes/, act: (guest) => guest.send(frameTypes.CREDIT, 0, 1, 'abc') },
    'a PONG that nobody asked for': { rule: /a PONG that no PING asked for/, act: (guest) => guest.send(frameTypes.PONG, 0, 0, Buffer.alloc(4)) },
  }
  for (const [name, { rule, act }] of Object.entries(cases)) {
    test(name, async (t) => {
      const { connection, guest, closed } = await rig(t)
      connection.exchange(requestHead(), new NotingSink())
      await guest.next(frameTypes.REQUEST_HEAD)
      act(guest)
      const end = await closed
      assert.equal(end.kind, 'violation')
      assert.match((end as { rule: string }).rule, rule)
    })
  }

  test('an answer before SPECIALISED', async (t) => {
    const { connection, guest, closed } = await rig(t, { specialised: false, manners: false })
    const ready = connection.handshake(1_000)
    guest.json(frameTypes.READY, 0, 0, { protocol: 1, runtime: 'nodejs24', runtimeVersion: '24.0.0' })
    await ready
    connection.specialise(specialiseMessage)
    connection.exchange(requestHead(), new NotingSink())
    await guest.next(frameTypes.REQUEST_HEAD)
    guest.answer(1, 200, 'x')
    assert.deepEqual(await closed, { kind: 'violation', rule: 'an answer before SPECIALISED' })
  })

  test('a log line before READY, and another protocol version', async (t) => {
    const early = await rig(t, { specialised: false, manners: false })
    early.guest.log(0, 1, 'x')
    assert.deepEqual(await early.closed, { kind: 'violation', rule: 'LOG before READY' })
    const other = await rig(t, { specialised: false, manners: false })
    const ready = other.connection.handshake(1_000)
    other.guest.json(frameTypes.READY, 0, 0, { protocol: 2, runtime: 'x', runtimeVersion: '1' })
    await assert.rejects(ready, { message: /another protocol than version 1/ })
  })
})
