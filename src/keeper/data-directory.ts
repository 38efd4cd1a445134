/** The data directory: locked, laid out, and with the key for the CLI in it. */
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'

import { tryLock } from '../engines/flock.native.ts'
import { HostelError } from '../errors.ts'
import { CONTROL_UID, GATEWAY_UID } from './confine.ts'

/** Where the CLI looks when it is told nothing. */
export const LATEST_CLI_FILE = '/run/hostel/cli.json'

export interface DataDirectory extends Disposable {
  path: string
  controlDir: string
  gatewayDir: string
  /** The administrator's token in clear. */
  adminToken: string
  /** Whether nobody has been shown around here yet. */
  isNew(): boolean
  markShown(): void
  /** Writes where the server is reached, for the CLI. */
  publish(urls: { api: string; gateway: string }): void
}

/** Opens or makes it; `cliLink` will point at its `cli.json`. @throws HostelError `conflict` when a running server has it. */
export function openDataDirectory(wanted: string, cliLink: string): DataDirectory {
  return explained(wanted, () => openIt(wanted, cliLink))
}

/** @throws HostelError for what an operator can mend */
function explained<T>(path: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOSPC' || code === 'EDQUOT')
      throw new HostelError('storage_full', `the disk of the data directory ${path} is full; make room and start again`)
    if (code === 'EROFS')
      throw new HostelError('storage_failed', `the data directory ${path} is on a disk that can only be read; remount it, or choose another with --data`)
    throw error
  }
}

function openIt(wanted: string, cliLink: string): DataDirectory {
  mkdirSync(wanted, { recursive: true, mode: 0o755 })
  const path = realpathSync(wanted)
  const keeperDir = join(path, 'keeper')
  mkdirSync(keeperDir, { recursive: true, mode: 0o700 })
  const lockFd = openSync(join(keeperDir, 'lock'), 'a', 0o600)
  if (!tryLock(lockFd)) {
    closeSync(lockFd)
    throw new HostelError('conflict', `another server runs on the data directory ${path}; stop it, or give this one a directory of its own with --data`)
  }
  try {
    return lockedDirectory(path, keeperDir, lockFd, cliLink)
  } catch (error) {
    closeSync(lockFd)
    throw error
  }
}

function lockedDirectory(path: string, keeperDir: string, lockFd: number, cliLink: string): DataDirectory {
  const controlDir = ownedPart(path, 'control', CONTROL_UID)
  const gatewayDir = ownedPart(path, 'gateway', GATEWAY_UID)
  const cliFile = join(path, 'cli.json')
  const adminToken = readToken(cliFile) ?? `hst_${randomBytes(32).toString('base64url')}`
  const shownMarker = join(keeperDir, 'shown')

  return {
    path,
    controlDir,
    gatewayDir,
    adminToken,
    isNew: () => !existsSync(shownMarker),
    markShown: () => writeFileSync(shownMarker, ''),
    publish(urls) {
      explained(path, () =>
        replaceFile(cliFile, (temporary) => writeFileSync(temporary, `${JSON.stringify({ ...urls, token: adminToken }, null, 2)}\n`, { mode: 0o600 })),
      )
      replaceFile(cliLink, (temporary) => symlinkSync(cliFile, temporary))
    },
    [Symbol.dispose]() {
      // A later server may have pointed it at itself.
      if (linkTarget(cliLink) === cliFile) rmSync(cliLink, { force: true })
      closeSync(lockFd)
    },
  }
}

/** A part of the directory that is one of our users' alone. */
function ownedPart(path: string, name: string, uid: number): string {
  const part = join(path, name)
  mkdirSync(part, { recursive: true, mode: 0o700 })
  chownSync(part, uid, uid)
  chmodSync(part, 0o700)
  return part
}

function readToken(cliFile: string): string | undefined {
  let text: string
  try {
    text = readFileSync(cliFile, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  try {
    const { token } = JSON.parse(text) as { token?: unknown }
    if (typeof token === 'string' && token.length >= 32) return token
  } catch {
    // Falls through to the message.
  }
  throw new HostelError('invalid_input', `${cliFile} holds no token; restore it, or remove it to get a new one`)
}

function replaceFile(path: string, write: (temporary: string) => void): void {
  const temporary = `${path}.${process.pid}.${randomBytes(4).toString('hex')}`
  try {
    write(temporary)
    renameSync(temporary, path)
  } catch (error) {
    rmSync(temporary, { force: true })
    throw error
  }
}

function linkTarget(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch {
    return undefined
  }
}
