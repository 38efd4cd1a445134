/**
 * Cold starts: the first call ever of each of many functions, through the gateway over HTTP, against booting a bare Node, an OCI
 * runtime with a bare Node in it, and `docker run` where a daemon answers. All in one interleaved run, so that the noise
 * of the machine falls on everyone.
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

import { deployMany, startKinds } from './lib/functions.ts'
import { Http1Client } from './lib/http1.ts'
import { run } from './lib/processes.ts'
import { printTable, type Row, writeResult } from './lib/report.ts'
import { summarise } from './lib/stats.ts'
import { removeData, startServer, type TestServer } from '../test/lib/server.ts'
import { bootAndAnswerSource } from './peers/boot.ts'

/** Pause between first calls: a spare takes about 50 ms to boot at low weight, so the pool is full again by then. */
const PAUSE_MS = 250
/** Calls without a pause at the end, which run the pool dry. */
const MISSES = 40

const runtimeDirectory = '/var/cache/hostel/runtimes/nodejs24'

export async function cold(args: string[]): Promise<void> {
  const { values } = parseArgs({ args, options: { functions: { type: 'string', default: '300' }, runtime: { type: 'string', default: 'nodejs24' } } })
  const count = Number(values.functions)
  const directory = mkdtempSync(join(tmpdir(), 'hostel-bench-'))
  const peers = await bootPeers(directory)
  let server = await startServer()
  try {
    console.log(`deploying ${count + MISSES} functions …`)
    const names = await deployMany(server, count + MISSES, values.runtime)
    // A deploy leaves its version warm; a restart leaves nothing warm, and everything deployed.
    await server.stop()
    server = await startServer({ dataDir: server.dataDir })
    await sleep(2_000)
    console.log(`calling each for the first time, ${PAUSE_MS} ms apart, peers in between …`)
    const first = await firstCalls(server, names.slice(0, count), peers)
    console.log(`calling ${MISSES} more without a pause, so that the pool runs dry …`)
    const dry = await pressed(server, names.slice(count))
    report(values.runtime, first, dry)
  } finally {
    await server.stop()
    removeData(server.dataDir)
    await run('sh', ['-c', 'umount "$1/mnt" 2>/dev/null; umount "$1" 2>/dev/null; true', 'sh', directory], { timeoutMs: 10_000 })
    rmSync(directory, { recursive: true, force: true })
  }
}

interface Peer {
  name: string
  /** Time from nothing to a first answer, in milliseconds. */
  once(): Promise<number>
}

async function firstCalls(
  server: TestServer,
  names: string[],
  peers: Peer[],
): Promise<{ hits: number[]; kinds: Record<string, number>; peers: Map<string, number[]> }> {
  const client = await Http1Client.open('127.0.0.1', server.gatewayPort)
  const samples: number[] = []
  const invocations: string[] = []
  const peerSamples = new Map(peers.map((peer) => [peer.name, [] as number[]]))
  for (const [index, name] of names.entries()) {
    await sleep(PAUSE_MS)
    const answer = await client.get(`/default/${name}`, 'localhost')
    if (answer.status !== 200) throw new Error(`${name} answered ${answer.status}: ${answer.body}`)
    samples.push(answer.ms)
    invocations.push(invocationOf(answer.head))
    if (index % 8 === 0) for (const peer of peers) peerSamples.get(peer.name)!.push(await peer.once())
  }
  client.close()
  return { hits: samples, kinds: countBy(await startKinds(server, invocations)), peers: peerSamples }
}

async function pressed(server: TestServer, names: string[]): Promise<{ misses: number[]; all: number[] }> {
  const client = await Http1Client.open('127.0.0.1', server.gatewayPort)
  const samples: number[] = []
  const invocations: string[] = []
  for (const name of names) {
    const answer = await client.get(`/default/${name}`, 'localhost')
    if (answer.status !== 200) throw new Error(`${name} answered ${answer.status}: ${answer.body}`)
    samples.push(answer.ms)
    invocations.push(invocationOf(answer.head))
  }
  client.close()
  const kinds = await startKinds(server, invocations)
  return { misses: samples.filter((_, i) => kinds[i] === 'boot'), all: samples }
}

function report(runtime: string, first: Awaited<ReturnType<typeof firstCalls>>, dry: Awaited<ReturnType<typeof pressed>>): void {
  const hit = summarise(first.hits)
  const rows: Row[] = [{ what: `hostel ${runtime}, first call`, n: hit.n, p50: hit.p50, p90: hit.p90, p99: hit.p99, max: hit.max, 'ratio p50': 1 }]
  const add = (what: string, samples: number[]): void => {
    if (samples.length === 0) return
    const s = summarise(samples)
    rows.push({ what, n: s.n, p50: s.p50, p90: s.p90, p99: s.p99, max: s.max, 'ratio p50': s.p50 / hit.p50 })
  }
  add('hostel, pool run dry: boots on demand', dry.misses)
  add('hostel, pool run dry: all', dry.all)
  for (const [name, samples] of first.peers) add(name, samples)
  printTable('cold start to first answer, milliseconds', rows)
  console.log(`  start kinds of the first calls: ${JSON.stringify(first.kinds)}`)
  const oci = first.peers.get('crun + bare node')
  if (oci?.length && dry.misses.length) console.log(`  pool miss / (crun + bare node), p50: ${(summarise(dry.misses).p50 / summarise(oci).p50).toFixed(2)}`)
  writeResult('cold', { runtime, rows, kinds: first.kinds })
}

async function bootPeers(directory: string): Promise<Peer[]> {
  const program = join(directory, 'boot.mjs')
  writeFileSync(program, bootAndAnswerSource)
  const peers: Peer[] = [{ name: 'bare node', once: () => untilAnswered(process.execPath, [program]) }]
  if (existsSync(runtimeDirectory)) {
    const bundle = await ociBundle(directory)
    const enter = await withoutUnifiedTree(directory)
    let serial = 0
    peers.push({
      name: 'crun + bare node',
      once: () =>
        untilAnswered('nsenter', [
          ...enter,
          'crun',
          '--cgroup-manager=disabled',
          '--root',
          join(directory, 'crun'),
          'run',
          '--bundle',
          bundle,
          `bench-${process.pid}-${serial++}`,
        ]),
    })
  }
  if (await dockerAnswers()) {
    const image = 'hostel-bench:node'
    await run('sh', ['-c', `tar -C ${rootfs()} -c . | docker import -c 'ENTRYPOINT ["/usr/local/bin/node"]' - ${image}`], { timeoutMs: 120_000 })
    peers.push({
      name: 'docker run + bare node',
      once: () => untilAnswered('docker', ['run', '--rm', '--network', 'none', '-v', `${program}:/boot.mjs:ro`, image, '/boot.mjs']),
    })
  } else {
    console.log('no docker daemon answers: docker run is left out')
  }
  return peers
}

function rootfs(): string {
  const directory = realpathSync(runtimeDirectory)
  const { rootfs: relative } = JSON.parse(readFileSync(join(directory, 'runtime.json'), 'utf8')) as { rootfs: string }
  return join(directory, relative)
}

/**
 * Arguments of nsenter for a mount namespace in which crun works on a machine with cgroup v1 and an empty v2 tree beside it, which
 * it refuses. Entering costs the peer about a millisecond.
 */
async function withoutUnifiedTree(directory: string): Promise<string[]> {
  const handle = join(directory, 'mnt')
  await run(
    'sh',
    [
      '-c',
      `mount --bind "$1" "$1" && mount --make-private "$1" && touch "$1/mnt" && unshare --mount="$1/mnt" --propagation private sh -c 'umount /sys/fs/cgroup/unified 2>/dev/null || true'`,
      'sh',
      directory,
    ],
    { timeoutMs: 10_000 },
  )
  return [`--mount=${handle}`]
}

/** The runtime's own root file system with a bare Node program: what OCI costs without Hostel. Its /dev is its own: crun would make devices in the root. */
async function ociBundle(directory: string): Promise<string> {
  await run('crun', ['spec', '--bundle', directory], { timeoutMs: 10_000 })
  const file = join(directory, 'config.json')
  const config = JSON.parse(readFileSync(file, 'utf8')) as {
    process: { terminal: boolean; args: string[] }
    root: object
    mounts: { type: string; destination: string }[]
    linux: { namespaces: { type: string }[]; resources?: object }
  }
  config.process.terminal = false
  config.process.args = ['/usr/local/bin/node', '/hostel/boot.mjs']
  config.root = { path: rootfs(), readonly: true }
  config.mounts = [
    ...config.mounts.filter((mount) => mount.type === 'proc' || mount.destination === '/dev'),
    { destination: '/hostel', type: 'bind', source: directory, options: ['bind', 'ro'] } as never,
  ]
  config.linux.namespaces = config.linux.namespaces.filter((namespace) => namespace.type !== 'cgroup')
  delete config.linux.resources
  writeFileSync(file, JSON.stringify(config))
  return directory
}

function untilAnswered(command: string, args: string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const startedAt = performance.now()
    let took: number | undefined
    let err = ''
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: 30_000 })
    child.stdout.once('data', () => (took = performance.now() - startedAt))
    child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
    child.once('error', reject)
    child.once('close', () => (took === undefined ? reject(new Error(`${command} answered nothing: ${err}`)) : resolve(took)))
  })
}

async function dockerAnswers(): Promise<boolean> {
  try {
    await run('docker', ['info'], { timeoutMs: 5_000 })
    return true
  } catch {
    return false
  }
}

function invocationOf(head: string): string {
  return /\r\nhostel-invocation: *([0-9a-f-]+)/i.exec(head)?.[1] ?? ''
}

function countBy(values: string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1
  return counts
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
