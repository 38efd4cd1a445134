/** Unpacks an uploaded archive (tar, gzipped) into a fresh directory, believing nothing it says. */
import { createHash } from 'node:crypto'
import { chmodSync, closeSync, constants, createReadStream, fchmodSync, mkdirSync, openSync, writeSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { extract } from 'tar-stream'
import type { Extract, Header } from 'tar-stream'

import { HostelError } from '../../errors.ts'
import { limits } from '../../limits.ts'
import { bounded } from './bounded.ts'
import type { TreeEntry } from './digest.ts'
import { foldedPath, pathSegments, shown } from './paths.ts'

type Entry = Extract extends AsyncIterable<infer Source> ? Source : never

/** Blocks of 512 bytes that tar adds to an entry: its head, a long name's or pax head with content, padding; and the end. */
const TAR_ENTRY_EXTRA_BYTES = 4_096
const TAR_MAX_BYTES = limits.codeUnpackedMaxBytes + limits.codeMaxEntries * TAR_ENTRY_EXTRA_BYTES

const SYNCS_AT_ONCE = 16

/** Bits that ask for execution by anyone. */
const EXECUTE_BITS = 0o111

const KINDS: Record<string, string> = {
  symlink: 'a symbolic link',
  link: 'a hard link',
  'character-device': 'a device',
  'block-device': 'a device',
  fifo: 'a named pipe',
}

/**
 * Unpacks the file `archive` into `directory`, which must be new, empty and writable by nobody else. Directories become 0755,
 * files 0644 or, when executable, 0755; owners and times of the archive are ignored. Everything is on disk on return.
 * @param prepare may change the content of files; what is returned tells of them as they were in the archive.
 * @returns what was made, without the root.
 * @throws HostelError `invalid_input` or `request_too_large` when the archive is not acceptable; what was unpacked so far is the caller's to remove.
 */
export async function unpack(
  archive: string,
  directory: string,
  prepare: (directory: string, entries: readonly TreeEntry[]) => void = () => {},
): Promise<TreeEntry[]> {
  const tree = new Map<string, TreeEntry>()
  // The first reason to refuse the archive: streams that are torn down for it report other errors.
  let refusal: unknown
  const add = adder(directory, tree)
  chmodSync(directory, 0o755)
  const tar = extract()
  const unpacking = (async () => {
    for await (const entry of tar) await add(entry)
  })().catch((error: Error) => {
    refusal ??= error
    tar.destroy(error)
  })
  try {
    // A bomb ends at the bound, whatever its headers say.
    await pipeline(createReadStream(archive), createGunzip(), bounded(TAR_MAX_BYTES, tooManyBytes), tar)
  } catch (error) {
    await unpacking
    throw explain(refusal instanceof HostelError ? refusal : error)
  }
  await unpacking
  if (refusal) throw explain(refusal)
  const entries = [...tree.values()]
  if (!entries.some(({ kind }) => kind === 'file')) throw new HostelError('invalid_input', 'the archive holds no files')
  prepare(directory, entries)
  await syncTree(directory, entries)
  return entries
}

/** Makes entry after entry below `root`, noting them in `tree` by path. */
function adder(root: string, tree: Map<string, TreeEntry>): (entry: Entry) => Promise<void> {
  const folded = new Map<string, string>()
  let seen = 0
  let bytes = 0

  function claim(path: string): void {
    const key = foldedPath(path)
    const other = folded.get(key)
    if (other !== undefined)
      throw new HostelError('invalid_input', `the archive holds ${shown(other)} and ${shown(path)}, which differ only by case or Unicode normalisation`)
    if (tree.size >= limits.codeMaxEntries) throw tooManyEntries()
    folded.set(key, path)
  }

  /** Parent by parent, so that nothing is ever made below anything but a directory of ours. */
  function addDirectories(segments: string[]): void {
    for (let depth = 1; depth <= segments.length; depth++) {
      const path = segments.slice(0, depth).join('/')
      const present = tree.get(path)
      if (present?.kind === 'directory') continue
      if (present) throw new HostelError('invalid_input', `the archive holds ${shown(path)} both as a file and as a directory`)
      claim(path)
      mkdirSync(join(root, path))
      // Whatever the umask.
      chmodSync(join(root, path), 0o755)
      tree.set(path, { path, kind: 'directory' })
    }
  }

  return async (entry) => {
    const { header } = entry
    // Entries that make nothing new count too.
    seen += 1
    if (seen > limits.codeMaxEntries) throw tooManyEntries()
    const segments = pathSegments(header.name)
    if (header.type === 'directory') {
      addDirectories(segments)
      entry.resume()
      return
    }
    if (header.type !== 'file' && header.type !== 'contiguous-file') throw refusedKind(header)
    if (segments.length === 0)
      throw new HostelError('invalid_input', `the archive holds ${shown(header.name)}, which would be a file in the place of the code's root`)
    const path = segments.join('/')
    addDirectories(segments.slice(0, -1))
    const present = tree.get(path)
    if (present)
      throw new HostelError(
        'invalid_input',
        present.kind === 'file' ? `the archive holds ${shown(path)} twice` : `the archive holds ${shown(path)} both as a file and as a directory`,
      )
    claim(path)
    bytes += header.size
    if (bytes > limits.codeUnpackedMaxBytes) throw tooManyBytes()
    const executable = (header.mode & EXECUTE_BITS) !== 0
    tree.set(path, { path, kind: 'file', executable, ...(await writeFile(join(root, path), entry, executable)) })
  }
}

/** Synchronously, since this thread has nothing else to do and files are many and small. */
async function writeFile(file: string, content: Entry, executable: boolean): Promise<{ digest: string; bytes: number }> {
  const descriptor = openSync(file, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600)
  try {
    const hash = createHash('sha256')
    let bytes = 0
    for await (const chunk of content as AsyncIterable<Buffer>) {
      hash.update(chunk)
      bytes += chunk.length
      for (let written = 0; written < chunk.length;) written += writeSync(descriptor, chunk, written)
    }
    fchmodSync(descriptor, executable ? 0o755 : 0o644)
    return { digest: hash.digest('hex'), bytes }
  } finally {
    closeSync(descriptor)
  }
}

/** Brings everything to the disk, several at a time: they share the file system's commits. */
async function syncTree(root: string, entries: readonly TreeEntry[]): Promise<void> {
  const left = ['.', ...entries.map(({ path }) => path)].values()
  await Promise.all(
    Array.from({ length: SYNCS_AT_ONCE }, async () => {
      for (const path of left) {
        const handle = await open(join(root, path), constants.O_RDONLY | constants.O_NOFOLLOW)
        try {
          await handle.sync()
        } finally {
          await handle.close()
        }
      }
    }),
  )
}

function tooManyBytes(): HostelError {
  return new HostelError('request_too_large', `the archive unpacks to more than ${limits.codeUnpackedMaxBytes / 1024 / 1024} MiB`)
}

function tooManyEntries(): HostelError {
  return new HostelError('request_too_large', `the archive holds more than ${limits.codeMaxEntries} files and directories`)
}

function refusedKind(header: Header): HostelError {
  const kind = KINDS[header.type] ?? 'something that is neither file nor directory'
  const advice =
    header.type === 'symlink' || header.type === 'link'
      ? '; links are not supported: make the archive with the files they point to (tar --dereference --hard-dereference)'
      : ''
  return new HostelError('invalid_input', `the archive holds ${shown(header.name)}, ${kind}${advice}`)
}

/** Errors of gunzip and tar as words about the archive; others stay what they are. */
function explain(error: unknown): unknown {
  if (error instanceof HostelError || !(error instanceof Error)) return error
  const code = (error as NodeJS.ErrnoException).code ?? ''
  if (code.startsWith('Z_')) return new HostelError('invalid_input', `the archive is not a whole gzip file: ${error.message}`, { cause: error })
  if (code === '') return new HostelError('invalid_input', `the archive is not a whole tar file: ${error.message}`, { cause: error })
  return error
}
