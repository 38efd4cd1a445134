/** What a whole test run may leave on the machine: compared before and after, since other servers may be running, too. */
import { spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { leftovers } from './leftovers.ts'

/** Environment variable by which the processes of a run are known, whoever adopts them. */
const MARK = 'HOSTEL_TEST_RUN'
/** Processes that have been told to end need a moment. */
const SETTLE_MS = 3_000

/**
 * Marks this process's children and gives them a temporary directory of their own. The function it returns names what is
 * left of both, and takes it away.
 */
export function watchTraces(): () => Promise<string[]> {
  const before = new Set(leftovers())
  const tempDir = mkdtempSync(join(tmpdir(), 'hostel-tests-'))
  // Open to other users as /tmp is: gateway and control run as such.
  chmodSync(tempDir, 0o1777)
  process.env['TMPDIR'] = tempDir
  process.env[MARK] = tempDir
  const found = (): string[] => [
    ...markedProcesses(tempDir).map(({ pid, command }) => `process ${pid}: ${command}`),
    ...leftovers().filter((trace) => !before.has(trace) && !ofLivingServer(trace)),
    ...readdirSync(tempDir).map((name) => join(tempDir, name)),
  ]
  return async () => {
    const deadline = performance.now() + SETTLE_MS
    while (found().length > 0 && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 100))
    const traces = found()
    for (const { pid } of markedProcesses(tempDir)) process.kill(pid, 'SIGKILL')
    rmSync(tempDir, { recursive: true, force: true })
    return traces
  }
}

/** A server's directory and cgroups are no leftovers while it lives: it holds its lock. One of ours would show among the processes. */
function ofLivingServer(trace: string): boolean {
  const instance = /\b[0-9a-f]{12}\b/.exec(trace)?.[0]
  return instance !== undefined && spawnSync('flock', ['--nonblock', `/run/hostel/${instance}/lock`, 'true']).status === 1
}

function markedProcesses(mark: string): { pid: number; command: string }[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => pid > 0 && pid !== process.pid)
    .filter((pid) => read(`/proc/${pid}/environ`).split('\0').includes(`${MARK}=${mark}`))
    .map((pid) => ({ pid, command: read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim() }))
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
