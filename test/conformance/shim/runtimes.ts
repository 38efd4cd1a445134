/**
 * The runtimes that the suite runs on. A new one needs an entry here and fixtures that do what fixtures/README.md says.
 * A shim is started by itself, without a sandbox: chrooted into the root filesystem that set-up has built, with the checkout's
 * shim at /hostel and the fixtures at /code, by the command of its runtime.json.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { join } from 'node:path'

import type { Contract } from '../../../src/sandbox/protocol.ts'

const RUNTIMES_DIR = '/var/cache/hostel/runtimes'
const APP_DIR = join(import.meta.dirname, '../../..')

/**
 * What not every runtime can do.
 * - `streams`: a handler's answer may be a stream (`/stream` and `/stream_throw` of the fixture `streams`).
 * - `computes`: other frames are answered while a handler computes.
 * - `threads`: the action `thread_error` raises in a thread of the function's own.
 * - `fetch`: the fixture `fetch` speaks the fetch contract.
 * - `event`: the fixture `actions` is an event handler, rather than something that answers HTTP.
 * - `loads`: the function's code is loaded once, before its first request, and can fail to.
 * - `errors`: an error in the function's code is told with its name, message, file and line.
 * - `levels`: standard output is a log, and the language's logging has levels.
 * - `outlives`: what a handler has started goes on after its answer, and the process ends when the handler ends it.
 */
export type Capability = 'streams' | 'computes' | 'threads' | 'fetch' | 'event' | 'loads' | 'errors' | 'levels' | 'outlives'

export interface ShimRuntime {
  /** Stands in the tests' names. */
  name: string
  capabilities: ReadonlySet<Capability>
  /** The handler of a fixture, as SPECIALISE wants it. */
  handler(fixture: string): string
  /** The contract that the fixture `actions` has. */
  contract: Contract
  /** File of a fixture and the line in it that fails, as INIT_FAILED and RESPONSE_ERROR should tell them. */
  failing: { syntax: Place; throws: Place; handlerThrows: Place }
  /** Where what a program prints goes: the level of its lines. */
  prints: 'stdout' | 'stderr'
  /** With the runtime's fixtures as its code, or another directory. */
  spawn(codeDir?: string): SpawnedShim
}

export interface Place {
  file: string
  line: number
}

export interface SpawnedShim {
  /** The host's ends of the shim's fd 3 and fd 4. */
  first: Socket
  second: Socket
  process: ChildProcess
}

/** What a language with modules, errors and a log has. */
const LANGUAGE: Capability[] = ['loads', 'errors', 'levels', 'outlives']

/** A variant is the same shim with another fixture for `actions`. */
function python(name: string, actions: string, capabilities: Capability[], handlerThrows: number, contract: Contract = 'event'): ShimRuntime {
  return {
    name,
    capabilities: new Set([...LANGUAGE, contract, ...capabilities]),
    contract,
    handler: (fixture) => (['actions', 'streams', 'fetch'].includes(fixture) ? `${actions}.py${contract === 'fetch' ? ':app' : ''}` : `${fixture}.py:handler`),
    failing: {
      syntax: { file: 'broken_syntax.py', line: 4 },
      throws: { file: 'broken_throws.py', line: 5 },
      handlerThrows: { file: `${actions}.py`, line: handlerThrows },
    },
    prints: 'stdout',
    spawn: (codeDir) => spawnInRootfs('python3', 'python', codeDir),
  }
}

const node: ShimRuntime = {
  name: 'nodejs24',
  capabilities: new Set<Capability>([...LANGUAGE, 'event', 'fetch', 'streams']),
  contract: 'event',
  handler: (fixture) => `${fixture === 'streams' ? 'fetch' : fixture}.mjs`,
  failing: { syntax: { file: 'broken_syntax.mjs', line: 4 }, throws: { file: 'broken_throws.mjs', line: 5 }, handlerThrows: { file: 'actions.mjs', line: 8 } },
  prints: 'stdout',
  spawn: (codeDir) => spawnInRootfs('nodejs24', 'node', codeDir),
}

const nowhere = { file: '', line: 0 }

const exec: ShimRuntime = {
  name: 'exec',
  capabilities: new Set<Capability>(['fetch', 'streams', 'computes']),
  contract: 'fetch',
  handler: (fixture) => (['actions', 'streams', 'fetch'].includes(fixture) ? 'actions.sh' : `${fixture}.sh`),
  failing: { syntax: nowhere, throws: nowhere, handlerThrows: nowhere },
  prints: 'stderr',
  spawn: (codeDir) => spawnInRootfs('exec', 'exec', codeDir),
}

/** The runtimes whose shims are there. */
export const runtimes: ShimRuntime[] = [
  python('python3', 'actions', ['streams', 'computes', 'threads'], 17),
  python('python3 with async def', 'actions_async', ['streams', 'threads'], 9),
  python('python3 with ASGI', 'web_asgi', ['streams'], 26, 'fetch'),
  python('python3 with WSGI', 'web_wsgi', ['streams', 'computes'], 17, 'fetch'),
  node,
  exec,
].filter((runtime) => runtime !== node || existsSync(join(APP_DIR, 'guest/node/shim.mjs')))

interface RuntimeManifest {
  rootfs: string
  command: string[]
  shimDir: string
  env: Record<string, string>
}

function spawnInRootfs(runtime: string, fixtures: string, codeDir = join(import.meta.dirname, 'fixtures', fixtures)): SpawnedShim {
  const dir = join(RUNTIMES_DIR, runtime)
  if (!existsSync(join(dir, 'runtime.json'))) throw new Error(`the runtime ${runtime} has not been built; run \`npm run setup\` as root`)
  const manifest = JSON.parse(readFileSync(join(dir, 'runtime.json'), 'utf8')) as RuntimeManifest
  const rootfs = join(dir, manifest.rootfs)
  // The mounts are in a namespace of their own and go with the process. What a fixture writes must not stay in the build.
  const script = `set -e
    mount --bind "$1" "$3/hostel"; mount --bind "$2" "$3/code"; mount -t tmpfs tmpfs "$3/tmp"; mount -t tmpfs -o mode=755 tmpfs "$3/dev"
    for device in null zero urandom; do touch "$3/dev/$device"; mount --bind "/dev/$device" "$3/dev/$device"; done
    rootfs="$3"; shift 3; exec chroot "$rootfs" "$@"`
  const args = ['--mount', '--propagation', 'private', 'sh', '-c', script, 'sh', join(APP_DIR, manifest.shimDir), codeDir, rootfs, ...manifest.command]
  // 'pipe' makes a pair of Unix stream sockets, as the keeper does.
  const child = spawn('unshare', args, {
    env: { ...manifest.env, PATH: `${manifest.env['PATH'] ?? ''}:/usr/sbin:/sbin` },
    stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'],
  })
  return { first: child.stdio[3] as Socket, second: child.stdio[4] as Socket, process: child }
}
