/**
 * Numbers the lines of one sandbox and holds them to their limits. What is dropped leaves a visible gap line that tells how much,
 * and a guest that goes on flooding is read more slowly, which slows nobody but itself.
 */
import type { LogLine } from '../functions/types.ts'
import { limits } from '../limits.ts'

/** The invocation that a line belongs to, with its account. */
export interface LogOwner {
  readonly invocation: string
  loggedLines: number
  droppedLines: number
  droppedBytes: number
}

export type IntakeLine = Pick<LogLine, 'invocation' | 'sequence' | 'atMs' | 'level' | 'text'>

export interface LogIntake {
  /** Takes a line or drops it; the text is decoded only if it is taken. False: the guest floods, pause reading it for `FLOOD_PAUSE_MS`. */
  add(level: LogLine['level'], owner: LogOwner | null, text: Buffer): boolean
  /** Counts what makes no line, such as empty ones: reading it is work, too. False as above. */
  passOver(bytes: number): boolean
  /** Hostel's own word, on the sandbox or on one invocation; never dropped. */
  system(text: string, invocation?: string): void
  /** The owner's invocation is over: tells what it lost to its own limit. */
  ownerDone(owner: LogOwner): void
  /** Tells what is still untold. */
  close(): void
}

/** Dropped lines or bytes after which reading pauses: four seconds' worth of the limit, so that ordinary bursts are just dropped. */
const FLOOD_LINES = 4 * limits.logLinesPerSecond
const FLOOD_BYTES = 4 * limits.logBytesPerSecond
export const FLOOD_PAUSE_MS = 100
const WINDOW_MS = 1_000

/** @param emit gets each line, with how many dropped ones it stands for. */
export function createLogIntake(emit: (line: IntakeLine, dropped: number) => void): LogIntake {
  let sequence = 0
  let windowStartMs = 0
  let windowLines = 0
  let windowBytes = 0
  let droppedLines = 0
  let droppedBytes = 0
  /** Whose the dropped lines are; undefined: of several. */
  let droppedOf: string | null | undefined = null
  let floodLines = 0
  let floodBytes = 0
  let timer: NodeJS.Timeout | undefined

  function write(level: LogLine['level'], invocation: string | null, text: string, atMs: number, dropped = 0): void {
    emit({ invocation, sequence: ++sequence, atMs, level, text }, dropped)
  }

  function tellGap(): void {
    clearTimeout(timer)
    timer = undefined
    if (droppedLines === 0) return
    const text = `${lost(droppedLines, droppedBytes)}: more than ${limits.logLinesPerSecond} lines or ${limits.logBytesPerSecond} bytes a second`
    write('gap', droppedOf ?? null, text, Date.now(), droppedLines)
    droppedLines = droppedBytes = 0
  }

  function openWindow(atMs: number): void {
    // A clock set back starts a new window too.
    if (atMs - windowStartMs < WINDOW_MS && atMs >= windowStartMs) return
    tellGap()
    windowStartMs = atMs
    windowLines = windowBytes = 0
    floodLines = floodBytes = 0
  }

  function flooded(bytes: number): boolean {
    floodLines++
    floodBytes += bytes
    if (floodLines < FLOOD_LINES && floodBytes < FLOOD_BYTES) return false
    floodLines = floodBytes = 0
    return true
  }

  return {
    add(level, owner, text) {
      const atMs = Date.now()
      openWindow(atMs)
      if (owner !== null && owner.loggedLines >= limits.logLinesPerInvocation) {
        owner.droppedLines++
        owner.droppedBytes += text.length
        return !flooded(text.length)
      }
      if (windowLines >= limits.logLinesPerSecond || windowBytes + text.length > limits.logBytesPerSecond) {
        const of = owner?.invocation ?? null
        droppedOf = droppedLines === 0 || droppedOf === of ? of : undefined
        droppedLines++
        droppedBytes += text.length
        timer ??= setTimeout(tellGap, WINDOW_MS).unref()
        return !flooded(text.length)
      }
      windowLines++
      windowBytes += text.length
      if (owner !== null) owner.loggedLines++
      write(level, owner?.invocation ?? null, text.toString(), atMs)
      return true
    },
    passOver(bytes) {
      openWindow(Date.now())
      return !flooded(bytes)
    },
    system(text, invocation) {
      tellGap()
      write('system', invocation ?? null, text, Date.now())
    },
    ownerDone(owner) {
      if (owner.droppedLines === 0) return
      write(
        'gap',
        owner.invocation,
        `${lost(owner.droppedLines, owner.droppedBytes)}: more than ${limits.logLinesPerInvocation} lines in one invocation`,
        Date.now(),
        owner.droppedLines,
      )
      owner.droppedLines = owner.droppedBytes = 0
    },
    close: tellGap,
  }
}

function lost(lines: number, bytes: number): string {
  return `${lines} ${lines === 1 ? 'line' : 'lines'} (${bytes} bytes) dropped here`
}
