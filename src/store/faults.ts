/** What the disk under the data directory does to us, in words that an operator can act on. */
import { HostelError } from '../errors.ts'

/** `damaged`: a file holds what no database holds. */
export type Fault = 'full' | 'read-only' | 'damaged' | 'failing'

/** SQLite's primary result codes (https://sqlite.org/rescode.html). */
const SQLITE: Record<number, Fault> = { 8: 'read-only', 10: 'failing', 11: 'damaged', 13: 'full', 14: 'failing', 26: 'damaged' }
const SYSTEM: Record<string, Fault> = { ENOSPC: 'full', EDQUOT: 'full', EROFS: 'read-only', EIO: 'failing' }

/** Undefined for errors that are not the disk's. */
export function faultOf(error: unknown): Fault | undefined {
  if (!(error instanceof Error)) return undefined
  // It says in words what its cause says in codes.
  if (error.name === 'StoreError') return faultOf(error.cause)
  const { code, errcode } = error as NodeJS.ErrnoException & { errcode?: unknown }
  return typeof errcode === 'number' ? SQLITE[errcode & 0xff] : SYSTEM[code ?? '']
}

/** The error of the catalogue for a fault of storage; undefined for anything else. */
export function storageFault(error: unknown): HostelError | undefined {
  switch (faultOf(error)) {
    case 'full':
      return new HostelError('storage_full', undefined, { cause: error, retryAfterSeconds: 10 })
    case 'read-only':
      return new HostelError('storage_failed', 'the data directory can only be read', { cause: error })
    case 'damaged':
      return new HostelError('storage_failed', 'a database in the data directory is damaged', { cause: error })
    case 'failing':
      return new HostelError('storage_failed', undefined, { cause: error })
    default:
      return undefined
  }
}
