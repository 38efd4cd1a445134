/**
 * The embedded engine: crun, with the host's kernel as the wall. Needs root, a private mount namespace of its own, and to be
 * the process that adopts orphans.
 */
import { randomBytes } from 'node:crypto'
import { closeSync, writeFileSync } from 'node:fs'
import { chmod, cp, mkdir, readdir, rm, rmdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate, setTimeout as sleep } from 'node:timers/promises'

import { type MemoryClassMiB, limits } from '../../limits.ts'
import { type BootRequest, type Engine, EngineError, type SandboxEnds } from '../engine.ts'
import { SystemCallError } from '../libc.native.ts'
import { AUTHORITIES, bundleConfig } from './bundle.ts'
import { type SandboxCgroup, hideUnifiedTree, openCgroups } from './cgroups.ts'
import { startContainer } from './crun.ts'
import { DescriptorSet, pipe, socketpair } from './descriptors.native.ts'
import { listenInside } from './doors.native.ts'
import { exitCause } from './exit-cause.ts'
import { HOSTS, hostsOf, placesOf } from './hosts.ts'
import { mountDirectoryReadOnly, mountScratch, mountTmp, openDirectory, shareMount, unmount } from './mounts.native.ts'
import type { Reaper } from './reaper.native.ts'
import type { Runtime } from './runtimes.ts'
import { createSlots } from './slots.ts'

/** Spares boot and wait at a tenth of a share, so that refilling a pool never slows what is at work. */
const SPARE_CPU_WEIGHT = 10
const CPU_WEIGHT = 100

/** A guest may fill this part of its memory with files in /tmp. */
const TMP_SHARE = 0.5

/** Longest wait for the sandboxes to be gone when the engine closes. */
const CLOSE_TIMEOUT_MS = 2_000

const MiB = 1024 * 1024

export interface EmbeddedOptions {
  /** Unique on the machine; names the control groups. */
  instance: string
  /** Root-owned, traversable by everyone, and this engine's alone. */
  runDir: string
  /** Shared by all servers of the machine. */
  slotsDir: string
  /** The application, for the shims. */
  appDir: string
  /** Code lies at `code/<digest>/` beneath it; its owner is not trusted. */
  codeRoot: string
  runtimes: ReadonlyMap<string, Runtime>
  reaper: Reaper
  /** What could not be cleaned up, for the log. */
  onTrouble: (error: unknown, about: string) => void
}

interface Sandbox {
  id: number
  memoryMiB: MemoryClassMiB
  firstUid: number
  cgroup: SandboxCgroup
  /** Its pid 1; no longer ours to signal once `dead`. */
  pid: number
  dead: boolean
  specialised: boolean
  endRequested: boolean
  killSent: boolean
  bootedAtMs: number
  /** Resolve when all its processes have ended, and when nothing of it is left. */
  died: Promise<void>
  gone: Promise<void>
}

export async function createEmbeddedEngine(options: EmbeddedOptions): Promise<Engine> {
  const { runDir, reaper } = options
  // In memory: on a disk, blocks that crun touches first would be charged to sandboxes and keep their dead groups in the kernel.
  const scratch = join(runDir, 'scratch')
  await mkdir(scratch, { mode: 0o711 })
  mountScratch(scratch)
  const dirs = { bundles: join(scratch, 'bundles'), crun: join(scratch, 'crun'), shims: join(scratch, 'shims'), stage: join(scratch, 'stage') }
  for (const dir of Object.values(dirs)) await mkdir(dir, { mode: 0o711 })
  await copyShims(options.runtimes, options.appDir, dirs.shims)
  const authoritiesFile = await copyAuthorities(join(scratch, 'authorities.crt'))
  mountScratch(dirs.stage)
  shareMount(dirs.stage)
  await hideUnifiedTree()
  const cgroups = openCgroups(options.instance)
  const slots = createSlots(options.slotsDir)
  const codeRoot = openDirectory(options.codeRoot)
  const readingAhead = readAhead(options.runtimes, reaper)
  const sandboxes = new Map<number, Sandbox>()
  let closing = false

  const stageOf = (id: number, part: 'code' | 'tmp' | 'hosts'): string => join(dirs.stage, String(id), part)

  const engine: Engine = {
    onExit: () => {},

    async boot(request) {
      if (closing) throw new EngineError('stopping', 'the server is stopping')
      const runtime = options.runtimes.get(request.runtime)
      if (!runtime) throw new EngineError('unknown_runtime', `there is no runtime "${request.runtime}"`)
      return await reaper.expecting(() => boot(request, runtime))
    },

    async specialise(id, codeDigest) {
      const sandbox = find(id)
      if (sandbox.specialised) throw new EngineError('system', `sandbox ${id} is specialised already`)
      sandbox.specialised = true
      try {
        mountDirectoryReadOnly(codeRoot, `code/${codeDigest}`, stageOf(id, 'code'))
      } catch (error) {
        const code = error instanceof SystemCallError && error.syscall === 'openat2' ? error.code : ''
        throw new EngineError(code ? 'unknown_code' : 'system', `the code ${codeDigest} cannot be mounted: ${(error as Error).message}`, { cause: error })
      }
      mountTmp(stageOf(id, 'tmp'), {
        sizeBytes: sandbox.memoryMiB * MiB * TMP_SHARE,
        inodes: Math.max(limits.tmpInodesMax, sandbox.memoryMiB * limits.tmpInodesPerMiB),
      })
      sandbox.cgroup.setCpuWeight(CPU_WEIGHT)
    },

    async openDoors(id, doors) {
      const sandbox = find(id)
      // Over the same file, which is what is bound inside.
      if (doors.services.length > 0) writeFileSync(stageOf(id, 'hosts'), hostsOf(doors))
      return listenInside(sandbox.pid, placesOf(doors))
    },

    async freeze(id) {
      await find(id).cgroup.freeze()
    },

    async thaw(id) {
      find(id).cgroup.thaw()
    },

    async end(id, graceMs) {
      const sandbox = sandboxes.get(id)
      if (!sandbox) return
      sandbox.endRequested = true
      sandbox.cgroup.thaw()
      if (graceMs > 0) {
        signal(sandbox, 'SIGTERM')
        const timer = new AbortController()
        await Promise.race([sandbox.died, sleep(graceMs, undefined, { signal: timer.signal }).catch(() => {})])
        timer.abort()
      }
      kill(sandbox)
      await sandbox.gone
    },

    async usage() {
      return await Promise.all([...sandboxes.values()].map(async ({ id, cgroup }) => ({ sandbox: id, memoryBytes: await cgroup.memoryBytes() })))
    },

    async [Symbol.asyncDispose]() {
      closing = true
      readingAhead[Symbol.dispose]()
      for (const sandbox of sandboxes.values()) {
        sandbox.endRequested = true
        sandbox.cgroup.thaw()
        kill(sandbox)
      }
      await Promise.race([Promise.all([...sandboxes.values()].map(({ gone }) => gone)), sleep(CLOSE_TIMEOUT_MS)])
      await cgroups.removeInstance().catch((error: unknown) => options.onTrouble(error, 'removing control groups'))
      await unmount(dirs.stage)
      await unmount(scratch)
      await rmdir(scratch)
      closeSync(codeRoot)
      slots[Symbol.dispose]()
    },
  }
  return engine

  /** What each step makes is undone in reverse when a later one fails. */
  async function boot(request: BootRequest, runtime: Runtime): Promise<SandboxEnds> {
    const id = request.sandbox
    const name = String(id)
    const bundleDir = join(dirs.bundles, name)
    await using undo = new AsyncDisposableStack()

    // 1. A range of user ids that nobody else has.
    const firstUid = slots.take()
    undo.defer(() => slots.giveBack(firstUid))

    // 2. Limits, before there is anything to limit.
    const cgroup = await cgroups.create(name, { memoryBytes: request.memoryMiB * MiB, pids: limits.pidsMax, cpuWeight: SPARE_CPU_WEIGHT })
    undo.defer(() => cgroup.remove())

    // 3. The places where code and /tmp will appear.
    undo.defer(() => removeFiles(name))
    await mkdir(join(dirs.stage, name), { mode: 0o711 })
    await mkdir(stageOf(id, 'code'), { mode: 0o755 })
    await mkdir(stageOf(id, 'tmp'), { mode: 0o755 })
    await writeFile(stageOf(id, 'hosts'), HOSTS, { mode: 0o644 })

    // 4. The OCI document.
    await mkdir(bundleDir, { mode: 0o711 })
    await writeFile(
      join(bundleDir, 'config.json'),
      JSON.stringify(
        bundleConfig({
          runtime,
          memoryMiB: request.memoryMiB,
          firstUid,
          hostname: randomBytes(6).toString('hex'),
          shimDir: join(dirs.shims, runtime.name),
          codeDir: stageOf(id, 'code'),
          tmpDir: stageOf(id, 'tmp'),
          hostsFile: stageOf(id, 'hosts'),
          authoritiesFile,
        }),
      ),
    )

    // 5. Streams.
    const fds = undo.use(new DescriptorSet())
    const [stream, secondStream] = [socketpair(), socketpair()]
    const [stdout, stderr] = [pipe(), pipe()]
    for (const fd of [...stream, ...secondStream, ...stdout, ...stderr]) fds.add(fd)

    // 6. The container.
    const pid = await startContainer({
      reaper,
      cgroup,
      crunRoot: dirs.crun,
      bundleDir,
      name,
      timeoutMs: limits.bootTimeoutMs,
      stdout: stdout[1],
      stderr: stderr[1],
      stream: stream[1],
      secondStream: secondStream[1],
    })
    for (const fd of [stream[1], secondStream[1], stdout[1], stderr[1]]) fds.close(fd)

    // 7. From here on its end is told by onExit.
    const ends = { stream: fds.release(stream[0]), secondStream: fds.release(secondStream[0]), stdout: fds.release(stdout[0]), stderr: fds.release(stderr[0]) }
    undo.move()
    const status = reaper.ended(pid)
    const sandbox: Sandbox = {
      id,
      memoryMiB: request.memoryMiB,
      firstUid,
      cgroup,
      pid,
      dead: false,
      specialised: false,
      endRequested: false,
      killSent: false,
      bootedAtMs: performance.now(),
      died: status.then(() => {}),
      gone: status.then((result) => settle(sandbox, result)),
    }
    sandboxes.set(id, sandbox)
    // Closing began while crun was at work: it has looked through the list already.
    if (closing) kill(sandbox)
    return ends
  }

  /** pid 1 is reaped, and with it the kernel has ended its whole pid namespace. */
  async function settle(sandbox: Sandbox, status: Awaited<ReturnType<Reaper['ended']>>): Promise<void> {
    const { id, cgroup } = sandbox
    sandbox.dead = true
    // It may have been dead before its boot was reported; the one who asked for it must know of it first.
    await setImmediate()
    engine.onExit(
      id,
      exitCause({
        status,
        record: cgroup.record(),
        endRequested: sandbox.endRequested,
        killSent: sandbox.killSent,
        lifetimeMs: performance.now() - sandbox.bootedAtMs,
      }),
    )
    try {
      if (sandbox.specialised) {
        await unmount(stageOf(id, 'code'))
        await unmount(stageOf(id, 'tmp'))
      }
      // Before the group: crun wrote some of them inside it, and their page cache would hold the group in the kernel.
      await removeFiles(String(id))
      await cgroup.remove()
      // Only now: a range is nobody else's while anything of it is left.
      slots.giveBack(sandbox.firstUid)
    } catch (error) {
      options.onTrouble(error, `cleaning up after sandbox ${id}`)
    }
    sandboxes.delete(id)
  }

  async function removeFiles(name: string): Promise<void> {
    for (const dir of [dirs.bundles, dirs.crun, dirs.stage]) await rm(join(dir, name), { recursive: true, force: true })
  }

  function find(id: number): Sandbox {
    const sandbox = sandboxes.get(id)
    if (!sandbox || sandbox.dead) throw new EngineError('unknown_sandbox', `there is no sandbox ${id}`)
    return sandbox
  }

  function kill(sandbox: Sandbox): void {
    // Not when it has died by itself by now: its cause shall not read as ours.
    if (signal(sandbox, 'SIGKILL')) sandbox.killSent = true
  }

  function signal(sandbox: Sandbox, name: NodeJS.Signals): boolean {
    // A zombie of ours keeps its pid until it is reaped, so this never reaches a stranger.
    return !sandbox.dead && process.kill(sandbox.pid, name)
  }
}

/**
 * Reads the root file systems once, in the background: page cache is charged to whoever reads a file first, and what a sandbox
 * was charged for would count against its limit and keep its group in the kernel after its end. Disposing stops it.
 */
function readAhead(runtimes: ReadonlyMap<string, Runtime>, reaper: Reaper): Disposable {
  const roots = [...runtimes.values()].map(({ rootfs }) => rootfs)
  // A group of its own, to be ended with whatever `find` has started.
  const child = reaper.spawn('nice', ['-n', '10', 'find', ...roots, '-xdev', '-type', 'f', '-exec', 'cat', '{}', '+'], { stdio: 'ignore', detached: true })
  let reading = child.pid !== undefined
  child.once('exit', () => (reading = false))
  // It is only a help.
  child.on('error', () => {})
  return {
    [Symbol.dispose]() {
      if (reading) process.kill(-child.pid!, 'SIGKILL')
    },
  }
}

/** What this machine trusts as it is now, so that an authority of the operator's own counts inside, too; undefined where there is no such file. */
async function copyAuthorities(target: string): Promise<string | undefined> {
  try {
    await cp(AUTHORITIES, target, { dereference: true })
    await chmod(target, 0o644)
    return target
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** Copied rather than bound: the checkout may lie, or its files may be, where a guest's user cannot read. */
async function copyShims(runtimes: ReadonlyMap<string, Runtime>, appDir: string, target: string): Promise<void> {
  for (const runtime of runtimes.values()) {
    const dir = join(target, runtime.name)
    await cp(join(appDir, runtime.shimDir), dir, { recursive: true })
    for (const entry of [dir, ...(await readdir(dir, { recursive: true })).map((name) => join(dir, name))])
      await chmod(entry, (await stat(entry)).isDirectory() ? 0o755 : 0o644)
  }
}
