/** Logs of builds while they run, and a little longer, for whoever wants to watch: the one who deploys. */
import { limits } from '../limits.ts'

export interface BuildLine {
  /** Since the deploy asked for its dependencies. */
  afterMs: number
  text: string
}

export interface BuildLog {
  say(text: string): void
  /** The last lines. */
  tail(lines: number): string[]
  /** Nothing more comes. */
  end(): void
}

export interface BuildLogs {
  /** A log that nobody else can have opened is found by its id; without one, by nobody. */
  open(tenant: string, id?: string): BuildLog
  /** All lines, from the first on, until the build is over. Ends at once, after a short wait, for one that never begins. */
  follow(tenant: string, id: string, signal: AbortSignal): AsyncGenerator<BuildLine>
}

/** The watcher and the deploy that it watches come on two connections: either may be first. */
const AWAIT_OPEN_MS = 3_000
/** For a watcher that comes late. */
const KEEP_MS = 30_000
const LOGS_MAX = 200

interface Kept {
  lines: BuildLine[]
  bytes: number
  ended: boolean
  wake: Set<() => void>
}

export function createBuildLogs(): BuildLogs {
  const logs = new Map<string, Kept>()
  const opened = new Set<() => void>()

  function open(tenant: string, id?: string): BuildLog {
    const startMs = performance.now()
    const kept: Kept = { lines: [], bytes: 0, ended: false, wake: new Set() }
    const key = `${tenant}/${id}`
    const isFound = id !== undefined && !logs.has(key) && logs.size < LOGS_MAX
    if (isFound) {
      logs.set(key, kept)
      for (const wake of opened) wake()
    }
    const wakeAll = (): void => {
      for (const wake of kept.wake) wake()
    }
    return {
      say(text) {
        if (kept.ended || kept.bytes > limits.buildLogMaxBytes || kept.lines.length >= limits.buildLogMaxLines) return
        kept.bytes += Buffer.byteLength(text)
        const isLast = kept.bytes > limits.buildLogMaxBytes || kept.lines.length + 1 >= limits.buildLogMaxLines
        kept.lines.push({ afterMs: Math.round(performance.now() - startMs), text: isLast ? '… the log is too long; the rest is left out' : text })
        wakeAll()
      },
      tail: (count) => kept.lines.slice(-count).map(({ text }) => text),
      end() {
        if (kept.ended) return
        kept.ended = true
        wakeAll()
        if (isFound) setTimeout(() => logs.delete(key), KEEP_MS).unref()
      },
    }
  }

  /** Resolves at the next call of a function in the set, when the time is up, or when nobody waits any more. */
  function next(waiting: Set<() => void>, signal: AbortSignal, withinMs?: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer)
        waiting.delete(done)
        signal.removeEventListener('abort', done)
        resolve()
      }
      const timer = withinMs === undefined ? undefined : setTimeout(done, withinMs)
      waiting.add(done)
      signal.addEventListener('abort', done)
      if (signal.aborted) done()
    })
  }

  return {
    open,
    async *follow(tenant, id, signal) {
      const key = `${tenant}/${id}`
      const untilMs = performance.now() + AWAIT_OPEN_MS
      while (!logs.has(key) && !signal.aborted && performance.now() < untilMs) await next(opened, signal, untilMs - performance.now())
      const kept = logs.get(key)
      if (!kept) return
      let given = 0
      while (!signal.aborted) {
        while (given < kept.lines.length) yield kept.lines[given++]!
        if (kept.ended) return
        if (given === kept.lines.length) await next(kept.wake, signal)
      }
    },
  }
}
