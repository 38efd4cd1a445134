/** Ids of invocations: UUIDv7, so that they sort by time. */
import { randomFillSync } from 'node:crypto'
import { v7 } from 'uuid'

const RANDOM_BYTES = 16

/** Randomness is fetched for 512 ids at once: one call into the kernel's generator per id costs ten times the rest. */
const pool = new Uint8Array(512 * RANDOM_BYTES)
let used = pool.length
let lastMs = 0
let sequence = 0

/** A new id. Ids made in the same millisecond still rise. */
export function newInvocationId(): string {
  if (used === pool.length) {
    randomFillSync(pool)
    used = 0
  }
  const random = pool.subarray(used, (used += RANDOM_BYTES))
  const now = Date.now()
  if (now > lastMs) {
    lastMs = now
    // The top bit is left clear, so that counting up does not wrap.
    sequence = ((random[6]! & 0x7f) << 24) | (random[7]! << 16) | (random[8]! << 8) | random[9]!
  } else {
    sequence++
  }
  return v7({ random, msecs: lastMs, seq: sequence })
}
