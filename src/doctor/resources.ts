/** Memory, disk, open files and the clock. */
import { existsSync, readFileSync, statfsSync, statSync } from 'node:fs'
import { join } from 'node:path'

import { defaultCacheDir } from '../runtimes/install.mjs'
import type { Check } from './check.ts'

const GiB = 1024 ** 3
/** Below this the server and a few sandboxes of the smallest class do not fit. */
const MEMORY_NEEDED_BYTES = 0.5 * GiB
const MEMORY_COMFORTABLE_BYTES = 1.5 * GiB
/** Room for the runtimes' root filesystems, some code and a day's logs. */
const DISK_COMFORTABLE_BYTES = 1 * GiB
/** Descriptors that the gateway holds for one sandbox: its stream, standard output and error, and one for a client. */
const FILES_PER_SANDBOX = 4
const OPEN_FILES_COMFORTABLE = 4_096

const root = join(import.meta.dirname, '..', '..')

export function checkMemory(): Check {
  return judgeMemory(readFileSync('/proc/meminfo', 'utf8'))
}

/** Takes the text of /proc/meminfo. */
export function judgeMemory(meminfo: string): Check {
  const bytes = (field: string): number => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(meminfo)?.[1]) * 1024
  const available = bytes('MemAvailable')
  const detail = `${gib(available)} of ${gib(bytes('MemTotal'))} available`
  if (available >= MEMORY_COMFORTABLE_BYTES) return { name: 'memory', ok: true, detail }
  return {
    name: 'memory',
    ok: available >= MEMORY_NEEDED_BYTES ? 'warn' : false,
    detail: `${detail}; each sandbox takes 20 MiB and more`,
    mend: 'end other programs, or give the machine more memory',
  }
}

export function checkDisk(): Check[] {
  return [defaultCacheDir, join(root, 'data')].map((path) => {
    const there = existsSync(path) ? path : existingParent(path)
    const { bavail, bsize } = statfsSync(there)
    const free = bavail * bsize
    const detail = `${gib(free)} free for ${path}`
    const name = path === defaultCacheDir ? 'disk for runtimes' : 'disk for data'
    return free >= DISK_COMFORTABLE_BYTES ? { name, ok: true, detail } : { name, ok: 'warn' as const, detail, mend: `make room below ${there}` }
  })
}

export function checkOpenFiles(): Check {
  return judgeOpenFiles(readFileSync('/proc/self/limits', 'utf8'))
}

/** Takes the text of /proc/PID/limits. Node raises the soft limit to the hard one by itself. */
export function judgeOpenFiles(text: string): Check {
  const word = /^Max open files\s+\S+\s+(\S+)/m.exec(text)?.[1]
  const hard = word === 'unlimited' ? Infinity : Number(word)
  const detail = `${word} at most, enough for about ${Math.floor(hard / FILES_PER_SANDBOX).toLocaleString('en')} sandboxes`
  if (hard >= OPEN_FILES_COMFORTABLE) return { name: 'open files', ok: true, detail }
  return { name: 'open files', ok: 'warn', detail, mend: 'ulimit -Hn 65536 before the start, or LimitNOFILE=65536 in the service' }
}

export function checkClock(): Check {
  return judgeClock(Date.now(), statSync(join(root, 'package.json')).mtimeMs)
}

/** @param writtenAtMs when a file of the checkout was written: the present cannot be before that */
export function judgeClock(nowMs: number, writtenAtMs: number): Check {
  if (nowMs >= writtenAtMs) return { name: 'clock', ok: true, detail: new Date(nowMs).toISOString() }
  return {
    name: 'clock',
    ok: 'warn',
    detail: `${new Date(nowMs).toISOString()} is before the application was installed; ids and logs are ordered by the clock, and certificates checked by it`,
    mend: 'timedatectl set-ntp true',
  }
}

function existingParent(path: string): string {
  let there = path
  while (!existsSync(there)) there = join(there, '..')
  return there
}

function gib(bytes: number): string {
  return `${(bytes / GiB).toFixed(1)} GiB`
}
