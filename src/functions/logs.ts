/** Reading a function's log: what is kept, and then, for those who follow, what arrives. */
import { HostelError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { Store } from '../store/store.ts'
import type { LogLine } from './types.ts'

export interface LogWanted {
  tenant: string
  function: string
  invocation?: string
  sinceMs?: number
  limit: number
  follow: boolean
}

/** All lines of a function of a stretch of time, in epoch milliseconds. */
export interface LogExport {
  tenant: string
  function: string
  sinceMs: number
  untilMs: number
}

export interface Logs {
  /** Called with each batch (the JSON text of an object with `logs`) once it is durable, in order. Parsed only when somebody follows. */
  arrived(batch: Uint8Array): void
  /**
   * Portions of lines in order; without an end when following, until `signal` aborts, which it must at the end. What a slow reader leaves
   * lying is bounded: beyond that, lines are dropped for it and a `gap` line says how many.
   * @throws HostelError `unavailable` when too many follow already.
   */
  read(wanted: LogWanted, signal: AbortSignal): AsyncGenerator<LogLine[], void>
  /** Every line that is kept up to now, oldest first. */
  export(wanted: LogExport, signal: AbortSignal): AsyncGenerator<LogLine[], void>
  /** Ends all reading. */
  close(): void
}

interface Follower {
  wanted: LogWanted
  waiting: LogLine[]
  waitingBytes: number
  dropped: number
  wake: () => void
}

/** About what a line costs besides its text. */
const LINE_OVERHEAD_BYTES = 256

export function createLogs(records: Pick<Store['records'], 'lines' | 'export' | 'position'>): Logs {
  const followers = new Set<Follower>()
  const closed = new AbortController()

  async function* follow(follower: Follower, signal: AbortSignal): AsyncGenerator<LogLine[], void> {
    while (!signal.aborted) {
      if (follower.waiting.length === 0 && follower.dropped === 0) {
        await new Promise<void>((resolve) => {
          follower.wake = resolve
        })
        continue
      }
      const lines = follower.waiting
      if (follower.dropped > 0) lines.push(gapLine(follower.wanted, follower.dropped))
      follower.waiting = []
      follower.waitingBytes = 0
      follower.dropped = 0
      yield lines
    }
  }

  return {
    arrived(batch) {
      if (followers.size === 0) return
      const { logs: lines } = JSON.parse(Buffer.from(batch.buffer, batch.byteOffset, batch.byteLength).toString()) as { logs: LogLine[] }
      for (const follower of followers) {
        const before = follower.waiting.length + follower.dropped
        for (const line of lines) if (isWanted(line, follower.wanted)) offer(follower, line)
        if (follower.waiting.length + follower.dropped > before) follower.wake()
      }
    },

    read(wanted, readerGone) {
      const signal = AbortSignal.any([readerGone, closed.signal])
      // Taken together, so that every line is either read or followed, and none both.
      const history = records.lines({ ...wanted, until: records.position })
      if (!wanted.follow) return whileWanted(history, signal)
      if (followers.size >= limits.logFollowersMax) throw new HostelError('unavailable', `${limits.logFollowersMax} readers follow logs already`)
      const follower: Follower = { wanted, waiting: [], waitingBytes: 0, dropped: 0, wake: () => {} }
      followers.add(follower)
      signal.addEventListener('abort', () => {
        followers.delete(follower)
        follower.wake()
      })
      return (async function* () {
        yield* whileWanted(history, signal)
        yield* follow(follower, signal)
      })()
    },

    export: (wanted, readerGone) => whileWanted(records.export({ ...wanted, until: records.position }), AbortSignal.any([readerGone, closed.signal])),

    close() {
      closed.abort()
    },
  }
}

async function* whileWanted(portions: AsyncGenerator<LogLine[], void>, signal: AbortSignal): AsyncGenerator<LogLine[], void> {
  for await (const lines of portions) {
    if (signal.aborted) return
    yield lines
  }
}

function isWanted(line: LogLine, wanted: LogWanted): boolean {
  return (
    line.function === wanted.function &&
    line.tenant === wanted.tenant &&
    (wanted.invocation === undefined || line.invocation === wanted.invocation) &&
    (wanted.sinceMs === undefined || line.atMs >= wanted.sinceMs)
  )
}

/** Once lines have been dropped, those that follow are too until the reader has taken what lies there: one gap instead of many. */
function offer(follower: Follower, line: LogLine): void {
  const bytes = line.text.length + LINE_OVERHEAD_BYTES
  if (follower.dropped > 0 || follower.waitingBytes + bytes > limits.logFollowerBufferBytes) {
    follower.dropped += 1
    return
  }
  follower.waiting.push(line)
  follower.waitingBytes += bytes
}

function gapLine(wanted: LogWanted, dropped: number): LogLine {
  return {
    tenant: wanted.tenant,
    function: wanted.function,
    version: 0,
    sandbox: 0,
    invocation: null,
    sequence: 0,
    atMs: Date.now(),
    level: 'gap',
    text: `${dropped} ${dropped === 1 ? 'line was' : 'lines were'} not sent, since this reader was too slow; they are kept and can be read again`,
  }
}
