/** The peers of the benchmarks, each as a process of its own on a free loopback port, pinned to a core when asked. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { bareServerSource, fetchHandlerSource, nginxConfig, undiciProxySource, workerdConfig } from '../peers/handler.ts'
import { freePort, stop, untilAnswering } from './processes.ts'

export interface Peer {
  name: string
  port: number
  path: string
  host: string
  /** Processes whose CPU time is the peer's; each with its descendants. */
  pids: number[]
  close(): Promise<void>
}

interface PeerOptions {
  /** Directory of this run, for sources and configuration. */
  directory: string
  /** Core to pin the peer to. */
  core: number | undefined
}

const root = join(import.meta.dirname, '..', '..')

/** Arguments that run a command on one core, or as it is. */
export function pinned(core: number | undefined, command: string, args: string[]): [string, string[]] {
  return core === undefined ? [command, args] : ['taskset', ['-c', String(core), command, ...args]]
}

function launch(options: PeerOptions, command: string, args: string[], environment: Record<string, string>): ChildProcess {
  const [program, argv] = pinned(options.core, command, args)
  return spawn(program, argv, { cwd: options.directory, env: { PATH: process.env['PATH'], ...environment }, stdio: ['ignore', 'ignore', 'inherit'] })
}

async function peer(name: string, port: number, children: ChildProcess[]): Promise<Peer> {
  await untilAnswering(port, '/', 'peer', 10_000)
  return {
    name,
    port,
    path: '/',
    host: 'peer',
    pids: children.map((child) => child.pid!),
    async close() {
      for (const child of children.toReversed()) await stop(child)
    },
  }
}

async function startBare(options: PeerOptions): Promise<{ port: number; child: ChildProcess }> {
  writeFileSync(join(options.directory, 'bare.mjs'), bareServerSource)
  const port = await freePort()
  const child = launch(options, process.execPath, ['bare.mjs'], { PORT: String(port) })
  await untilAnswering(port, '/', 'peer', 10_000)
  return { port, child }
}

export async function bareNode(options: PeerOptions): Promise<Peer> {
  const { port, child } = await startBare(options)
  return peer('bare node:http', port, [child])
}

export async function nginxToNode(options: PeerOptions): Promise<Peer> {
  const upstream = await startBare(options)
  const port = await freePort()
  const directory = join(options.directory, 'nginx')
  mkdirSync(directory, { recursive: true })
  writeFileSync(join(directory, 'nginx.conf'), nginxConfig(directory, port, upstream.port))
  return peer('nginx → node', port, [upstream.child, launch(options, 'nginx', ['-c', join(directory, 'nginx.conf'), '-e', join(directory, 'error.log')], {})])
}

export async function undiciToNode(options: PeerOptions): Promise<Peer> {
  const upstream = await startBare(options)
  const port = await freePort()
  writeFileSync(join(options.directory, 'proxy.mjs'), undiciProxySource(join(root, 'node_modules', 'undici', 'index.js')))
  return peer('undici proxy → node', port, [
    upstream.child,
    launch(options, process.execPath, ['proxy.mjs'], { PORT: String(port), UPSTREAM: String(upstream.port) }),
  ])
}

export async function workerd(options: PeerOptions): Promise<Peer> {
  const port = await freePort()
  writeFileSync(join(options.directory, 'worker.mjs'), fetchHandlerSource('workerd'))
  writeFileSync(join(options.directory, 'workerd.capnp'), workerdConfig(port))
  return peer('workerd', port, [launch(options, join(root, 'node_modules', '.bin', 'workerd'), ['serve', 'workerd.capnp'], {})])
}
