/**
 * Keys for secrets at rest: one file each, outside the database, for control's eyes only. A key is complete and on disk under its
 * name, or not there at all.
 */
import { createSecretKey, randomBytes } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { closeSync, fsyncSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** AES-256. */
const KEY_BYTES = 32
const FILE = /^([0-9a-f]{16})\.key$/

export interface KeyRing {
  /** Undefined when its file is missing or holds no key. */
  get(id: string): KeyObject | undefined
  /** Makes a new key, durably. Gives its id. */
  create(): string
  /** Removes the files of all keys but these, and what a crash left half-written. */
  keepOnly(ids: readonly string[]): void
}

/** The name of a key's file. */
export function keyFileName(id: string): string {
  return `${id}.key`
}

export function openKeyRing(directory: string): KeyRing {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const known = new Map<string, KeyObject>()

  return {
    get(id) {
      const key = known.get(id) ?? read(join(directory, keyFileName(id)))
      if (key) known.set(id, key)
      return key
    },

    create() {
      const id = randomBytes(8).toString('hex')
      const file = join(directory, keyFileName(id))
      writeDurably(`${file}.new`, `${randomBytes(KEY_BYTES).toString('hex')}\n`)
      renameSync(`${file}.new`, file)
      syncDirectory(directory)
      return id
    },

    keepOnly(ids) {
      for (const name of readdirSync(directory)) {
        const id = FILE.exec(name)?.[1]
        if (id !== undefined && ids.includes(id)) continue
        if (id !== undefined) known.delete(id)
        rmSync(join(directory, name), { force: true, recursive: true })
      }
      syncDirectory(directory)
    },
  }
}

function read(file: string): KeyObject | undefined {
  let text: string
  try {
    text = readFileSync(file, 'latin1').trim()
  } catch {
    return undefined
  }
  return /^[0-9a-f]{64}$/.test(text) ? createSecretKey(text, 'hex') : undefined
}

function writeDurably(file: string, text: string): void {
  const descriptor = openSync(file, 'w', 0o600)
  try {
    writeFileSync(descriptor, text)
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

function syncDirectory(directory: string): void {
  const descriptor = openSync(directory, 'r')
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}
