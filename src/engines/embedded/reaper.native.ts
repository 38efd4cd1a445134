/**
 * Reaping for the process that adopts orphans: sandboxes' first processes, and whatever else loses its parent. Node waits
 * only for children that it spawned itself, each by pid, so every other zombie is ours to collect — and those that are
 * Node's must be left to it: hence all children of the process are spawned through `spawn` here.
 */
import { type ChildProcess, type SpawnOptions, spawn as spawnChild } from 'node:child_process'
import { constants } from 'node:os'

import { checked, libc } from '../libc.native.ts'

const P_ALL = 0
const P_PID = 1
const WNOHANG = 1
const WEXITED = 4
const WNOWAIT = 0x0100_0000
const CLD_EXITED = 1
// Offsets in a 64-bit siginfo_t.
const SI_CODE = 8
const SI_PID = 16
const SI_STATUS = 24

const waitidCall = libc.func('waitid', 'int', ['int', 'int', 'void *', 'int'])

/** How a process ended. */
export interface WaitStatus {
  exitCode?: number
  signal?: NodeJS.Signals
}

export interface Reaper extends Disposable {
  /** `child_process.spawn`, known to the reaper. */
  spawn(command: string, args: string[], options: SpawnOptions): ChildProcess
  /** Resolves when an adopted process has ended. Must be asked for inside `expecting`, since it may be dead by then. */
  ended(pid: number): Promise<WaitStatus>
  /** Remembers who dies while `work` finds out the pid it will ask for. */
  expecting<T>(work: () => Promise<T>): Promise<T>
}

/** One per process; starts to collect at once. */
export function createReaper(): Reaper {
  const nodes = new Set<number>()
  const waiting = new Map<number, (status: WaitStatus) => void>()
  const unclaimed = new Map<number, { status: WaitStatus; atMs: number }>()
  const expectations = new Set<{ sinceMs: number }>()
  const info = Buffer.alloc(128)
  let again: NodeJS.Timeout | undefined

  const collect = (): void => {
    for (;;) {
      info.fill(0)
      // Fails with ECHILD when there are no children at all, which is fine.
      if ((waitidCall(P_ALL, 0, info, WEXITED | WNOHANG | WNOWAIT) as number) < 0) return
      const pid = info.readInt32LE(SI_PID)
      if (pid === 0) return
      if (nodes.has(pid)) {
        // Node's own zombie hides those behind it until Node has collected it, which it is about to do.
        again ??= setTimeout(() => {
          again = undefined
          collect()
        }, 1)
        return
      }
      const status = info.readInt32LE(SI_STATUS)
      const result: WaitStatus = info.readInt32LE(SI_CODE) === CLD_EXITED ? { exitCode: status } : { signal: signalName(status) }
      checked('waitid', waitidCall(P_PID, pid, info, WEXITED | WNOHANG) as number)
      const claim = waiting.get(pid)
      if (claim) {
        waiting.delete(pid)
        claim(result)
      } else if (expectations.size > 0) {
        unclaimed.set(pid, { status: result, atMs: performance.now() })
      }
    }
  }
  process.on('SIGCHLD', collect)

  return {
    spawn(command, args, options) {
      const child = spawnChild(command, args, options)
      const { pid } = child
      if (pid !== undefined) {
        nodes.add(pid)
        child.once('exit', () => {
          nodes.delete(pid)
          collect()
        })
      }
      return child
    },
    ended(pid) {
      const known = unclaimed.get(pid)
      if (known) {
        unclaimed.delete(pid)
        return Promise.resolve(known.status)
      }
      return new Promise((resolve) => waiting.set(pid, resolve))
    },
    async expecting(work) {
      const expectation = { sinceMs: performance.now() }
      expectations.add(expectation)
      try {
        return await work()
      } finally {
        expectations.delete(expectation)
        // What died before the oldest expectation is nobody's, and its pid may be used again.
        const oldestMs = Math.min(...[...expectations].map(({ sinceMs }) => sinceMs))
        for (const [pid, { atMs }] of unclaimed) if (atMs < oldestMs) unclaimed.delete(pid)
      }
    },
    [Symbol.dispose]() {
      process.off('SIGCHLD', collect)
      clearTimeout(again)
    },
  }
}

/** Of two names for a number the first counts: SIGABRT, not SIGIOT. */
const signalNames = new Map(
  Object.entries(constants.signals)
    .reverse()
    .map(([name, number]) => [number, name as NodeJS.Signals]),
)

/** `SIGSEGV` and the like; real-time signals by number. */
export function signalName(number: number): NodeJS.Signals {
  return signalNames.get(number) ?? (`SIG${number}` as NodeJS.Signals)
}
