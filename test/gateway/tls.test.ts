/** TLS, its certificates, and HTTP/2, against real clients; certificates are made by openssl. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect as connectHttp2, constants } from 'node:http2'
import type { ClientHttp2Session, ClientHttp2Stream, IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { connect as connectTls } from 'node:tls'
import type { TLSSocket } from 'node:tls'
import { promisify } from 'node:util'
import { WebSocket } from 'ws'

import type { CertificatePair } from '../../src/keeper/messages.ts'
import { createTlsListener } from '../../src/gateway/tls.ts'
import type { TlsListener } from '../../src/gateway/tls.ts'
import { limits } from '../../src/limits.ts'
import { frameFlags } from '../../src/sandbox/protocol.ts'
import { createLogger } from '../../src/telemetry/logger.ts'
import { startGateway } from './lib/harness.ts'
import type { TestGateway } from './lib/harness.ts'
import type { GuestHandler } from './lib/guest.ts'

const run = promisify(execFile)
const LAST = frameFlags.END | frameFlags.SETTLED
const directory = mkdtempSync(join(tmpdir(), 'hostel-tls-'))

async function makeCertificate(name: string, ...others: string[]): Promise<CertificatePair> {
  const file = join(directory, name.replace('*', 'any'))
  const names = [name, ...others].map((one) => `DNS:${one}`).join(',')
  await run(
    'openssl',
    `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=hostel -addext subjectAltName=${names} -keyout ${file}.key -out ${file}.pem`.split(
      ' ',
    ),
  )
  return { certificate: readFileSync(`${file}.pem`, 'utf8'), key: readFileSync(`${file}.key`, 'utf8') }
}

interface TlsGateway {
  gateway: TestGateway
  tls: TlsListener
  port: number
  [Symbol.asyncDispose](): Promise<void>
}

async function startTls(handler: GuestHandler, pairs: CertificatePair[]): Promise<TlsGateway> {
  const gateway = await startGateway(handler)
  const tls = createTlsListener(gateway.edge, createLogger('test'))
  tls.replace(pairs)
  await new Promise<void>((resolve) => tls.server.listen(0, '127.0.0.1', resolve))
  return {
    gateway,
    tls,
    port: (tls.server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      tls.server.close()
      await gateway[Symbol.asyncDispose]()
    },
  }
}

async function handshake(port: number, servername: string, protocols = ['http/1.1']): Promise<TLSSocket> {
  const socket = connectTls({ port, host: '127.0.0.1', servername, ALPNProtocols: protocols, rejectUnauthorized: false })
  socket.on('error', () => {})
  await once(socket, 'secureConnect')
  return socket
}

const nameOf = (socket: TLSSocket): string => socket.getPeerCertificate().subjectaltname ?? ''

/** Answers with what the function was shown. */
const mirror: GuestHandler = async (request, answer) => {
  let body = ''
  for await (const chunk of request.body()) body += chunk.toString()
  answer.head(200, ['content-type', 'application/json', 'set-cookie', 'a=1', 'set-cookie', 'b=2'])
  await answer.body(JSON.stringify({ method: request.method, url: request.url, headers: request.headers, body }), LAST)
}

let one: CertificatePair
let two: CertificatePair
let any: CertificatePair
before(async () => {
  ;[one, two, any] = await Promise.all([makeCertificate('one.test'), makeCertificate('two.test', 'zwei.test'), makeCertificate('*.any.test')])
})
after(() => rmSync(directory, { recursive: true }))

describe('TLS', { timeout: 30_000 }, () => {
  it('shows the certificate for the name that is asked for, and the first to all others', async () => {
    await using server = await startTls(mirror, [one, two, any])
    for (const [name, expected] of [
      ['one.test', 'DNS:one.test'],
      ['ZWEI.test', 'DNS:two.test, DNS:zwei.test'],
      ['a.any.test', 'DNS:*.any.test'],
      ['a.b.any.test', 'DNS:one.test'],
      ['any.test', 'DNS:one.test'],
      ['other.test', 'DNS:one.test'],
      ['', 'DNS:one.test'],
    ] as const) {
      const socket = await handshake(server.port, name)
      assert.equal(nameOf(socket), expected, name)
      socket.destroy()
    }
  })

  it('takes new certificates without dropping a connection, and keeps the old when the new are of no use', async () => {
    await using server = await startTls(mirror, [one])
    const socket = await handshake(server.port, 'one.test')
    server.tls.replace([two])
    const later = await handshake(server.port, 'one.test')
    assert.equal(nameOf(later), 'DNS:two.test, DNS:zwei.test')
    later.destroy()
    assert.throws(() => server.tls.replace([{ certificate: one.certificate, key: two.key }]))
    const last = await handshake(server.port, '')
    assert.equal(nameOf(last), 'DNS:two.test, DNS:zwei.test')
    last.destroy()
    socket.write('GET /default/hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
    assert.match(String((await once(socket, 'data'))[0]), /^HTTP\/1\.1 200 OK/)
  })

  it('carries HTTP/1.1, whose function sees an https URL, and WebSockets', async () => {
    await using server = await startTls(
      (request, answer) => {
        if (!request.meta.upgrade) return mirror(request, answer)
        answer.head(101)
        return answer.body(Buffer.from([0x81, 2, 0x68, 0x69]))
      },
      [one],
    )
    const { stdout } = await run('curl', ['-sSk', '--http1.1', `https://127.0.0.1:${server.port}/default/hello/a`])
    const seen = JSON.parse(stdout) as { url: string; headers: string[] }
    assert.equal(seen.url, `https://127.0.0.1:${server.port}/a`)
    assert.equal(seen.headers[seen.headers.indexOf('x-forwarded-proto') + 1], 'https')
    const socket = new WebSocket(`wss://127.0.0.1:${server.port}/default/hello`, { rejectUnauthorized: false })
    assert.equal(String((await once(socket, 'message'))[0]), 'hi')
    socket.terminate()
  })

  it('ends what is no TLS, and lives', async () => {
    await using server = await startTls(mirror, [one])
    await assert.rejects(fetch(`http://127.0.0.1:${server.port}/`))
    ;(await handshake(server.port, 'one.test')).destroy()
  })
})

describe('HTTP/2', { timeout: 30_000 }, () => {
  let server: TlsGateway
  let session: ClientHttp2Session
  let seenReset = ''

  const handler: GuestHandler = async (request, answer) => {
    const path = new URL(request.url).pathname
    if (path === '/wait') {
      seenReset = await request.cancelled
      return
    }
    if (path === '/early') {
      answer.head(200)
      await answer.body('early', LAST)
      return
    }
    if (path === '/broken') {
      answer.head(200)
      await answer.body('half')
      await new Promise((resolve) => setTimeout(resolve, 50))
      answer.error({ kind: 'handler', name: 'Error', message: 'no' })
      return
    }
    if (path === '/large') {
      answer.head(200)
      for (let i = 0; i < 160; i++) await answer.body(Buffer.alloc(64 * 1024))
      await answer.body('', LAST)
      return
    }
    await mirror(request, answer)
  }

  before(async () => {
    server = await startTls(handler, [one])
    session = connectHttp2(`https://127.0.0.1:${server.port}`, { rejectUnauthorized: false })
    await once(session, 'connect')
  })
  after(async () => {
    session.destroy()
    await server[Symbol.asyncDispose]()
  })

  async function call(
    headers: OutgoingHttpHeaders,
    body?: Buffer,
  ): Promise<{ status: number; headers: IncomingHttpHeaders; text: string; reset: number | undefined }> {
    const stream: ClientHttp2Stream = session.request({ ':authority': 'localhost', ...headers }, { endStream: body === undefined })
    let text = ''
    let answered: IncomingHttpHeaders & { ':status'?: number } = {}
    stream.on('response', (received) => (answered = received))
    stream.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')))
    stream.on('error', () => {})
    if (body) stream.end(body)
    await new Promise((resolve) => stream.once('close', resolve))
    return { status: Number(answered[':status']), headers: answered, text, reset: stream.rstCode }
  }

  it('calls functions, with bodies both ways and fields as they should be', async () => {
    const { status, headers, text } = await call(
      { ':method': 'POST', ':path': '/default/hello/a?b=1', cookie: ['a=1', 'b=2'], 'x-test': 'yes' },
      Buffer.alloc(1_000_000, 'x'),
    )
    const seen = JSON.parse(text) as { method: string; url: string; headers: string[]; body: string }
    const field = (name: string): string[] => seen.headers.filter((_value, index) => index % 2 === 1 && seen.headers[index - 1] === name)
    assert.equal(status, 200)
    assert.deepEqual([seen.method, seen.url, seen.body.length], ['POST', 'https://localhost/a?b=1', 1_000_000])
    assert.deepEqual([field('cookie'), field('x-test'), field('host')], [['a=1; b=2'], ['yes'], ['localhost']])
    assert.ok(!seen.headers.some((value) => value.startsWith(':')))
    assert.deepEqual(headers['set-cookie'], ['a=1', 'b=2'])
    assert.match(String(headers['hostel-invocation']), /^[0-9a-f-]{36}$/)
  })

  it('is what curl speaks by itself', async () => {
    const { stdout } = await run('curl', ['-sSk', '-w', '%{http_version} %{http_code}', '-o', '/dev/null', `https://127.0.0.1:${server.port}/default/hello`])
    assert.equal(stdout, '2 200')
  })

  it('has many calls at once on one connection', async () => {
    const answers = await Promise.all([...new Array(limits.http2StreamsMax).keys()].map((i) => call({ ':path': `/default/hello/${i}` })))
    assert.deepEqual(
      answers.map(({ text }) => (JSON.parse(text) as { url: string }).url),
      answers.map((_answer, i) => `https://localhost/${i}`),
    )
  })

  it('refuses with problems, as HTTP/1.1 does', async () => {
    assert.deepEqual(
      await Promise.all([
        call({ ':path': '/default/other' }).then(({ status, text }) => [status, (JSON.parse(text) as { code: string }).code]),
        call({ ':path': '/default/hello', ':authority': 'localhost:99999' }).then(({ status }) => status),
        call({ ':path': '/default/hello', host: 'other' }).then(({ status }) => status),
        call({ ':path': '/default/hello', ':method': 'TRACE' }).then(({ status }) => status),
      ]),
      [[404, 'unknown_function'], 400, 400, 501],
    )
  })

  it('tells the function when a stream is reset, and the client when an answer breaks off', async () => {
    const before = server.gateway.records.length
    const stream = session.request({ ':path': '/default/hello/wait', ':authority': 'localhost' })
    stream.on('error', () => {})
    await new Promise((resolve) => setTimeout(resolve, 100))
    stream.close(constants.NGHTTP2_CANCEL)
    await server.gateway.recorded(before + 1)
    assert.equal(seenReset, 'disconnect')
    assert.equal(server.gateway.records.at(-1)!.status, 499)
    const { text, reset } = await call({ ':path': '/default/hello/broken' })
    assert.deepEqual([text, reset], ['half', constants.NGHTTP2_INTERNAL_ERROR])
  })

  it('answers before the end of a body, and sends large answers at the pace of the reader', async () => {
    const stream = session.request({ ':method': 'POST', ':path': '/default/hello/early', ':authority': 'localhost' }, { endStream: false })
    stream.on('error', () => {})
    stream.write('never ends')
    let text = ''
    for await (const chunk of stream) text += String(chunk)
    assert.equal(text, 'early')
    assert.equal((await call({ ':path': '/default/hello/large' })).text.length, 160 * 64 * 1024)
  })

  it('ends a session that resets streams as fast as it opens them', async () => {
    const connections = promisify(server.tls.server.getConnections.bind(server.tls.server))
    const before = server.gateway.records.length
    const others = await connections()
    const attacker = connectHttp2(`https://127.0.0.1:${server.port}`, { rejectUnauthorized: false })
    attacker.on('error', () => {})
    await once(attacker, 'connect')
    for (let round = 0; round < 500; round++) {
      for (let i = 0; i < 20 && !attacker.destroyed && !attacker.closed; i++) {
        const stream = attacker.request({ ':path': '/default/hello/wait', ':authority': 'localhost' })
        stream.on('error', () => {})
        stream.close(constants.NGHTTP2_CANCEL)
      }
      await new Promise((resolve) => setTimeout(resolve, 10))
      // As the server sees it: the client's own end may be slow to notice.
      if (round > 10 && (await connections()) === others) break
    }
    assert.equal(await connections(), others)
    attacker.destroy()
    const calls = server.gateway.records.length - before
    assert.ok(calls < 2 * limits.http2ResetsBurst, `${calls} streams were taken`)
    assert.equal((await call({ ':path': '/default/hello' })).status, 200)
  })

  it('sends its clients away when the server stops, once their streams are over', async () => {
    await using stopping = await startTls(handler, [one])
    const client = connectHttp2(`https://127.0.0.1:${stopping.port}`, { rejectUnauthorized: false })
    await once(client, 'connect')
    stopping.gateway.drain()
    await once(client, 'close')
  })
})
