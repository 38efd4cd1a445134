/** The doors of one sandbox over real sockets: what an attacker in it may try, and what becomes of it. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Agent, createServer as createHttpServer, request as httpRequest } from 'node:http'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'
import { after, afterEach, before, beforeEach, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import type { EgressRecord } from '../functions/types.ts'
import { limits } from '../limits.ts'
import { parseAddress } from './addresses.ts'
import type { Address } from './addresses.ts'
import { createEgressDoors } from './doors.ts'
import { createGuard } from './guard.ts'

const portOf = (server: { address(): unknown }): number => (server.address() as AddressInfo).port

describe('the doors of a sandbox', () => {
  let web: ReturnType<typeof createHttpServer>
  let raw: Server
  let rawSockets: Socket[]
  let records: EgressRecord[]
  let notes: string[]
  let floods: number
  let asked: string[]
  let names: Record<string, string[][]>
  let open: { close(): void }
  let proxyPort: number
  let servicePort: number

  before(async () => {
    web = createHttpServer((request, response) => {
      if (request.url === '/slow') return
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => {
        response.setHeader('x-seen', 'yes')
        response.setHeader('connection', 'close, x-secret')
        response.setHeader('x-secret', '1')
        response.end(JSON.stringify({ method: request.method, url: request.url, headers: request.rawHeaders, body: Buffer.concat(chunks).toString() }))
      })
    }).listen(0, '127.0.0.1')
    rawSockets = []
    raw = createServer({ allowHalfOpen: true }, (socket) => {
      rawSockets.push(socket)
      socket.on('error', () => {})
    }).listen(0, '127.0.0.1')
    await Promise.all([once(web, 'listening'), once(raw, 'listening')])
  })

  after(() => {
    web.closeAllConnections()
    web.close()
    for (const socket of rawSockets) socket.destroy()
    raw.close()
  })

  beforeEach(async () => {
    records = []
    notes = []
    floods = 0
    asked = []
    rawSockets.length = 0
    names = { 'web.test': [['127.0.0.1']], 'raw.test': [['127.0.0.1']] }
    const lookup = async (name: string): Promise<Address[]> => {
      asked.push(name)
      const answers = names[name]
      if (!answers) throw Object.assign(new Error('no'), { code: 'ENOTFOUND' })
      return (answers.length > 1 ? answers.shift()! : answers[0]!).map((text) => parseAddress(text)!)
    }
    let id = 0
    const own = records
    const doors = createEgressDoors({
      guard: createGuard(['127.0.0.1/32'], [8_081]),
      lookup,
      services: [{ name: 'raw.internal', port: 7_000, target: { host: '127.0.0.1', port: portOf(raw) } }],
      record: (record) => own.push(record),
      newId: () => `id-${++id}`,
    })
    const listeners = [createServer().listen(0, '127.0.0.1'), createServer().listen(0, '127.0.0.1')]
    await Promise.all(listeners.map((listener) => once(listener, 'listening')))
    ;[proxyPort, servicePort] = listeners.map(portOf) as [number, number]
    const egress = [
      `web.test:${portOf(web)}`,
      `raw.test:${portOf(raw)}`,
      'gone.test:80',
      'rebound.test:80',
      'own.test:8081',
      '*.wild.test:80',
      `127.0.0.0/8:${portOf(web)}`,
      '10.0.0.0/8:80',
    ]
    open = doors.open(
      { tenant: 'default', function: 'f', version: 1, sandbox: 7, invocation: () => 'inv', note: (text) => notes.push(text), flooded: () => floods++ },
      { egress, services: ['raw.internal:7000'] },
      listeners,
    )
  })

  afterEach(() => open.close())

  /** Sends bytes to a door and collects the answer until its end, or for so long. */
  async function say(bytes: string, options: { port?: number; forMs?: number } = {}): Promise<string> {
    const socket = connect({ port: options.port ?? proxyPort, host: '127.0.0.1' })
    let text = ''
    socket.on('error', () => {})
    socket.on('data', (chunk) => (text += chunk.toString('latin1')))
    socket.write(bytes)
    await Promise.race([once(socket, 'close'), sleep(options.forMs ?? 3_000)])
    socket.destroy()
    return text
  }

  async function recorded(count: number): Promise<EgressRecord[]> {
    for (let i = 0; i < 100 && records.length < count; i++) await sleep(20)
    assert.equal(records.length, count, JSON.stringify(records))
    return records
  }

  async function tunnel(target: string, options: { allowHalfOpen?: boolean } = {}): Promise<Socket> {
    const socket = connect({ port: proxyPort, host: '127.0.0.1', ...options })
    socket.on('error', () => {})
    socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`)
    const [answer] = (await once(socket, 'data')) as [Buffer]
    assert.match(answer.toString(), /^HTTP\/1\.1 200 /)
    return socket
  }

  it('take one request after another on a connection: what is sent ahead of its answer would pass by the limits on connections', async () => {
    const { port } = web.address() as AddressInfo
    let reached = 0
    const count = (): void => void reached++
    web.on('connection', count)
    await say(`GET http://web.test:${port}/slow HTTP/1.1\r\n\r\n`.repeat(500), { forMs: 1_000 })
    web.off('connection', count)
    assert.ok(reached <= 1, `${reached} connections were made for one`)
    assert.equal(await say(`GET http://web.test:${port}/slow HTTP/1.1\r\n\r\nCONNECT raw.test:${portOf(raw)} HTTP/1.1\r\n\r\n`, { forMs: 500 }), '')
    assert.equal(rawSockets.length, 0)
  })

  it('count every request of a connection, and end the sandbox that sends too many', async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 20 })
    const ask = (): Promise<unknown> =>
      new Promise((resolve) => {
        const request = httpRequest({ port: proxyPort, host: '127.0.0.1', path: 'http://not.listed/', agent }, (response) =>
          response.resume().once('end', resolve),
        )
        request.once('error', resolve).end()
      })
    await Promise.all(
      Array.from({ length: 20 }, async () => {
        while (floods === 0) await ask()
      }),
    )
    agent.destroy()
    assert.equal(floods, 1)
  })

  it('pass a plain request on, written anew: the host of the target, no field of the connection, the body as it was', async () => {
    const host = `web.test:${portOf(web)}`
    const answer = await say(
      `POST http://${host}/a?b=c HTTP/1.1\r\nHost: evil.test\r\nConnection: close, X-Drop\r\nX-Drop: 1\r\nProxy-Authorization: Basic x\r\nX-Keep: a\r\nX-Keep: b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`,
    )
    assert.match(answer, /^HTTP\/1\.1 200 OK\r\n/)
    assert.match(answer, /x-seen: yes/i)
    assert.doesNotMatch(answer, /x-secret: 1/i)
    const seen = JSON.parse(/\{.*\}/.exec(answer)![0]) as { method: string; url: string; headers: string[]; body: string }
    assert.deepEqual([seen.method, seen.url, seen.body], ['POST', '/a?b=c', 'abc'])
    assert.deepEqual(
      seen.headers.map((text) => text.toLowerCase()).filter((text) => ['evil.test', 'x-drop', 'proxy-authorization'].includes(text)),
      [],
    )
    assert.equal(seen.headers[seen.headers.findIndex((name) => name.toLowerCase() === 'host') + 1], host)
    assert.equal(seen.headers.filter((name) => name.toLowerCase() === 'x-keep').length, 2)
    const [record] = await recorded(1)
    assert.deepEqual([record!.verdict, record!.target, record!.address, record!.reason, record!.invocation], ['allowed', host, '127.0.0.1', null, 'inv'])
    assert.ok(record!.sentBytes > 0 && record!.receivedBytes > 0)
  })

  it('refuse what is not listed with a problem that says what to add, and look no name up for it', async () => {
    for (const head of ['CONNECT other.test:443 HTTP/1.1\r\n\r\n', 'GET http://other.test:443/ HTTP/1.1\r\n\r\n']) {
      const answer = await say(head)
      assert.match(answer, /^HTTP\/1\.1 403 Forbidden\r\n/)
      assert.match(answer, /application\/problem\+json/)
      const problem = JSON.parse(/\{.*\}/.exec(answer)![0]) as { code: string; detail: string }
      assert.equal(problem.code, 'egress_refused')
      assert.match(problem.detail, /egress: \["other\.test:443"\]/)
    }
    assert.deepEqual(asked, [])
    assert.deepEqual(notes, ["egress to other.test:443 refused: it is not on the version's egress list"], 'said once')
  })

  it('refuse an address that a listed name leads to, when it is private or the server’s own', async () => {
    names['rebound.test'] = [['10.1.2.3', '::ffff:192.168.0.1', '64:ff9b::a00:1']]
    names['own.test'] = [['127.0.0.1']]
    assert.match(await say('CONNECT rebound.test:80 HTTP/1.1\r\n\r\n'), /403 Forbidden.*leads to 10\.1\.2\.3: a private address.*--egress-allow/s)
    assert.match(await say('CONNECT own.test:8081 HTTP/1.1\r\n\r\n'), /403 Forbidden.*own port/s)
    assert.match(await say('GET http://10.1.2.3/ HTTP/1.1\r\n\r\n'), /403 Forbidden.*a private address/s, 'listing the address does not help')
    assert.deepEqual(
      records.map(({ verdict, address }) => [verdict, address]),
      [
        ['refused', '10.1.2.3'],
        ['refused', '127.0.0.1'],
        ['refused', '10.1.2.3'],
      ],
    )
  })

  it('connect to the address that was checked, though the name leads elsewhere a moment later', async () => {
    names['web.test'] = [['127.0.0.1'], ['10.0.0.1']]
    assert.match(await say(`GET http://web.test:${portOf(web)}/ HTTP/1.1\r\nConnection: close\r\n\r\n`), /200 OK/)
    assert.deepEqual(asked, ['web.test'], 'looked up once')
    assert.match(await say(`GET http://web.test:${portOf(web)}/ HTTP/1.1\r\nConnection: close\r\n\r\n`), /403/)
    names['web.test'] = [['10.0.0.1', '127.0.0.1']]
    assert.match(await say(`GET http://web.test:${portOf(web)}/ HTTP/1.1\r\nConnection: close\r\n\r\n`), /200 OK/, 'of several, one that may be')
  })

  it('answer 502 with the step that failed', async () => {
    assert.match(await say('CONNECT gone.test:80 HTTP/1.1\r\n\r\n'), /502.*could not be reached: there is no such name/s)
    names['x.wild.test'] = [['127.0.0.1']]
    assert.match(await say('CONNECT x.wild.test:80 HTTP/1.1\r\n\r\n'), /502.*refused the connection/s)
    assert.deepEqual(
      (await recorded(2)).map(({ verdict }) => verdict),
      ['failed', 'failed'],
    )
  })

  it('refuse what is smuggled, malformed or not for a proxy', async () => {
    const host = `web.test:${portOf(web)}`
    const refused = [
      `POST http://${host}/ HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET http://evil.test/ HTTP/1.1\r\n\r\n`,
      `POST http://${host}/ HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd`,
      `POST http://${host}/ HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`,
      `GET http://${host}/ HTTP/1.1\r\nX : a\r\n\r\n`,
      `GET http://${host}/ HTTP/1.1\nX: a\n\n`,
      `GET http://${host}/a b HTTP/1.1\r\n\r\n`,
      `GET http://evil.test@${host}/ HTTP/1.1\r\n\r\n`,
      `GET http://${host}\\@evil.test/ HTTP/1.1\r\n\r\n`,
      `GET http://0x7f.1:${portOf(web)}/ HTTP/1.1\r\n\r\n`,
      `GET https://${host}/ HTTP/1.1\r\n\r\n`,
      `GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
      `CONNECT ${host} HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcde`,
      `CONNECT http://${host}/ HTTP/1.1\r\n\r\n`,
      'CONNECT web.test HTTP/1.1\r\n\r\n',
      '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
      `GET http://${host}/ HTTP/1.1\r\nX: ${'a'.repeat(limits.egressHeadMaxBytes)}\r\n\r\n`,
    ]
    for (const bytes of refused) {
      assert.match(await say(bytes), /^HTTP\/1\.1 4\d\d /, bytes.slice(0, 100))
      assert.deepEqual(asked, [], bytes.slice(0, 100))
    }
    assert.ok(!records.some(({ verdict }) => verdict === 'allowed'))
    assert.deepEqual(asked, [])
  })

  it('carry a tunnel both ways, each half closed by itself', async () => {
    const guest = await tunnel(`raw.test:${portOf(raw)}`, { allowHalfOpen: true })
    const [outside] = rawSockets as [Socket]
    guest.end('question')
    const got: Buffer[] = []
    outside.on('data', (chunk) => got.push(chunk))
    await once(outside, 'end')
    assert.equal(Buffer.concat(got).toString(), 'question')
    await sleep(50)
    const answer = once(guest, 'data')
    outside.write('answer')
    assert.equal(((await answer) as [Buffer])[0].toString(), 'answer')
    outside.end()
    await once(guest, 'end')
    const [record] = await recorded(1)
    assert.deepEqual([record!.verdict, record!.reason, record!.sentBytes, record!.receivedBytes], ['allowed', null, 8, 6])
  })

  it('slow a fast sender down to its reader', async () => {
    const guest = await tunnel(`raw.test:${portOf(raw)}`)
    const [outside] = rawSockets as [Socket]
    guest.pause()
    const chunk = Buffer.alloc(1 << 20)
    let sent = 0
    const pump = (): void => {
      while (sent < 200 && outside.write(chunk)) sent++
    }
    outside.on('drain', pump)
    pump()
    await sleep(400)
    assert.ok(sent < 100, `${sent} MiB were taken for a reader that reads nothing`)
    guest.destroy()
    outside.destroy()
  })

  it('close everything when the sandbox ends in the middle, and tell of it', async () => {
    const guest = await tunnel(`raw.test:${portOf(raw)}`)
    const [outside] = rawSockets as [Socket]
    outside.resume()
    const pending = say(`GET http://web.test:${portOf(web)}/slow HTTP/1.1\r\n\r\n`)
    await sleep(100)
    const closed = Promise.all([once(guest, 'close'), once(outside, 'end')])
    open.close()
    await closed
    await pending
    assert.ok(
      (await recorded(2)).every(({ reason }) => reason === 'the function broke it off'),
      JSON.stringify(records),
    )
    await assert.rejects(once(connect({ port: proxyPort, host: '127.0.0.1' }), 'connect'), /ECONNREFUSED/)
  })

  it('take the other end’s sudden death for what it is', async () => {
    const guest = await tunnel(`raw.test:${portOf(raw)}`)
    rawSockets[0]!.resetAndDestroy()
    await once(guest, 'close')
    assert.equal((await recorded(1))[0]!.reason, 'the target broke it off')
  })

  it('lead a named service to where the operator mapped it, and nowhere else', async () => {
    const guest = connect({ port: servicePort, host: '127.0.0.1' })
    guest.write('PING')
    while (rawSockets.length === 0) await sleep(5)
    const [outside] = rawSockets as [Socket]
    const [got] = (await once(outside, 'data')) as [Buffer]
    assert.equal(got.toString(), 'PING')
    const answer = once(guest, 'data')
    outside.end('PONG')
    assert.equal(((await answer) as [Buffer])[0].toString(), 'PONG')
    guest.end()
    const [record] = await recorded(1)
    assert.deepEqual(
      [record!.door, record!.target, record!.address, record!.verdict, record!.sentBytes, record!.receivedBytes],
      ['service', 'raw.internal:7000', '127.0.0.1', 'allowed', 4, 4],
    )
  })

  it('tell of a connection that lasts before it is over', async () => {
    const guest = await tunnel(`raw.test:${portOf(raw)}`)
    const [first] = await recorded(1)
    assert.deepEqual([first!.verdict, first!.totalMs], ['allowed', null])
    guest.destroy()
    rawSockets[0]!.destroy()
    const [, second] = await recorded(2)
    assert.equal(second!.id, first!.id)
    assert.ok(second!.totalMs! > 0)
  })

  it('turn away more connections at once than a sandbox may have', async () => {
    const sockets = Array.from({ length: limits.egressConnectionsPerSandboxMax }, () => connect({ port: servicePort, host: '127.0.0.1' }).on('error', () => {}))
    while (rawSockets.length < sockets.length) await sleep(10)
    assert.match(await say('CONNECT web.test:80 HTTP/1.1\r\n\r\n'), /429 .*egress_busy/s)
    for (const socket of [...sockets, ...rawSockets]) socket.destroy()
    await sleep(100)
    assert.match(await say(`GET http://web.test:${portOf(web)}/ HTTP/1.1\r\nConnection: close\r\n\r\n`), /200 OK/, 'room again')
  })

  it('have a sandbox ended that opens connections without end, and record no more of it than is useful', async (t) => {
    // However slow the machine, to the doors it all happens within a second.
    const nowMs = performance.now()
    t.mock.method(performance, 'now', () => nowMs)
    let opened = 0
    while (floods === 0 && opened < 2 * limits.egressConnectionsPerSecondMax) {
      const batch = Array.from({ length: 200 }, () => {
        const socket = connect({ port: proxyPort, host: '127.0.0.1' }).on('error', () => {})
        socket.on('connect', () => socket.write('CONNECT nowhere.test:1 HTTP/1.1\r\n\r\n'))
        return socket
      })
      opened += batch.length
      await Promise.all(batch.map((socket) => Promise.race([once(socket, 'connect'), once(socket, 'close')]).catch(() => {})))
      for (const socket of batch) socket.destroy()
    }
    assert.equal(floods, 1, `${opened} connections`)
    assert.ok(records.length <= 10 * limits.egressRecordsPerSecondMax, String(records.length))
    await assert.rejects(once(connect({ port: proxyPort, host: '127.0.0.1' }), 'connect'), /ECONNREFUSED/)
  })

  it('do not wait for a head for ever, nor for one that trickles in', { timeout: 30_000 }, async () => {
    const started = performance.now()
    const socket = connect({ port: proxyPort, host: '127.0.0.1' }).on('error', () => {})
    const trickle = setInterval(() => socket.write('a'), 200)
    socket.write('GET http://')
    await once(socket, 'close')
    clearInterval(trickle)
    const tookMs = performance.now() - started
    assert.ok(tookMs > limits.egressHeadTimeoutMs - 500 && tookMs < limits.egressHeadTimeoutMs + 5_000, String(tookMs))
  })
})
