/** Code by its digest: `code/<digest>/` in control's part of the data directory, complete or not there at all. */
import { randomUUID } from 'node:crypto'
import { createWriteStream, existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { lstat, mkdir, open, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'

import { HostelError } from '../../errors.ts'
import { limits } from '../../limits.ts'
import type { FunctionStore } from '../../store/functions.ts'
import { bounded } from './bounded.ts'
import { startUnpacker } from './unpacker.ts'
import type { Unpacked } from './unpacker.ts'

export interface CodeStore {
  /** Takes an archive (tar, gzipped) in; the same code again is no second copy. @throws HostelError when it is refused. */
  receive(archive: Readable): Promise<Unpacked>
  /** Whether it is there at this very moment. */
  has(digest: string): boolean
  /** Whether the code holds a file of this path. */
  hasFile(digest: string, path: string): Promise<boolean>
  /** The text of a file, if it is there and not longer than that. */
  readText(digest: string, path: string, maxBytes: number): Promise<string | undefined>
  /** While it is held, no code is removed. */
  hold(): Disposable
  /** Where it lies. Nothing there is ever changed. */
  directoryOf(digest: string): string
  /** Unpacks an archive (tar, gzipped) that is not code into a directory of the caller's, by the same rules. @throws HostelError when it is refused. */
  unpack(archive: string, directory: string): Promise<Unpacked>
  /** Takes over a directory that is on disk already, as that of this digest. */
  add(digest: string, directory: string): Promise<void>
  /** Removes code that no version has needed for `limits.codeUnusedKeepMs`. Gives the number of those. */
  collect(functions: FunctionStore, nowMs: number): Promise<number>
  close(): Promise<void>
}

const DIGEST = /^[0-9a-f]{64}$/

/** Opens the store in a directory and clears what an earlier process left unfinished. */
export function openCodeStore(dataDir: string, options: { unpackTimeoutMs: number } = { unpackTimeoutMs: limits.codeUnpackTimeoutMs }): CodeStore {
  const codeDir = join(dataDir, 'code')
  const temporaryDir = join(dataDir, 'tmp')
  rmSync(temporaryDir, { recursive: true, force: true })
  mkdirSync(temporaryDir, { recursive: true, mode: 0o700 })
  mkdirSync(codeDir, { recursive: true, mode: 0o755 })
  const unpacker = startUnpacker(options.unpackTimeoutMs)
  /** Since when code has been without a version; starts anew with every process, which only keeps it longer. */
  const unusedSinceMs = new Map<string, number>()
  let uploads = 0
  let holds = 0

  /** Moves a directory out of sight in one step, then removes it at leisure. */
  async function remove(digest: string): Promise<void> {
    await rm(join(temporaryDir, digest), { recursive: true, force: true })
  }

  async function receiveInto(work: string, archive: Readable): Promise<Unpacked> {
    const file = join(work, 'archive')
    const tree = join(work, 'tree')
    await pipeline(archive, bounded(limits.codeArchiveMaxBytes, archiveTooLarge), createWriteStream(file, { flags: 'wx', mode: 0o600 }))
    await mkdir(tree)
    const unpacked = await unpacker.unpack({ archive: file, directory: tree, isCode: true })
    await add(unpacked.digest, tree)
    return unpacked
  }

  async function add(digest: string, directory: string): Promise<void> {
    const place = join(codeDir, digest)
    unusedSinceMs.delete(digest)
    if (existsSync(place)) return
    renameSync(directory, place)
    await syncDirectory(codeDir)
  }

  return {
    async receive(archive) {
      if (uploads >= limits.codeUploadsMax) throw new HostelError('unavailable', 'too many uploads at once', { retryAfterSeconds: 5 })
      uploads += 1
      const work = join(temporaryDir, randomUUID())
      try {
        await mkdir(work, 0o700)
        return await receiveInto(work, archive)
      } finally {
        uploads -= 1
        await rm(work, { recursive: true, force: true })
      }
    },

    has(digest) {
      return DIGEST.test(digest) && existsSync(join(codeDir, digest))
    },

    async hasFile(digest, path) {
      // No links can be in there, so the path itself decides.
      const found = await lstat(join(codeDir, digest, path)).catch(() => undefined)
      return found?.isFile() ?? false
    },

    async readText(digest, path, maxBytes) {
      const file = join(codeDir, digest, path)
      const found = await lstat(file).catch(() => undefined)
      if (!found?.isFile() || found.size > maxBytes) return undefined
      return readFile(file, 'utf8')
    },

    hold() {
      holds += 1
      return { [Symbol.dispose]: () => void (holds -= 1) }
    },
    directoryOf: (digest) => join(codeDir, digest),

    unpack: (archive, directory) => unpacker.unpack({ archive, directory, isCode: false }),

    add,

    async collect(functions, nowMs) {
      if (holds > 0) return 0
      let removed = 0
      const present = readdirSync(codeDir).filter((name) => DIGEST.test(name))
      for (const digest of unusedSinceMs.keys()) if (!present.includes(digest)) unusedSinceMs.delete(digest)
      for (const digest of present) {
        const sinceMs = unusedSinceMs.get(digest)
        const isDue = sinceMs !== undefined && nowMs - sinceMs >= limits.codeUnusedKeepMs
        const isUnused = await functions.unlessCodeIsUsed(digest, () => {
          if (isDue) renameSync(join(codeDir, digest), join(temporaryDir, digest))
        })
        if (!isUnused) unusedSinceMs.delete(digest)
        else if (!isDue) unusedSinceMs.set(digest, sinceMs ?? nowMs)
        else {
          unusedSinceMs.delete(digest)
          removed += 1
          await remove(digest)
        }
      }
      return removed
    },

    async close() {
      await unpacker.close()
    },
  }
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function archiveTooLarge(): HostelError {
  return new HostelError('request_too_large', `the archive is larger than ${limits.codeArchiveMaxBytes / 1024 / 1024} MiB`)
}
