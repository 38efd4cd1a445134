/** Makes a data directory out of a backup: all of it, checked, or nothing. */
import {
  closeSync,
  chmodSync,
  chownSync,
  constants,
  createReadStream,
  fchmodSync,
  fchownSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { dirname, join } from 'node:path'

import { HostelError } from '../errors.ts'
import { CONTROL_UID } from '../keeper/confine.ts'
import { readMigrations } from '../store/database.ts'
import type { BackupHeader } from './format.ts'
import { openKey } from './passphrase.ts'
import { readBackup } from './read.ts'
import type { BackupSink } from './read.ts'

export interface RestoreOptions {
  /** The archive. */
  file: string
  /** Absolute; made where it is not there, and empty else. */
  dataDir: string
  passphrase?: string
}

const WORK = 'restoring'

/** Schema of the databases that this Hostel writes. */
function currentSchema(): number {
  return readMigrations(new URL('../store/migrations/', import.meta.url)).length
}

/**
 * Unpacks beside where it belongs, checks everything, and moves it there in one step; on failure nothing stays.
 * @throws HostelError `conflict` when there is something in the directory, `invalid_input` when the backup can't be used.
 */
export async function restoreBackup({ file, dataDir, passphrase }: RestoreOptions): Promise<BackupHeader> {
  mkdirSync(dataDir, { recursive: true, mode: 0o755 })
  if (readdirSync(dataDir).length > 0) throw new HostelError('conflict', `${dataDir} is not empty; a backup is restored into a new directory`)
  const work = join(dataDir, WORK)
  mkdirSync(work, { mode: 0o700 })
  try {
    const control = join(work, 'control')
    makeDirectory(control, 0o700)
    for (const [name, mode] of [
      ['code', 0o755],
      ['logs', 0o700],
      ['keys', 0o700],
      ['tmp', 0o700],
    ] as const)
      makeDirectory(join(control, name), mode)
    const header = await readBackup(createReadStream(file), sinkInto(control, passphrase), currentSchema())
    sync(control)
    // Whoever has something to restore needs no showing around.
    mkdirSync(join(dataDir, 'keeper'), { mode: 0o700 })
    writeFileSync(join(dataDir, 'keeper', 'shown'), '')
    renameSync(control, join(dataDir, 'control'))
    rmSync(work, { recursive: true })
    syncPath(dataDir)
    return header
  } catch (error) {
    for (const name of [WORK, 'keeper', 'control']) rmSync(join(dataDir, name), { recursive: true, force: true })
    throw error
  }
}

function sinkInto(control: string, passphrase: string | undefined): BackupSink {
  const made = new Set([control, ...['code', 'logs', 'keys'].map((name) => join(control, name))])

  /** Parent by parent, so that nothing is ever made below anything but a directory of ours. */
  function directory(path: string): void {
    if (made.has(path)) return
    directory(dirname(path))
    makeDirectory(path, 0o755)
    made.add(path)
  }

  function open(path: string, mode: number): number {
    const descriptor = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600)
    fchmodSync(descriptor, mode)
    fchownSync(descriptor, CONTROL_UID, CONTROL_UID)
    return descriptor
  }

  return {
    header(header) {
      if (header.keys === 'passphrase' && passphrase === undefined)
        throw new HostelError('invalid_input', 'the keys in this backup are sealed with a passphrase; give it with --passphrase-file')
    },
    directory: (path) => directory(join(control, path)),
    file(path, executable) {
      const target = join(control, path)
      directory(dirname(target))
      const descriptor = open(target, path.startsWith('code/') ? (executable ? 0o755 : 0o644) : 0o600)
      return {
        write(chunk) {
          for (let at = 0; at < chunk.length;) at += writeSync(descriptor, chunk, at)
        },
        end: () => closeSync(descriptor),
      }
    },
    async key(path, content) {
      const id = path.slice('keys/'.length).split('.')[0]!
      const key = path.endsWith('.sealed') ? await openKey(id, content.toString(), passphrase!) : content
      const descriptor = open(join(control, 'keys', `${id}.key`), 0o600)
      writeSync(descriptor, key)
      closeSync(descriptor)
    },
  }
}

function makeDirectory(path: string, mode: number): void {
  mkdirSync(path)
  // Whatever the umask.
  chmodSync(path, mode)
  chownSync(path, CONTROL_UID, CONTROL_UID)
}

/** Everything below on disk. */
function sync(directory: string): void {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (entry.isDirectory()) sync(join(directory, entry.name))
    else syncPath(join(directory, entry.name))
  }
  syncPath(directory)
}

function syncPath(path: string): void {
  const descriptor = openSync(path, 'r')
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}
