/**
 * The machine's memory, watched so that we make room before its kernel does: below a reserve of available memory, sandboxes
 * without work are ended, warm ones first, then spares; when nothing is left to end, new ones are refused until there is enough again.
 */
import { readFileSync } from 'node:fs'

import { HostelError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { Logger } from '../telemetry/logger.ts'
import type { Registry } from '../telemetry/registry.ts'

/** What the kernel tells at one moment. */
export interface MemoryReading {
  availableMiB: number
  /** Share of the last ten seconds in which every process that could run waited for memory; undefined where the kernel does not tell. */
  stalledRatio: number | undefined
}

/** 1: sandboxes without work are being ended, and spares not renewed. 2: and that was not enough. */
export type PressureState = 0 | 1 | 2

export interface Pressure {
  readonly state: PressureState
  /** @throws HostelError `no_capacity` with what was measured, in state 2. */
  assertRoom(): void
  stop(): void
}

export interface PressureOptions {
  reserveMiB: number
  /** Asks sandboxes without work to leave, for so much memory. False: there are none, and none is on its way out. */
  relieve(missingMiB: number): boolean
  /** There is enough again. */
  onCalm(): void
  read?: () => MemoryReading
  logger: Logger
  metrics: Registry
}

/**
 * Stalls count only this close to the reserve, as a multiple of it: a sandbox that fights its own limit makes the whole machine's figure
 * rise, and must not get others ended.
 */
const STALLS_COUNT_BELOW = 2
const STALLED_RATIO_MAX = 0.1
/** At stalls without missing memory, so much is asked for at each look: about a sandbox. */
const STALLED_MISSING_MIB = 32
const RETRY_AFTER_SECONDS = 5
const MIB = 1_048_576

export function watchMemory(options: PressureOptions): Pressure {
  const { reserveMiB, relieve, onCalm, logger, metrics, read = readMemory } = options
  let state: PressureState = 0
  let shortAtMs = Number.NEGATIVE_INFINITY
  let reading: MemoryReading = { availableMiB: Number.POSITIVE_INFINITY, stalledRatio: undefined }

  function missingMiB(): number {
    const { availableMiB, stalledRatio } = reading
    if (availableMiB < reserveMiB) return reserveMiB - availableMiB
    return (stalledRatio ?? 0) > STALLED_RATIO_MAX && availableMiB < STALLS_COUNT_BELOW * reserveMiB ? STALLED_MISSING_MIB : 0
  }

  function become(next: PressureState): void {
    if (next === state) return
    const before = state
    state = next
    const facts = { ...reading, reserveMiB, state }
    if (next === 0) logger.warn(facts, 'the machine has enough memory again')
    else if (next > before)
      logger.warn(
        facts,
        next === 1 ? 'the machine is short of memory: sandboxes without work are ended' : 'the machine is short of memory: new sandboxes are refused',
      )
    if (next === 0) onCalm()
  }

  function look(): void {
    try {
      reading = read()
    } catch (error) {
      logger.error({ err: error }, "the machine's memory could not be read")
      return
    }
    const nowMs = performance.now()
    const missing = missingMiB()
    if (missing > 0) {
      shortAtMs = nowMs
      become(relieve(missing) ? 1 : 2)
    } else if (nowMs - shortAtMs >= limits.memoryCalmMs) become(0)
  }

  metrics.gauge('hostel_host_memory_available_bytes', () => (Number.isFinite(reading.availableMiB) ? reading.availableMiB * MIB : undefined))
  metrics.gauge('hostel_host_memory_reserve_bytes', () => reserveMiB * MIB)
  metrics.gauge('hostel_host_memory_pressure_ratio', () => reading.stalledRatio)
  metrics.gauge('hostel_memory_pressure_state', () => state)
  look()
  const timer = setInterval(look, limits.memoryWatchEveryMs).unref()

  return {
    get state() {
      return state
    },
    assertRoom() {
      if (state < 2) return
      const { availableMiB } = reading
      throw new HostelError(
        'no_capacity',
        `the machine has ${Math.round(availableMiB)} MiB of memory available and keeps ${reserveMiB} MiB in reserve; no sandbox without work is left to end, so that none can be started`,
        { facts: { availableMiB: Math.round(availableMiB), reserveMiB }, retryAfterSeconds: RETRY_AFTER_SECONDS },
      )
    },
    stop() {
      clearInterval(timer)
    },
  }
}

let withStalls = true

function readMemory(): MemoryReading {
  const available = /^MemAvailable:\s+(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'latin1'))
  if (!available) throw new Error('/proc/meminfo has no MemAvailable')
  return { availableMiB: Number(available[1]) / 1_024, stalledRatio: readStalls() }
}

/** Not every kernel is built with it, or has it switched on. */
function readStalls(): number | undefined {
  if (!withStalls) return undefined
  try {
    const full = /^full avg10=([\d.]+) /m.exec(readFileSync('/proc/pressure/memory', 'latin1'))
    return full ? Number(full[1]) / 100 : undefined
  } catch {
    withStalls = false
    return undefined
  }
}
