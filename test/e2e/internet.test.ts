/** The gateway towards the open internet: real servers, real sandboxes, clients as people have them. */
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { promisify } from 'node:util'
import { WebSocket } from 'ws'

import { deploy, eventually, invocationRecord, logsOf } from '../lib/functions.ts'
import { projectRoot, removeData, startServer, type TestServer } from '../lib/server.ts'

const run = promisify(execFile)

const chat = `
let open = 0
export default {
  fetch(request, env, ctx) {
    const { pathname } = new URL(request.url)
    if (pathname === '/open') return Response.json(open)
    if (request.headers.get('upgrade') !== 'websocket') return new Response('a WebSocket, please', { status: 426 })
    if (pathname === '/no') return new Response('not you', { status: 403 })
    const { socket, response } = ctx.upgradeWebSocket(request, { protocol: pathname === '/chat' ? 'chat' : '' })
    if (pathname === '/forgets') return new Response('never mind')
    socket.binaryType = 'arraybuffer'
    socket.onopen = () => { open++; console.log('open', socket.url) }
    socket.onclose = (event) => { open--; console.log('close', event.code, event.reason, event.wasClean) }
    socket.onmessage = ({ data }) => {
      if (data === 'close') socket.close(3001, 'as you wish')
      else if (data === 'many') for (let i = 0; i < 100; i++) socket.send(String(i))
      else socket.send(typeof data === 'string' ? data.toUpperCase() : data)
    }
    response.headers.set('x-by', 'chat')
    return response
  },
}
`

describe('a WebSocket', { timeout: 60_000 }, () => {
  let server: TestServer
  let url: string

  before(async () => {
    server = await startServer()
    url = `ws://127.0.0.1:${server.gatewayPort}/default/chat`
    await deploy(server, 'chat', { 'index.mjs': chat }, { timeoutMs: 1_000 })
  })
  after(async () => {
    await server.stop()
    removeData(server.dataDir)
  })

  const dial = async (path = '/', protocols: string[] = []): Promise<WebSocket> => {
    const socket = new WebSocket(url + path, protocols)
    await once(socket, 'open')
    return socket
  }
  const next = async (socket: WebSocket): Promise<unknown> => {
    const [data, isBinary] = (await once(socket, 'message')) as [Buffer, boolean]
    return isBinary ? data : data.toString()
  }

  it('speaks text and bytes, small and large, in order, and goes on after the timeout of a request', async () => {
    const socket = await dial('/chat', ['other', 'chat'])
    assert.equal(socket.protocol, 'chat')
    socket.send('hällo')
    assert.equal(await next(socket), 'HÄLLO')
    const large = Buffer.alloc(2_000_000, 7)
    socket.send(large)
    assert.ok(large.equals((await next(socket)) as Buffer))
    socket.send('in ', { fin: false })
    socket.send('parts', { fin: true })
    assert.equal(await next(socket), 'IN PARTS')
    const numbers: string[] = []
    const done = new Promise<void>((resolve) =>
      socket.on('message', (data: Buffer) => {
        if (numbers.push(data.toString()) === 100) resolve()
      }),
    )
    await new Promise((resolve) => setTimeout(resolve, 1_200))
    socket.send('many')
    await done
    assert.deepEqual(numbers, [...new Array(100).keys()].map(String))
    socket.ping()
    await once(socket, 'pong')
    socket.close(1000, 'done')
    const [code] = (await once(socket, 'close')) as [number]
    assert.equal(code, 1000)
    await logsOf(server, 'chat', (lines) => lines.some(({ text }) => text === 'close 1000 done true'))
  })

  it('is closed by the function with its code and reason', async () => {
    const socket = await dial()
    socket.send('close')
    const [code, reason] = (await once(socket, 'close')) as [number, Buffer]
    assert.deepEqual([code, reason.toString()], [3001, 'as you wish'])
  })

  it('whose client breaks the rules is told so and closed', async () => {
    const socket = await dial()
    // A frame without a mask, which no client may send.
    ;(socket as unknown as { _socket: { write(bytes: Buffer): void } })._socket.write(Buffer.from([0x81, 0x01, 0x61]))
    const [code] = (await once(socket, 'close')) as [number]
    assert.equal(code, 1002)
  })

  it('that is refused gets the ordinary answer, and so does one whose answer is forgotten', async () => {
    for (const [path, status] of [
      ['/no', 403],
      ['/forgets', 200],
    ] as const) {
      const socket = new WebSocket(url + path)
      socket.on('error', () => {})
      const [, response] = (await once(socket, 'unexpected-response')) as [unknown, { statusCode: number; headers: Record<string, string> }]
      assert.equal(response.statusCode, status)
      assert.equal((await invocationRecord(server, response.headers['hostel-invocation']!)).outcome, 'ok')
    }
  })

  it('to a runtime that accepts none says so', async () => {
    const app = `def app(environ, start_response):
    body = environ['wsgi.input'].read()
    start_response('418 Teapot', [('content-type', 'text/plain')])
    return [str(len(body)).encode()]
`
    await deploy(server, 'wsgi', { 'main.py': app }, { runtime: 'python3', handler: 'main.py:app' })
    const socket = new WebSocket(url.replace('/chat', '/wsgi'))
    socket.on('error', () => {})
    const [, response] = (await once(socket, 'unexpected-response')) as [unknown, IncomingMessage]
    assert.equal(response.statusCode, 501)
  })

  it('is closed as going away when the server stops, and counted out when its client is cut off', async () => {
    const cut = await dial()
    const kept = await dial()
    cut.terminate()
    await logsOf(server, 'chat', (lines) => lines.some(({ text }) => text.startsWith('close 1006')))
    assert.equal(await (await fetch(`${server.gateway}/default/chat/open`)).text(), '1')
    const closed = once(kept, 'close') as Promise<[number]>
    const stopped = server.stop()
    const [code] = await closed
    assert.equal(code, 1001)
    assert.equal((await stopped).code, 0)
  })
})

const shows = `
export default {
  fetch(request) {
    return Response.json({ url: request.url, client: request.headers.get('x-forwarded-for'), trace: request.headers.get('traceparent') })
  },
}
`

describe('a server with certificates, an access log and a proxy in front', { timeout: 60_000 }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'hostel-internet-'))
  const [certificate, key, log] = ['c.pem', 'k.pem', 'access.log'].map((name) => join(directory, name)) as [string, string, string]
  let server: TestServer
  let secure = ''
  let nginx: ChildProcess | undefined

  const makeCertificate = async (name: string): Promise<void> => {
    const what = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=${name} -addext subjectAltName=DNS:${name}`
    await run('openssl', [...what.split(' '), '-keyout', key, '-out', certificate])
  }
  const curl = async (...args: string[]): Promise<string> => (await run('curl', ['-sSk', ...args])).stdout

  before(async () => {
    await makeCertificate('one.test')
    const port = await freePort()
    secure = `https://127.0.0.1:${port}`
    const edge = ['--gateway-tls', `127.0.0.1:${port}`, '--tls-cert', certificate, '--tls-key', key]
    server = await startServer({ args: [...edge, '--trusted-proxies', '127.0.0.1', '--access-log', log, '--access-log-format', 'json'] })
    await deploy(server, 'shows', { 'index.mjs': shows })
  })
  after(async () => {
    nginx?.kill()
    await server.stop()
    removeData(server.dataDir)
    rmSync(directory, { recursive: true })
  })

  it('speaks HTTP/2 and HTTP/1.1 over TLS', async () => {
    for (const version of ['--http2', '--http1.1']) {
      const seen = JSON.parse(await curl(version, `${secure}/default/shows/a`)) as { url: string }
      assert.equal(seen.url, `${secure}/a`)
    }
  })

  it('takes certificates that have been replaced, on SIGHUP', async () => {
    await makeCertificate('two.test')
    server.child.kill('SIGHUP')
    await eventually(async () => {
      const { stderr } = await run('curl', ['-skv', '-o', '/dev/null', `${secure}/default/shows`])
      assert.match(stderr, /subject: CN=two\.test/)
    })
  })

  it('believes the nginx in front of it, and tells it from its client', { skip: !existsSync('/usr/sbin/nginx') && 'nginx is not installed' }, async () => {
    const port = await freePort()
    const conf = readFileSync(join(projectRoot, 'docs/how-to/behind-a-proxy.md'), 'utf8')
    const block = /```nginx\n([^]*?)```/
      .exec(conf)![1]!
      .replaceAll('127.0.0.1:8080', `127.0.0.1:${server.gatewayPort}`)
      .replace(/listen 443[^;]*;/, `listen 127.0.0.1:${port};`)
    const http = block.replaceAll(/^\s*ssl_certificate.*$/gm, '').replace(/server_name [^;]*;/, 'server_name _;')
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((what) => `${what}_temp_path ${directory}/${what};`).join('\n')
    writeFileSync(
      join(directory, 'nginx.conf'),
      `daemon off; master_process off; pid ${directory}/nginx.pid; error_log ${directory}/error.log;\nevents {}\nhttp {\naccess_log off;\n${temporary}\n${http}\n}`,
    )
    nginx = spawn('/usr/sbin/nginx', ['-c', join(directory, 'nginx.conf')], { stdio: 'inherit' })
    const trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    await eventually(async () => {
      const response = await fetch(`http://127.0.0.1:${port}/a`, { headers: { traceparent: trace, 'x-forwarded-for': '203.0.113.7' } })
      assert.equal(response.status, 404)
    })
    const answer = await curl(
      '-H',
      'Host: shows.default.localhost',
      '-H',
      `traceparent: ${trace}`,
      '-H',
      'X-Forwarded-For: 203.0.113.7',
      `http://127.0.0.1:${port}/a`,
    )
    // Loopback is trusted here, the client's too, so that its claim counts.
    assert.deepEqual(JSON.parse(answer), { url: 'http://shows.default.localhost/a', client: '203.0.113.7', trace })
  })

  it('has a line for each call in its access log', async () => {
    await eventually(() => {
      const entries = readFileSync(log, 'utf8')
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as { target: string; protocol: string; status: number })
      assert.ok(entries.some(({ target, protocol, status }) => target === '/default/shows/a' && protocol === 'HTTP/2.0' && status === 200))
    })
  })
})

async function freePort(): Promise<number> {
  const listener = createServer().listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const { port } = listener.address() as AddressInfo
  await new Promise((resolve) => listener.close(resolve))
  return port
}
