/**
 * User-id slots. Several servers may run on one machine, so slots are claimed in blocks, each with a lock file that the
 * kernel frees when its holder dies.
 */
import { mkdirSync, openSync, closeSync } from 'node:fs'
import { join } from 'node:path'

import { limits } from '../../limits.ts'
import { EngineError } from '../engine.ts'
import { tryLock } from '../flock.native.ts'

const SLOTS_PER_BLOCK = 64

export interface Slots extends Disposable {
  /** First id of a range that nobody else uses. @throws EngineError `no_slot`. */
  take(): number
  /** Only once no process and no file of the range is left. */
  giveBack(firstUid: number): void
}

/** Slots claimed through lock files in `directory`, which all servers of the machine share. */
export function createSlots(directory: string): Slots {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  // First in, first out: an id rests as long as possible before it is someone else's.
  const free: number[] = []
  const locks: number[] = []

  const claimBlock = (): void => {
    for (let block = 0; block < limits.sandboxSlots / SLOTS_PER_BLOCK; block++) {
      const fd = openSync(join(directory, String(block)), 'a', 0o600)
      if (!tryLock(fd)) {
        closeSync(fd)
        continue
      }
      locks.push(fd)
      for (let slot = block * SLOTS_PER_BLOCK; slot < (block + 1) * SLOTS_PER_BLOCK; slot++) free.push(limits.uidBase + slot * limits.uidsPerSlot)
      return
    }
    throw new EngineError('no_slot', 'all ranges of user ids are taken by sandboxes, of this server or of others on this machine')
  }

  return {
    take() {
      if (free.length === 0) claimBlock()
      return free.shift()!
    },
    giveBack: (firstUid) => void free.push(firstUid),
    [Symbol.dispose]() {
      for (const fd of locks) closeSync(fd)
      locks.length = 0
      free.length = 0
    },
  }
}
