/** Starting one container with crun, already inside its cgroup. */
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

import { EngineError } from '../engine.ts'
import type { SandboxCgroup } from './cgroups.ts'
import type { Reaper } from './reaper.native.ts'

/**
 * Joins the groups, then becomes crun, which is told to leave cgroups alone: four moves instead of crun's nine on cgroup v1,
 * no tree of its own left to clean up, and its own memory counts as the sandbox's.
 */
const JOIN_AND_EXEC = 'while [ "$1" != -- ]; do echo 0 > "$1" || exit 125; shift; done; shift; exec "$@"'

export interface StartRequest {
  reaper: Reaper
  cgroup: SandboxCgroup
  /** crun's own state. */
  crunRoot: string
  bundleDir: string
  name: string
  /** The guest's fds 1 to 4. */
  stdout: number
  stderr: number
  stream: number
  secondStream: number
  timeoutMs: number
}

/** Resolves to the pid of the sandbox's pid 1, which the caller must reap. @throws EngineError `boot_failed` with crun's own words. */
export async function startContainer(request: StartRequest): Promise<number> {
  const logFile = join(request.bundleDir, 'crun.log')
  const pidFile = join(request.bundleDir, 'pid')
  const child = request.reaper.spawn(
    '/bin/sh',
    [
      '-c',
      JOIN_AND_EXEC,
      'sh',
      ...request.cgroup.joinFiles,
      '--',
      'crun',
      '--root',
      request.crunRoot,
      '--log',
      logFile,
      '--cgroup-manager',
      'disabled',
      'run',
      '--detach',
      '--preserve-fds',
      '2',
      '--pid-file',
      pidFile,
      '--bundle',
      request.bundleDir,
      request.name,
    ],
    { stdio: ['ignore', request.stdout, request.stderr, request.stream, request.secondStream], env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' } },
  )
  // crun is in the group too, so this ends it with all that it has begun.
  const timer = setTimeout(() => request.cgroup.kill(), request.timeoutMs)
  try {
    const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
    if (code !== 0) {
      const words = (await readFile(logFile, 'utf8').catch(() => '')).trim()
      throw new EngineError('boot_failed', `crun ${signal === null ? `ended with code ${code}` : `was ended by ${signal}`}${words && `: ${words}`}`)
    }
    return Number(await readFile(pidFile, 'utf8'))
  } catch (error) {
    // crun may have died with its child alive.
    request.cgroup.kill()
    throw error instanceof EngineError ? error : new EngineError('boot_failed', `crun did not start: ${(error as Error).message}`, { cause: error })
  } finally {
    clearTimeout(timer)
  }
}
