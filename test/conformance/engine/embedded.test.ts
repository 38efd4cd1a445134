/** The conformance suite on the embedded engine: real crun, in the namespaces that the keeper would give it. */
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

// The engine needs to be pid 1 with mounts of its own: the test's process becomes that before anything is loaded.
if (process.pid !== 1) {
  process.execve!(
    '/usr/bin/unshare',
    [
      'unshare',
      '--mount',
      '--pid',
      '--fork',
      '--kill-child',
      '--mount-proc',
      '--propagation',
      'private',
      process.execPath,
      ...process.execArgv,
      ...process.argv.slice(1),
    ],
    process.env,
  )
}

const { instancesWithCgroups } = await import('../../../src/engines/embedded/cgroups.ts')
const { createEmbeddedEngine } = await import('../../../src/engines/embedded/embedded.ts')
const { createReaper } = await import('../../../src/engines/embedded/reaper.native.ts')
const { readRuntimes } = await import('../../../src/engines/embedded/runtimes.ts')
const { openInstance } = await import('../../../src/keeper/instance.ts')
const { createLogger } = await import('../../../src/telemetry/logger.ts')
const { engineConformance } = await import('./suite.ts')

const RUNTIMES_DIR = '/var/cache/hostel/runtimes'
const digest = 'a'.repeat(64)
const stray = 'b'.repeat(64)

engineConformance('embedded', async () => {
  const home = mkdtempSync(join(tmpdir(), 'hostel-engine-'))
  const instance = await openInstance(createLogger('test'))
  const { runDir } = instance
  mkdirSync(join(home, 'code', digest), { recursive: true, mode: 0o755 })
  writeFileSync(join(home, 'code', digest, 'greeting.txt'), 'hello')
  symlinkSync('/etc', join(home, 'code', stray))

  const node = (await readRuntimes(RUNTIMES_DIR)).get('nodejs24')
  if (!node) throw new Error('the runtime nodejs24 is not installed; npm run setup builds it')
  const shimDir = 'test/conformance/engine/guest'
  const runtimes = new Map([
    ['guest', { ...node, name: 'guest', shimDir }],
    ['broken', { ...node, name: 'broken', shimDir, init: ['/no/such/init'] }],
  ])
  const reaper = createReaper()
  const trouble: string[] = []
  const engine = await createEmbeddedEngine({
    instance: instance.name,
    runDir,
    slotsDir: instance.slotsDir,
    appDir: resolve(import.meta.dirname, '../../..'),
    codeRoot: home,
    runtimes,
    reaper,
    onTrouble: (error, about) => trouble.push(`${about}: ${(error as Error).message}`),
  })

  // The engine reads root file systems ahead, which is none of a sandbox's traces.
  while (processes().length > 0) await sleep(20)

  return {
    engine,
    runtime: 'guest',
    brokenRuntime: 'broken',
    codeDigest: digest,
    strayDigest: stray,
    pids: async (sandbox) => readFileSync(`/sys/fs/cgroup/memory/hostel/${instance.name}/${sandbox}/cgroup.procs`, 'utf8').trim().split('\n').map(Number),
    async traces() {
      const groups = (await instancesWithCgroups()).includes(instance.name)
        ? readdirSync(`/sys/fs/cgroup/memory/hostel/${instance.name}`, { withFileTypes: true })
            .filter((entry) => entry.isDirectory())
            .map(({ name }) => `cgroup ${name}`)
        : []
      return [...trouble, ...processes(), ...mounts(runDir), ...groups, ...files(runDir), ...descriptors()]
    },
    async [Symbol.asyncDispose]() {
      await engine[Symbol.asyncDispose]()
      reaper[Symbol.dispose]()
      await instance[Symbol.asyncDispose]()
      rmSync(home, { recursive: true })
    },
  }
})

/** All but ourselves: nobody else lives in this pid namespace. */
function processes(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && name !== '1')
    .map((pid) => {
      try {
        return `process ${pid} ${readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')}`
      } catch {
        return ''
      }
    })
    .filter(Boolean)
}

function mounts(runDir: string): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((target) => target.startsWith(`${runDir}/scratch/stage/`))
}

function files(runDir: string): string[] {
  return ['bundles', 'crun', 'stage'].flatMap((dir) => {
    try {
      return readdirSync(join(runDir, 'scratch', dir)).map((name) => `file ${dir}/${name}`)
    } catch {
      return []
    }
  })
}

/** Sockets and pipes; their numbers differ from run to run, so only how many there are. */
function descriptors(): string[] {
  const open = readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return /^(socket|pipe):/.test(readlinkSync(`/proc/self/fd/${fd}`))
    } catch {
      return false
    }
  })
  return [`${open.length} sockets and pipes`]
}
