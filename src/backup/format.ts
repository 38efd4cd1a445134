/**
 * What a backup looks like: a tar archive, gzipped, of these entries in this order (docs/how-to/backup-and-restore.md):
 * `hostel-backup.json`, `keys/ID.key` or `keys/ID.sealed`, `hostel.db`, `code/DIGEST/…`, `logs/SEGMENT.db`, `manifest.json`.
 */
import { limits } from '../limits.ts'

/** Rises when an older Hostel could not read it. */
export const FORMAT = 1

export const HEADER_PATH = 'hostel-backup.json'
export const MANIFEST_PATH = 'manifest.json'
export const DATABASE_PATH = 'hostel.db'

/** Bytes of entries that are read into memory: a manifest names the code of all versions there can be, 67 bytes each. */
export const JSON_MAX_BYTES = 64 * 1024 * 1024
export const KEY_MAX_BYTES = 4 * 1024
/** Entries of one tree of code: ten times those that can be uploaded, for what was made ready in it. */
export const TREE_ENTRIES_MAX = 10 * limits.codeMaxEntries
/** Log segments: many times those that are kept. */
export const SEGMENTS_MAX = 10_000

/** The first entry: whether it is worth reading on. */
export interface BackupHeader {
  format: number
  /** Version of the Hostel that wrote it, and of its database's schema. */
  hostel: string
  schema: number
  createdAtMs: number
  logs: boolean
  /** The keys of secrets: as they are, or sealed with a passphrase. */
  keys: 'plain' | 'passphrase'
}

/** The last entry: without it the archive is not whole. */
export interface BackupManifest {
  /** Path → what it should be, for all but code, whose paths say it. */
  files: Record<string, { bytes: number; sha256: string }>
  /** Name of code → digest of its tree as it is kept; what was uploaded, which gave the name, may have been made ready since. */
  code: Record<string, string>
}

export type EntryKind = 'header' | 'manifest' | 'database' | 'key' | 'sealedKey' | 'segment' | 'code'

const KINDS: [RegExp, EntryKind][] = [
  [/^hostel-backup\.json$/, 'header'],
  [/^manifest\.json$/, 'manifest'],
  [/^hostel\.db$/, 'database'],
  [/^keys\/[0-9a-f]{16}\.key$/, 'key'],
  [/^keys\/[0-9a-f]{16}\.sealed$/, 'sealedKey'],
  [/^logs\/\d{8}-\d{1,15}\.db$/, 'segment'],
  [/^code\/[0-9a-f]{64}\/./s, 'code'],
]

/** What an entry is, by its path; undefined for what no backup has. */
export function kindOf(path: string): EntryKind | undefined {
  return KINDS.find(([pattern]) => pattern.test(path))?.[1]
}
