/**
 * The warm path: what Hostel adds to a call of a function that is already running, against a bare node:http server with the same
 * handler, nginx and an undici proxy in front of one, and workerd. Latency at concurrency 1 in interleaved blocks;
 * throughput at 32 connections, load on one core and each server with all its processes on the other, in interleaved rounds.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

import { deployMany } from './lib/functions.ts'
import { Http1Client } from './lib/http1.ts'
import { bareNode, nginxToNode, type Peer, undiciToNode, workerd } from './lib/peers.ts'
import { run } from './lib/processes.ts'
import { printTable, type Row, writeResult } from './lib/report.ts'
import { median, summarise } from './lib/stats.ts'
import { cpuMs, tree } from '../test/lib/processes.ts'
import { removeData, startServer } from '../test/lib/server.ts'

const LOAD_CORE = 0
const SERVER_CORE = 1
const BLOCKS = 20
const CALLS_PER_BLOCK = 250

export async function warm(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: { rounds: { type: 'string', default: '5' }, seconds: { type: 'string', default: '5' }, runtime: { type: 'string', default: 'nodejs24' } },
  })
  if (cpus().length < 2) throw new Error('the warm benchmark needs two cores: one for the load, one for the servers')
  const directory = mkdtempSync(join(tmpdir(), 'hostel-bench-'))
  const server = await startServer({ core: SERVER_CORE })
  const started: Peer[] = []
  try {
    const [name] = await deployMany(server, 1, values.runtime)
    const options = { directory, core: SERVER_CORE }
    const hostel: Peer = {
      name: 'hostel',
      port: server.gatewayPort,
      path: `/default/${name}`,
      host: 'localhost',
      pids: [server.child.pid!],
      close: async () => {},
    }
    started.push(await bareNode(options), await nginxToNode(options), await undiciToNode(options), await workerd(options))
    const peers = [hostel, ...started]
    const latency = await latencies(peers)
    const load = await throughput(peers, Number(values.rounds), Number(values.seconds))
    report(values.runtime, peers, latency, load)
  } finally {
    for (const peer of started) await peer.close()
    await server.stop()
    removeData(server.dataDir)
    rmSync(directory, { recursive: true, force: true })
  }
}

async function latencies(peers: Peer[]): Promise<Map<Peer, number[]>> {
  console.log(`latency at concurrency 1: ${BLOCKS} interleaved blocks of ${CALLS_PER_BLOCK} calls …`)
  const samples = new Map(peers.map((peer) => [peer, [] as number[]]))
  for (let block = 0; block <= BLOCKS; block++) {
    for (const peer of peers) {
      const client = await Http1Client.open('127.0.0.1', peer.port)
      // The first calls of a block wake what fell asleep in the others' blocks; and the first block warms up the compilers.
      for (let call = 0; call < 20; call++) await client.get(peer.path, peer.host)
      for (let call = 0; call < CALLS_PER_BLOCK; call++) {
        const answer = await client.get(peer.path, peer.host)
        if (answer.status !== 200) throw new Error(`${peer.name} answered ${answer.status}: ${answer.body}`)
        if (block > 0) samples.get(peer)!.push(answer.ms)
      }
      client.close()
    }
  }
  return samples
}

interface Load {
  requestsPerSecond: number[]
  cpuMicrosPerRequest: number[]
}

async function throughput(peers: Peer[], rounds: number, seconds: number): Promise<Map<Peer, Load>> {
  console.log(`throughput at 32 connections: ${rounds} interleaved rounds of ${seconds} s, load on core ${LOAD_CORE}, servers on core ${SERVER_CORE} …`)
  const loads = new Map(peers.map((peer) => [peer, { requestsPerSecond: [], cpuMicrosPerRequest: [] } as Load]))
  for (let round = 0; round < rounds; round++) {
    for (const peer of peers) {
      await wrk(peer, 1)
      const pids = peer.pids.flatMap((pid) => tree(pid))
      const before = cpuMs(pids)
      const { requests, perSecond } = await wrk(peer, seconds)
      loads.get(peer)!.requestsPerSecond.push(perSecond)
      loads.get(peer)!.cpuMicrosPerRequest.push(((cpuMs(pids) - before) * 1_000) / requests)
    }
  }
  return loads
}

async function wrk(peer: Peer, seconds: number): Promise<{ requests: number; perSecond: number }> {
  const url = `http://127.0.0.1:${peer.port}${peer.path}`
  const out = await run('taskset', ['-c', String(LOAD_CORE), 'wrk', '-t1', '-c32', `-d${seconds}s`, '-H', `Host: ${peer.host}`, url], {
    timeoutMs: (seconds + 20) * 1_000,
  })
  if (/Non-2xx or 3xx responses: [1-9]/.test(out) || /Socket errors: connect [1-9]/.test(out)) throw new Error(`${peer.name} failed under load:\n${out}`)
  return { requests: Number(/(\d+) requests in/.exec(out)?.[1]), perSecond: Number(/Requests\/sec: +([\d.]+)/.exec(out)?.[1]) }
}

function report(runtime: string, peers: Peer[], latency: Map<Peer, number[]>, load: Map<Peer, Load>): void {
  const bare = peers.find((peer) => peer.name === 'bare node:http')!
  const bareP50 = summarise(latency.get(bare)!).p50
  const bareRate = median(load.get(bare)!.requestsPerSecond)
  const latencyRows: Row[] = peers.map((peer) => {
    const s = summarise(latency.get(peer)!)
    return { what: peer.name, n: s.n, p50: s.p50, p99: s.p99, 'added p50': s.p50 - bareP50 }
  })
  const loadRows: Row[] = peers.map((peer) => {
    const { requestsPerSecond, cpuMicrosPerRequest } = load.get(peer)!
    return {
      what: peer.name,
      'requests/s': Math.round(median(requestsPerSecond)),
      'ratio to bare': median(requestsPerSecond) / bareRate,
      'CPU µs/request': median(cpuMicrosPerRequest),
    }
  })
  printTable('warm call at concurrency 1, milliseconds', latencyRows)
  printTable('32 connections, one core for the servers', loadRows)
  writeResult('warm', { runtime, latencyRows, loadRows })
}
