/** This server among others on the machine: a name and a run directory of its own, and sweeping up after dead ones. */
import { randomBytes } from 'node:crypto'
import { closeSync, mkdirSync, openSync, readdirSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'

import { instancesWithCgroups, openCgroups, removeCgroupRoot } from '../engines/embedded/cgroups.ts'
import { lock, tryLock } from '../engines/flock.native.ts'
import type { Logger } from '../telemetry/logger.ts'

const RUN_DIR = '/run/hostel'
const SLOTS_DIR = join(RUN_DIR, 'slots')
const INSTANCE_NAME = /^[0-9a-f]{12}$/

export interface Instance extends AsyncDisposable {
  name: string
  /** `/run/hostel/<name>`, traversable by everyone; gone afterwards. */
  runDir: string
  /** Locks of user-id slots, shared by all instances. */
  slotsDir: string
}

/**
 * Makes a new instance, after removing what servers that have died left in /run and among the cgroups. An instance lives
 * for as long as its lock is held, and the kernel frees the lock of whoever dies.
 */
export async function openInstance(log: Logger): Promise<Instance> {
  mkdirSync(RUN_DIR, { recursive: true, mode: 0o711 })
  const name = randomBytes(6).toString('hex')
  const runDir = join(RUN_DIR, name)
  const fd = await withRunDirLocked(async () => {
    await sweep(log)
    mkdirSync(runDir, { mode: 0o711 })
    const own = openSync(join(runDir, 'lock'), 'a', 0o600)
    tryLock(own)
    return own
  })
  return {
    name,
    runDir,
    slotsDir: SLOTS_DIR,
    async [Symbol.asyncDispose]() {
      await withRunDirLocked(async () => {
        await rm(runDir, { recursive: true, force: true })
        closeSync(fd)
        if (!readdirSync(RUN_DIR).some((other) => INSTANCE_NAME.test(other))) await rm(SLOTS_DIR, { recursive: true, force: true })
        await removeCgroupRoot()
      })
    },
  }
}

/** One server at a time: else one that is being made would look dead to another that sweeps. */
async function withRunDirLocked<T>(work: () => Promise<T>): Promise<T> {
  const fd = openSync(RUN_DIR, 'r')
  try {
    lock(fd)
    return await work()
  } finally {
    closeSync(fd)
  }
}

async function sweep(log: Logger): Promise<void> {
  const onDisk = readdirSync(RUN_DIR)
  const names = new Set([...onDisk, ...(await instancesWithCgroups())].filter((name) => INSTANCE_NAME.test(name)))
  for (const name of names) {
    if (isAlive(name)) continue
    log.info({ instance: name }, 'removing what a dead server left')
    await openCgroups(name)
      .removeInstance()
      .catch((error: unknown) => log.warn({ err: error, instance: name }, 'some control groups of a dead server stay'))
    await rm(join(RUN_DIR, name), { recursive: true, force: true })
  }
}

function isAlive(name: string): boolean {
  let fd: number
  try {
    fd = openSync(join(RUN_DIR, name, 'lock'), 'r')
  } catch {
    return false
  }
  try {
    return !tryLock(fd)
  } finally {
    closeSync(fd)
  }
}
