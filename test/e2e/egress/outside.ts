/** What lies outside in the tests of egress: web servers, a name server of our own, real databases. All on loopback, all ended here. */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { chownSync, existsSync, globSync, mkdirSync, readFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import type { RequestListener } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { connect, createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'

const execute = promisify(execFile)
const NOBODY = 65_534

/** Installs a Debian package unless the program is there. @throws with apt's words. */
export function ensureProgram(program: string, packageName: string): void {
  if (existsSync(program) || spawnSync('sh', ['-c', `command -v ${program}`]).status === 0) return
  const apt = (...args: string[]) =>
    spawnSync('apt-get', ['-qq', '-o', 'DPkg::Lock::Timeout=120', ...args], {
      encoding: 'utf8',
      timeout: 180_000,
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    })
  const install = () => apt('install', '-y', '--no-install-recommends', packageName)
  if (install().status === 0) return
  apt('update')
  const second = install()
  if (second.status !== 0) throw new Error(`the test needs ${program}, and apt-get install ${packageName} failed:\n${second.stderr}`)
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** A certificate for `*.egress.test` that is its own authority, as files in the directory. */
export async function makeCertificate(directory: string): Promise<{ key: string; cert: string }> {
  const [key, cert] = [join(directory, 'key.pem'), join(directory, 'ca.pem')]
  const subject = ['-subj', '/CN=egress.test', '-addext', 'subjectAltName=DNS:*.egress.test']
  await execute('openssl', [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-days',
    '2',
    '-keyout',
    key,
    '-out',
    cert,
    ...subject,
  ])
  return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') }
}

export interface Web {
  httpPort: number
  httpsPort: number
  close(): void
}

export async function startWeb(tls: { key: string; cert: string }, answer: RequestListener): Promise<Web> {
  const servers = [createHttpServer(answer).listen(0, '127.0.0.1'), createHttpsServer(tls, answer).listen(0, '127.0.0.1')] as const
  await Promise.all(servers.map((server) => once(server, 'listening')))
  const [httpPort, httpsPort] = servers.map((server) => (server.address() as AddressInfo).port) as [number, number]
  return {
    httpPort,
    httpsPort,
    close() {
      for (const server of servers) {
        server.closeAllConnections()
        server.close()
      }
    },
  }
}

export interface Dns {
  address: string
  /** Names that were asked for, in order. */
  asked: string[]
  /** Name → its A records; several lists are given one after the other, the last for ever. */
  records: Record<string, string[][]>
  close(): void
}

/** A name server that knows A records only. */
export async function startDns(): Promise<Dns> {
  const socket = createSocket('udp4')
  const dns: Dns = { address: '', asked: [], records: {}, close: () => void socket.close() }
  socket.on('message', (query, from) => {
    const labels: string[] = []
    let at = 12
    while (query[at]! > 0) {
      labels.push(query.toString('latin1', at + 1, at + 1 + query[at]!))
      at += 1 + query[at]!
    }
    const question = query.subarray(12, at + 5)
    const name = labels.join('.').toLowerCase()
    const isA = query.readUInt16BE(at + 1) === 1
    if (isA) dns.asked.push(name)
    const lists = dns.records[name]
    const addresses = !lists || !isA ? [] : lists.length > 1 ? lists.shift()! : lists[0]!
    const head = Buffer.alloc(12)
    head.writeUInt16BE(query.readUInt16BE(0), 0)
    head.writeUInt16BE(lists ? 0x8180 : 0x8183, 2)
    head.writeUInt16BE(1, 4)
    head.writeUInt16BE(addresses.length, 6)
    const answers = addresses.map((address) => Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, ...address.split('.').map(Number)]))
    socket.send(Buffer.concat([head, question, ...answers]), from.port, from.address)
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  dns.address = `127.0.0.1:${socket.address().port}`
  return dns
}

export interface Database {
  port: number
  stop(): Promise<void>
}

export async function startRedis(directory: string): Promise<Database> {
  ensureProgram('redis-server', 'redis-server')
  const port = await freePort()
  const options = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', directory, '--daemonize', 'no']
  return started(spawn('redis-server', options, { stdio: 'ignore' }), port)
}

/** Without an authentication: whoever reaches it may do everything. */
export async function startPostgres(directory: string): Promise<Database> {
  const binaries = () => globSync('/usr/lib/postgresql/*/bin').sort().at(-1)
  if (!binaries()) ensureProgram('/usr/lib/postgresql/none', 'postgresql')
  const bin = binaries()
  if (!bin) throw new Error('there is no /usr/lib/postgresql/*/bin after the installation')
  const data = join(directory, 'postgres')
  mkdirSync(data, { mode: 0o700 })
  chownSync(data, NOBODY, NOBODY)
  const user = { uid: NOBODY, gid: NOBODY, cwd: '/' }
  await execute(join(bin, 'initdb'), ['-D', data, '-A', 'trust', '-U', 'hostel', '--no-sync', '--no-locale', '-E', 'UTF8'], user)
  const port = await freePort()
  const options = ['-D', data, '-p', String(port), '-c', 'listen_addresses=127.0.0.1', '-c', 'unix_socket_directories=', '-c', 'fsync=off']
  return started(spawn(join(bin, 'postgres'), options, { stdio: 'ignore', ...user }), port)
}

async function started(child: ChildProcess, port: number): Promise<Database> {
  const ended = once(child, 'exit')
  const deadline = performance.now() + 20_000
  for (;;) {
    const socket = connect({ port, host: '127.0.0.1' })
    const there = await Promise.race([once(socket, 'connect').then(() => true), once(socket, 'close').then(() => false)]).catch(() => false)
    socket.destroy()
    if (there) break
    if (child.exitCode !== null || performance.now() > deadline) throw new Error(`the database on port ${port} did not start`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return {
    port,
    async stop() {
      child.kill('SIGINT')
      await ended
    },
  }
}
