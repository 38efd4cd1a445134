/** The account of each attempt to leave a sandbox, written once it is over. */
import type { EgressRecord } from '../functions/types.ts'
import { limits } from '../limits.ts'

/** The sandbox that doors belong to, as far as they need it. */
export interface DoorOwner {
  tenant: string
  function: string
  version: number
  sandbox: number
  /** The invocation in it, if there is only one. */
  invocation(): string | null
  /** Hostel's own word into the function's log. */
  note(text: string, invocation: string | null): void
  /** It opens connections without end: its time is up. */
  flooded(): void
}

export interface Attempt {
  /** A connection stands. */
  connected(address: string): void
  /** Once; later calls do nothing. */
  end(verdict: EgressRecord['verdict'], reason: string | null, facts?: { address?: string | null; sentBytes?: number; receivedBytes?: number }): void
}

/** Begins attempts of one sandbox. */
export type Ledger = (door: EgressRecord['door'], target: string) => Attempt

const TARGET_MAX_CHARS = 300
const WINDOW_MS = 1_000
/** A connection that stands for so long is written before its end. */
const OPEN_WRITTEN_AFTER_MS = 500
/** Different targets that a sandbox's log is told about; the records have all. */
const NOTED_MAX = 20

export function createLedger(owner: DoorOwner, parts: { record(record: EgressRecord): void; newId(): string }): Ledger {
  const noted = new Set<string>()
  let windowStartMs = 0
  let written = 0
  let passedOver: EgressRecord | undefined
  let passedOverCount = 0

  /** Attempts beyond a second's share become one record, so that a guest in a loop drowns nobody else's. */
  function write(record: EgressRecord): void {
    const nowMs = Date.now()
    if (nowMs - windowStartMs >= WINDOW_MS || nowMs < windowStartMs) {
      if (passedOver)
        parts.record({ ...passedOver, reason: `${passedOverCount} attempts within a second were not recorded one by one; this is the last of them` })
      passedOver = undefined
      passedOverCount = written = 0
      windowStartMs = nowMs
    }
    if (++written <= limits.egressRecordsPerSecondMax) return parts.record(record)
    passedOver = record
    passedOverCount++
  }

  return (door, target) => {
    const id = parts.newId()
    const startedAtMs = Date.now()
    const invocation = owner.invocation()
    const startMs = performance.now()
    let connectedAfterMs: number | undefined
    let reached: string | null = null
    let over = false
    let openTimer: NodeJS.Timeout | undefined
    const recordOf = (facts: Pick<EgressRecord, 'verdict' | 'reason' | 'address' | 'connectMs' | 'totalMs' | 'sentBytes' | 'receivedBytes'>): EgressRecord => ({
      id,
      tenant: owner.tenant,
      function: owner.function,
      version: owner.version,
      sandbox: owner.sandbox,
      invocation,
      door,
      target: target.slice(0, TARGET_MAX_CHARS),
      startedAtMs,
      ...facts,
    })
    return {
      connected(address) {
        const connectMs = performance.now() - startMs
        connectedAfterMs = connectMs
        reached = address
        openTimer = setTimeout(() => {
          write(recordOf({ verdict: 'allowed', reason: null, address, connectMs, totalMs: null, sentBytes: 0, receivedBytes: 0 }))
        }, OPEN_WRITTEN_AFTER_MS)
      },
      end(verdict, reason, facts = {}) {
        if (over) return
        over = true
        const totalMs = performance.now() - startMs
        clearTimeout(openTimer)
        const shown = target.slice(0, TARGET_MAX_CHARS)
        const { sentBytes = 0, receivedBytes = 0 } = facts
        write(
          recordOf({ verdict, reason, address: reached ?? facts.address ?? null, connectMs: connectedAfterMs ?? totalMs, totalMs, sentBytes, receivedBytes }),
        )
        if (verdict === 'allowed' || noted.size >= NOTED_MAX || noted.has(`${shown} ${reason}`)) return
        noted.add(`${shown} ${reason}`)
        owner.note(`egress to ${shown} ${verdict}: ${reason}`, invocation)
      },
    }
  }
}
