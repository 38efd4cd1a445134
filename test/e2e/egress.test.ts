/** Doors, end to end: real sandboxes, unmodified clients, real databases, a name server of our own, and guests that mean harm. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { packDirectory } from '../../src/cli/pack.ts'
import { ApiError, createControlClient, type EgressAttempts, type NewVersion } from '../../src/client/control.ts'
import { limits } from '../../src/limits.ts'
import { callEvent, deploy, eventually, logsOf } from '../lib/functions.ts'
import { commandLine, tree } from '../lib/processes.ts'
import { removeData, startServer, type TestServer } from '../lib/server.ts'
import { run } from '../cli/run.ts'
import { nodeFunction, pythonFunction } from './egress/clients.ts'
import { type Database, type Dns, type Web, makeCertificate, startDns, startPostgres, startRedis, startWeb } from './egress/outside.ts'

const AUTHORITIES = '/etc/ssl/certs/ca-certificates.crt'

/** Takes an event `{ what, … }` and does what a hostile guest would. */
const hostile = `
import hashlib, os, socket, time, urllib.request

def raw(data, port=3128, wait=5):
    try:
        s = socket.create_connection(('127.0.0.1', port), timeout=wait)
        s.sendall(data.encode('latin1'))
        out = b''
        while True:
            chunk = s.recv(65536)
            if not chunk: break
            out += chunk
        return out.decode('latin1')
    except Exception as error:
        return f'failed: {error}'

def handler(event, context):
    what = event['what']
    if what == 'raw':
        return raw(event['data'])
    if what == 'look':
        return {'authorities': hashlib.sha256(open(os.environ['SSL_CERT_FILE'], 'rb').read()).hexdigest(), 'proxy': os.environ.get('HTTP_PROXY'), 'hosts': open('/etc/hosts').read(), 'direct': raw('x', event.get('port', 3128))}
    if what == 'write':
        try:
            open('/etc/hosts', 'a').write('127.0.0.1 evil')
            return 'written'
        except OSError as error:
            return error.strerror
    if what == 'flood':
        opened = 0
        for _ in range(10_000):
            try:
                socket.create_connection(('127.0.0.1', 3128), timeout=1).close()
                opened += 1
            except OSError:
                pass
        return opened
    if what == 'hold':
        held = []
        for _ in range(600):
            try:
                held.append(socket.create_connection(('127.0.0.1', 3128), timeout=1))
            except OSError:
                break
        time.sleep(0.5)
        alive = 0
        for s in held:
            s.setblocking(False)
            try:
                s.recv(1)
            except BlockingIOError:
                alive += 1
            except OSError:
                pass
        return alive
    if what == 'die':
        response = urllib.request.urlopen(event['url'])
        response.read(1000)
        os._exit(3)
`

describe('egress', () => {
  let home: string
  let server: TestServer
  let dns: Dns
  let web: Web
  let databases: Database[]
  let endless: Set<object>
  let urls: string[]

  before(async () => {
    home = mkdtempSync(join(tmpdir(), 'hostel-egress-'))
    // PostgreSQL will not run as root, and must reach its files.
    chmodSync(home, 0o711)
    const tls = await makeCertificate(home)
    endless = new Set()
    web = await startWeb(tls, (request, response) => {
      if (request.url !== '/endless') return void response.end(`hello from ${request.headers.host}${request.url}`)
      endless.add(response)
      response.once('close', () => endless.delete(response))
      const more = (): void => {
        while (response.write(Buffer.alloc(65_536)));
      }
      response.on('drain', more)
      more()
    })
    dns = await startDns()
    mkdirSync(join(home, 'redis'))
    databases = []
    const redis = await startRedis(join(home, 'redis'))
    databases.push(redis)
    const postgres = await startPostgres(home)
    databases.push(postgres)
    dns.records = {
      'web.egress.test': [['127.0.0.1']],
      'a.b.egress.test': [['127.0.0.1']],
      'own.egress.test': [['127.0.0.1']],
      'cloud.egress.test': [['169.254.169.254']],
      'mixed.egress.test': [['10.0.0.9', '127.0.0.1']],
      'flip.egress.test': [['127.0.0.1'], ['10.0.0.9']],
    }
    server = await startServer({
      args: [
        `--egress-dns=${dns.address}`,
        '--egress-allow=127.0.0.1/32',
        `--service=redis.internal:6379=127.0.0.1:${redis.port}`,
        `--service=postgres.internal:5432=localhost:${postgres.port}`,
      ],
    })
    urls = [`http://web.egress.test:${web.httpPort}/plain?q=1`, `https://web.egress.test:${web.httpsPort}/secret`]
    const listed = [`web.egress.test:${web.httpPort}`, `web.egress.test:${web.httpsPort}`]
    const services = ['redis.internal:6379', 'postgres.internal:5432']
    const [node, python] = await Promise.all([
      nodeFunction(join(home, 'node'), join(home, 'ca.pem')),
      pythonFunction(join(home, 'python'), join(home, 'ca.pem')),
    ])
    await deployDirectory('node', node, { egress: listed, services })
    const trust = { REQUESTS_CA_BUNDLE: '/code/ca.pem', SSL_CERT_FILE: '/code/ca.pem' }
    await deployDirectory('python', python, { egress: listed, services, env: trust, runtime: 'python3' })
    const apiPort = new URL(server.api).port
    const traps = ['own', 'cloud', 'mixed', 'flip'].map((name) => `${name}.egress.test:${web.httpPort}`)
    await deploy(
      server,
      'hostile',
      { 'main.py': hostile },
      { egress: [...listed, ...traps, `own.egress.test:${apiPort}`, `*.b.egress.test:${web.httpPort}`, `127.0.0.1:${apiPort}`] },
    )
    await deploy(server, 'closed', { 'main.py': hostile })
  })

  after(async () => {
    await server?.stop()
    await Promise.all((databases ?? []).map((database) => database.stop()))
    web?.close()
    dns?.close()
    if (server) removeData(server.dataDir)
    rmSync(home, { recursive: true, force: true })
  })

  async function deployDirectory(name: string, directory: string, options: Omit<NewVersion, 'code'>): Promise<void> {
    const client = createControlClient(server)
    const { archive } = await packDirectory(directory, { level: 1 })
    const { digest } = await client.uploadCode('default', archive)
    await client.createVersion('default', name, { code: digest, ...options })
  }

  const raw = (data: string): Promise<string> => callEvent(server, 'hostile', { what: 'raw', data })

  /** The newest attempts, once `enough` says so. */
  async function attempts(name: string, enough: (found: EgressAttempts['attempts']) => boolean): Promise<EgressAttempts['attempts']> {
    return eventually(async () => {
      const found = (await createControlClient(server).egress('default', name, { limit: 1_000 })).attempts
      assert.ok(enough(found), JSON.stringify(found.slice(0, 5)))
      return found
    })
  }

  const expected = (names: string[]): Record<string, string> =>
    Object.fromEntries(
      names.flatMap((name) =>
        urls.map((url) => [`${name} ${new URL(url).protocol}`, `hello from ${new URL(url).host}${url.slice(new URL(url).origin.length)}`]),
      ),
    )

  it('lets Node’s fetch, http, npm’s undici and axios through to what is listed, and to nothing else', async () => {
    const { calls, ...answers } = await callEvent<Record<string, string>>(server, 'node', { urls })
    assert.ok(Number(calls) > 0)
    assert.deepEqual(answers, expected(['undici', 'undiciFetch', 'fetch', 'http', 'axios']))
    const refused = await callEvent<Record<string, string>>(server, 'node', { urls: ['https://elsewhere.egress.test/'] })
    delete refused['calls']
    for (const [client, text] of Object.entries(refused)) assert.match(text, /^failed: /, client)
    assert.match(refused['fetch https:']!, /may not go there/)
    assert.ok(!dns.asked.includes('elsewhere.egress.test'), 'a name that is not listed is not looked up')
    const lines = await logsOf(server, 'node', (all) => all.some(({ level }) => level === 'system'))
    assert.ok(lines.some(({ level, text }) => level === 'system' && /elsewhere\.egress\.test:443 refused: it is not on/.test(text)))
  })

  it('lets Python’s urllib, requests, httpx, and curl through likewise', async () => {
    assert.deepEqual(await callEvent(server, 'python', { urls }), expected(['urllib', 'requests', 'httpx', 'curl']))
    const refused = await callEvent<Record<string, string>>(server, 'python', { urls: ['http://elsewhere.egress.test/'] })
    assert.match(refused['curl http:']!, /egress_refused.*elsewhere\.egress\.test:80/)
    assert.match(refused['urllib http:']!, /403/)
  })

  it('leads named services to PostgreSQL and Redis, for unmodified clients', async () => {
    const wish = { redis: true, postgres: true }
    const node = await callEvent<Record<string, unknown>>(server, 'node', wish)
    assert.deepEqual([node['redis'], node['postgres']], ['in redis', 42])
    assert.deepEqual(await callEvent(server, 'python', wish), { redis: 'in redis', postgres: 42 })
    const found = await attempts('python', (all) => all.filter(({ door, totalMs }) => door === 'service' && totalMs !== null).length >= 2)
    const service = found.find(({ target }) => target === 'postgres.internal:5432')!
    assert.deepEqual([service.verdict, service.address === '127.0.0.1' || service.address === '::1'], ['allowed', true])
    assert.ok(service.sentBytes > 0 && service.receivedBytes > 0)
  })

  it('keeps a version without doors without any', async () => {
    const seen = await callEvent<{ proxy: null; hosts: string; direct: string; authorities: string }>(server, 'closed', { what: 'look' })
    assert.deepEqual([seen.proxy, seen.hosts], [null, '127.0.0.1\tlocalhost\n::1\tlocalhost\n'])
    assert.match(seen.direct, /refused/)
    const trusted = existsSync(AUTHORITIES) ? createHash('sha256').update(readFileSync(AUTHORITIES)).digest('hex') : seen.authorities
    assert.equal(seen.authorities, trusted, 'it trusts whom this machine trusts')
    const open = await callEvent<{ proxy: string; hosts: string }>(server, 'hostile', { what: 'look' })
    assert.equal(open.proxy, 'http://127.0.0.1:3128')
    assert.match(await callEvent<string>(server, 'hostile', { what: 'write' }), /Read-only|Permission/)
  })

  it('refuses listed names that lead to metadata, private addresses or the server itself, and connects to what it checked', async () => {
    const port = web.httpPort
    const apiPort = new URL(server.api).port
    assert.match(await raw(`CONNECT cloud.egress.test:${port} HTTP/1.1\r\n\r\n`), /403.*169\.254\.169\.254: a metadata/s)
    assert.match(await raw(`CONNECT own.egress.test:${apiPort} HTTP/1.1\r\n\r\n`), /403.*own port/s)
    assert.match(await raw(`CONNECT 127.0.0.1:${apiPort} HTTP/1.1\r\n\r\n`), /403.*own port/s)
    const get = (name: string): string => `GET http://${name}:${port}/x HTTP/1.1\r\nConnection: close\r\n\r\n`
    assert.match(await raw(get('mixed.egress.test')), /200 OK.*hello/s, 'the one address of two that may be')
    assert.match(await raw(get('flip.egress.test')), /200 OK.*hello/s)
    assert.match(await raw(get('flip.egress.test')), /403.*10\.0\.0\.9: a private/s, 'rebound')
    assert.match(await raw(get('a.b.egress.test')), /200 OK/)
    assert.match(
      await raw(`GET http://web.egress.test:${port}/x HTTP/1.1\r\nHost: cloud.egress.test\r\nConnection: close\r\n\r\n`),
      new RegExp(`hello from web\\.egress\\.test:${port}/x`),
    )
  })

  it('holds against a guest that opens connections without end, and serves others meanwhile', async () => {
    const [held, others] = await Promise.all([
      callEvent<number>(server, 'hostile', { what: 'hold' }),
      (async () => {
        for (let i = 0; i < 5; i++)
          assert.equal((await callEvent<Record<string, string>>(server, 'node', { urls: [urls[0]!], only: ['fetch'] }))['fetch http:']?.slice(0, 5), 'hello')
      })(),
    ])
    // Those admitted, and those that wait at the listener.
    assert.ok(held > 0 && held <= 2 * limits.egressConnectionsPerSandboxMax, String(held))
    assert.equal(others, undefined)
    // Whether it is ended for it depends on how fast this machine lets it be.
    const flooded = await callEvent<number>(server, 'hostile', { what: 'flood' }, { timeoutMs: 60_000 }).catch((error: Error) => error)
    if (flooded instanceof Error) assert.match(flooded.message, /sandbox_lost/)
    else assert.equal(flooded, 10_000)
    assert.match(await raw(`GET http://web.egress.test:${web.httpPort}/ HTTP/1.1\r\nConnection: close\r\n\r\n`), /200 OK/)
  })

  it('closes what a guest had open when it dies in the middle', async () => {
    await assert.rejects(callEvent(server, 'hostile', { what: 'die', url: `http://web.egress.test:${web.httpPort}/endless` }), /exited/)
    await eventually(() => assert.equal(endless.size, 0))
    await attempts('hostile', (all) => all.some(({ target, reason }) => target === `web.egress.test:${web.httpPort}` && reason === 'the function broke it off'))
  })

  it('takes doors over with the sandbox when the gateway is killed', async () => {
    const call = (): Promise<Record<string, string>> => callEvent(server, 'node', { urls: [urls[1]!], only: ['fetch'], redis: true })
    const { calls } = await eventually(call)
    // At rest: then it is known to be worth keeping.
    await sleep(1_000)
    process.kill(
      tree(server.child.pid!).find((pid) => commandLine(pid).startsWith('hostel gateway'))!,
      'SIGKILL',
    )
    const again = await eventually(call, 10_000)
    assert.equal(again['calls'], calls! + 1, 'it is the same sandbox')
    assert.deepEqual([again['fetch https:']?.slice(0, 5), again['redis']], ['hello', 'in redis'])
  })

  it('tells of every attempt, in the API and in the command', async () => {
    const found = await attempts('hostile', (all) => all.some(({ target }) => target.startsWith('cloud.')))
    const refused = found.find(({ target }) => target.startsWith('cloud.'))!
    assert.deepEqual([refused.verdict, refused.address, refused.door], ['refused', '169.254.169.254', 'proxy'])
    assert.match(refused.invocation!, /^[0-9a-f-]{36}$/)
    const env = { HOSTEL_API: server.api, HOSTEL_TOKEN: server.token }
    const shown = await run(['egress', 'hostile', '--limit', '1000'], { env })
    assert.match(shown.stdout, /cloud\.egress\.test:\d+ +169\.254\.169\.254 +refused/)
    assert.ok((JSON.parse((await run(['egress', 'hostile', '--json'], { env })).stdout) as unknown[]).length > 0)
    assert.equal((await run(['egress', 'nothing'], { env })).code, 3)
  })

  it('refuses at deploy what is no target, and services that are not mapped', async () => {
    for (const [options, text] of [
      [{ egress: ['example.com'] }, /egress takes host:port entries.*got "example\.com"/],
      [{ egress: ['*:443'] }, /egress takes/],
      [{ services: ['mysql.internal:3306'] }, /the operator has mapped \(redis\.internal:6379, postgres\.internal:5432\); got "mysql/],
    ] as const) {
      await assert.rejects(
        deploy(server, 'wrong', { 'main.py': hostile }, { ...options } as never),
        (error) => error instanceof ApiError && text.test(error.problem.detail ?? ''),
      )
    }
  })
})
