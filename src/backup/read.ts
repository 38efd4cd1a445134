/**
 * Reads a backup and checks all of it: what may be in it, its order, and every digest. The archive may come from anywhere, so that
 * nothing it says is believed.
 */
import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import { isDeepStrictEqual } from 'node:util'
import { createGunzip } from 'node:zlib'
import { extract } from 'tar-stream'
import type { Header } from 'tar-stream'

import { HostelError } from '../errors.ts'
import { treeDigest } from '../functions/code/digest.ts'
import type { TreeEntry } from '../functions/code/digest.ts'
import { pathSegments, shown } from '../functions/code/paths.ts'
import { DATABASE_PATH, FORMAT, JSON_MAX_BYTES, KEY_MAX_BYTES, kindOf, SEGMENTS_MAX, TREE_ENTRIES_MAX } from './format.ts'
import type { BackupHeader, BackupManifest, EntryKind } from './format.ts'

/** Where the content goes. Paths have been checked: relative, without detours, of known shapes. */
export interface BackupSink {
  /** First of all; may refuse by throwing. */
  header(header: BackupHeader): void
  directory(path: string): void
  /** A file, with its chunks in order, then `end`. */
  file(path: string, executable: boolean): { write(chunk: Buffer): void; end(): void }
  /** A small entry as a whole: a key, as it is or sealed. */
  key(path: string, content: Buffer): Promise<void>
}

/** For checking an archive without keeping anything. */
export const nowhere: BackupSink = { header() {}, directory() {}, file: () => ({ write() {}, end() {} }), key: async () => {} }

interface State {
  header: BackupHeader | undefined
  files: BackupManifest['files']
  /** Code that is complete: name → digest of what is in it. */
  code: Record<string, string>
  tree: { name: string; entries: TreeEntry[] } | undefined
  segments: number
  manifest: BackupManifest | undefined
}

/** @throws HostelError `invalid_input` when it is no backup, not whole, damaged, or not for this Hostel. */
export async function readBackup(source: Readable, sink: BackupSink, schema: number): Promise<BackupHeader> {
  const state: State = { header: undefined, files: {}, code: {}, tree: undefined, segments: 0, manifest: undefined }
  const tar = extract()
  const unzipped = createGunzip()
  // Each carries the other's end; the loop below sees it.
  source.on('error', (error) => unzipped.destroy(error))
  unzipped.on('error', (error) => tar.destroy(error))
  source.pipe(unzipped).pipe(tar)
  try {
    for await (const entry of tar) await readEntry(state, sink, schema, entry.header, entry as AsyncIterable<Buffer>)
  } catch (error) {
    throw error instanceof HostelError || isSystemError(error) ? error : invalid(`it is not a whole backup: ${(error as Error).message}`, error)
  } finally {
    source.unpipe(unzipped)
    unzipped.destroy()
    tar.destroy()
  }
  endTree(state)
  return checkWhole(state)
}

async function readEntry(state: State, sink: BackupSink, schema: number, head: Header, content: AsyncIterable<Buffer>): Promise<void> {
  const path = head.name.replace(/\/$/, '')
  const kind = kindOf(path) ?? (/^code\/[0-9a-f]{64}$/.test(path) ? 'code' : undefined)
  if (kind === undefined) throw invalid(`it holds ${shown(path)}, which no backup has`)
  if (state.manifest) throw invalid('something follows its end')
  if ((state.header === undefined) !== (kind === 'header')) throw invalid('it does not begin with what says that it is a backup')
  if (head.type !== 'file' && !(kind === 'code' && head.type === 'directory')) throw invalid(`it holds ${shown(path)} as a ${head.type}`)
  if (kind === 'code') return readCode(state, sink, head, path, content)
  endTree(state)
  if (path in state.files) throw invalid(`it holds ${path} twice`)
  if (kind === 'database' || kind === 'segment') {
    if (kind === 'segment' && (state.segments += 1) > SEGMENTS_MAX) throw invalid(`it holds more than ${SEGMENTS_MAX} segments of logs`)
    const { bytes, digest } = await copy(content, sink.file(path, false))
    state.files[path] = { bytes, sha256: digest }
    return
  }
  const bytes = await whole(path, content, kind === 'header' || kind === 'manifest' ? JSON_MAX_BYTES : KEY_MAX_BYTES)
  if (kind === 'manifest') state.manifest = parseJson<BackupManifest>(path, bytes)
  else state.files[path] = { bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }
  if (kind === 'header') sink.header((state.header = checkHeader(parseJson<BackupHeader>(path, bytes), schema)))
  else if (kind !== 'manifest') await readKey(state.header!, kind, path, bytes, sink)
}

async function readKey(header: BackupHeader, kind: EntryKind, path: string, bytes: Buffer, sink: BackupSink): Promise<void> {
  if ((kind === 'sealedKey') !== (header.keys === 'passphrase')) throw invalid(`it holds ${path}, but says that its keys are ${header.keys}`)
  await sink.key(path, bytes)
}

/** One entry of a tree of code; a tree is whole when another entry begins. */
async function readCode(state: State, sink: BackupSink, head: Header, path: string, content: AsyncIterable<Buffer>): Promise<void> {
  const name = path.slice('code/'.length, 'code/'.length + 64)
  if (state.tree?.name !== name) {
    endTree(state)
    if (name in state.code) throw invalid(`it holds code/${name} in two places`)
    state.tree = { name, entries: [] }
  }
  const { tree } = state
  const inner = path.slice(`code/${name}/`.length)
  const segments = inner === '' ? [] : pathSegments(inner)
  if (segments.join('/') !== inner) throw invalid(`it holds ${shown(path)}, a path with detours`)
  if (tree.entries.length >= TREE_ENTRIES_MAX) throw invalid(`code/${name} is larger than any code may be`)
  if (head.type === 'directory') {
    sink.directory(path)
    if (inner !== '') tree.entries.push({ path: inner, kind: 'directory' })
    return
  }
  const executable = ((head.mode ?? 0) & 0o111) !== 0
  const file = await copy(content, sink.file(path, executable))
  tree.entries.push({ path: inner, kind: 'file', executable, digest: file.digest, bytes: file.bytes })
}

function endTree(state: State): void {
  const { tree } = state
  if (!tree) return
  state.code[tree.name] = treeDigest(tree.entries)
  state.tree = undefined
}

function checkHeader(header: BackupHeader, schema: number): BackupHeader {
  const { format, hostel, schema: written, keys } = header
  if (!Number.isInteger(format) || typeof hostel !== 'string' || !Number.isInteger(written) || !['plain', 'passphrase'].includes(keys))
    throw invalid('what it says of itself does not fit')
  const by = `it was written by Hostel ${hostel.slice(0, 40)}`
  if (format > FORMAT) throw invalid(`${by} in format ${format}; this one knows ${FORMAT}: take a newer Hostel`)
  if (written > schema) throw invalid(`${by}, whose database has schema ${written}; this one knows ${schema}: take a newer Hostel`)
  return header
}

function checkWhole(state: State): BackupHeader {
  const { header, manifest, files, code } = state
  if (!header || !manifest) throw invalid('it is not whole: its end is missing')
  for (const path of new Set([...Object.keys(manifest.files ?? {}), ...Object.keys(files), DATABASE_PATH]))
    if (!isDeepStrictEqual(manifest.files?.[path], files[path]) || files[path] === undefined) throw invalid(`${shown(path)} is damaged or missing`)
  for (const name of new Set([...Object.keys(manifest.code ?? {}), ...Object.keys(code)]))
    if (code[name] === undefined || manifest.code?.[name] !== code[name]) throw invalid(`code/${shown(name)} is damaged or missing`)
  return header
}

async function copy(content: AsyncIterable<Buffer>, to: { write(chunk: Buffer): void; end(): void }): Promise<{ bytes: number; digest: string }> {
  const hash = createHash('sha256')
  let bytes = 0
  for await (const chunk of content) {
    hash.update(chunk)
    bytes += chunk.length
    to.write(chunk)
  }
  to.end()
  return { bytes, digest: hash.digest('hex') }
}

async function whole(path: string, content: AsyncIterable<Buffer>, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of content) {
    chunks.push(chunk)
    if ((bytes += chunk.length) > maxBytes) throw invalid(`${path} is too large`)
  }
  return Buffer.concat(chunks)
}

function parseJson<T>(path: string, bytes: Buffer): T {
  try {
    const value: unknown = JSON.parse(bytes.toString())
    if (typeof value === 'object' && value !== null) return value as T
  } catch {
    // Told below.
  }
  throw invalid(`${path} is no JSON object`)
}

/** Of the disk that is written to, not of the archive. */
function isSystemError(error: unknown): boolean {
  return typeof (error as NodeJS.ErrnoException).syscall === 'string'
}

function invalid(why: string, cause?: unknown): HostelError {
  return new HostelError('invalid_input', `the backup can't be used: ${why}`, cause === undefined ? {} : { cause })
}
