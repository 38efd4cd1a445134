/** A function's directory as a tar.gz: the same bytes for the same files, whoever packs them and when. */
import { hash } from 'node:crypto'
import { constants, lstatSync, opendirSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { createGzip } from 'node:zlib'
import { pack as createPack } from 'tar-stream'

import { treeDigest } from '../functions/code/digest.ts'
import type { TreeEntry } from '../functions/code/digest.ts'
import { limits } from '../limits.ts'
import { CliFailure } from './failure.ts'
import { readIgnore } from './ignore.ts'
import { formatBytes } from './output.ts'

export interface Packed {
  archive: Buffer
  files: number
  /** Unpacked. */
  bytes: number
}

interface Entry {
  path: string
  directory: boolean
  executable: boolean
}

/** `level` is gzip's, from 1 to 9. @throws CliFailure naming the entry that is in the way or the limit that is passed */
export async function packDirectory(directory: string, options: { level: number } = { level: 6 }): Promise<Packed> {
  const tar = createPack()
  const gzip = createGzip(options)
  const collected = collect(tar.pipe(gzip))
  let files = 0
  let bytes = 0
  try {
    for await (const { entry, content } of readCode(directory)) {
      // Times, owners and permission bits beyond "executable" say nothing about the code.
      const header = { name: entry.path, mode: entry.directory || entry.executable ? 0o755 : 0o644, mtime: new Date(0), uid: 0, gid: 0 }
      if (!content) {
        await put(tar, { ...header, type: 'directory' })
        continue
      }
      files += 1
      bytes += content.length
      await put(tar, { ...header, type: 'file', size: content.length }, content)
    }
    tar.finalize()
    return { archive: await collected, files, bytes }
  } catch (error) {
    collected.catch(() => {})
    tar.destroy()
    gzip.destroy()
    throw error
  }
}

/** The digest that the server will give this code, so that it is uploaded only when it is not there. @throws CliFailure as packing does */
export async function digestDirectory(directory: string): Promise<{ digest: string; files: number; bytes: number }> {
  const tree: TreeEntry[] = []
  let files = 0
  let bytes = 0
  for await (const { entry, content } of readCode(directory)) {
    if (!content) {
      tree.push({ path: entry.path, kind: 'directory' })
      continue
    }
    files += 1
    bytes += content.length
    tree.push({ path: entry.path, kind: 'file', executable: entry.executable, digest: hash('sha256', content), bytes: content.length })
  }
  return { digest: treeDigest(tree), files, bytes }
}

/** Entry by entry, files with their content. */
async function* readCode(directory: string): AsyncGenerator<{ entry: Entry; content?: Buffer }> {
  const entries = listEntries(directory)
  if (entries.every((entry) => entry.directory))
    throw new CliFailure('failure', `${directory} has no files to deploy`, { fix: 'Name the directory with the code, or write one with `hostel init`.' })
  let bytes = 0
  for (const entry of entries) {
    if (entry.directory) {
      yield { entry }
      continue
    }
    const content = await readRegularFile(join(directory, entry.path), limits.codeUnpackedMaxBytes - bytes)
    bytes += content.length
    yield { entry, content }
  }
}

function put(tar: ReturnType<typeof createPack>, header: Parameters<ReturnType<typeof createPack>['entry']>[0], content?: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (error?: Error | null): void => (error ? reject(error) : resolve())
    if (content) tar.entry(header, content, done)
    else tar.entry(header, done)
  })
}

async function collect(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of stream) {
    bytes += chunk.length
    if (bytes > limits.codeArchiveMaxBytes) throw tooLarge('packed', limits.codeArchiveMaxBytes)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, bytes)
}

/** Reads what is a regular file at the moment of opening, following no link that took its place since it was listed. */
async function readRegularFile(path: string, maxBytes: number): Promise<Buffer> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    const stat = await file.stat()
    if (!stat.isFile()) throw new CliFailure('failure', `${path} changed while it was being packed`, { fix: 'Deploy again when nothing writes there.' })
    if (stat.size > maxBytes) throw tooLarge('unpacked', limits.codeUnpackedMaxBytes)
    const content = await file.readFile()
    if (content.length > maxBytes) throw tooLarge('unpacked', limits.codeUnpackedMaxBytes)
    return content
  } finally {
    await file.close()
  }
}

function tooLarge(how: 'packed' | 'unpacked', maxBytes: number): CliFailure {
  return new CliFailure('failure', `the code is larger than ${formatBytes(maxBytes)} ${how}`, {
    code: 'request_too_large',
    fix: 'Name what is not needed in .hostelignore, or install production dependencies only (npm install --omit=dev).',
  })
}

/** All entries in the order of their names' bytes, directories before what is in them. */
function listEntries(root: string): Entry[] {
  const ignored = readIgnore(root)
  const entries: Entry[] = []
  const walk = (prefix: string): void => {
    for (const name of sortedNames(join(root, prefix))) {
      const path = prefix ? `${prefix}/${name}` : name
      const stat = lstatSync(join(root, path))
      if (ignored(path, stat.isDirectory())) continue
      if (stat.isSymbolicLink()) {
        throw new CliFailure('failure', `${join(root, path)} is a symbolic link`, {
          why: 'a function gets plain files and directories only, so that no link can lead out of its code',
          fix: path.includes('node_modules/')
            ? 'Install with npm, or with `pnpm install --node-linker=hoisted`, which link nothing; or name it in .hostelignore.'
            : 'Put the file itself there, or name the link in .hostelignore.',
        })
      }
      if (!stat.isFile() && !stat.isDirectory())
        throw new CliFailure('failure', `${join(root, path)} is neither a file nor a directory`, { fix: 'Take it away, or name it in .hostelignore.' })
      if (Buffer.byteLength(path) > limits.codePathMaxBytes)
        throw new CliFailure('failure', `the path ${path.slice(0, 80)}… is longer than ${limits.codePathMaxBytes} bytes`, { fix: 'Use shorter names.' })
      entries.push({ path, directory: stat.isDirectory(), executable: (stat.mode & 0o111) !== 0 })
      if (entries.length > limits.codeMaxEntries) {
        throw new CliFailure('failure', `${root} has more than ${limits.codeMaxEntries} files and directories`, {
          fix: 'Name what is not needed in .hostelignore; is this the directory you mean?',
        })
      }
      if (stat.isDirectory()) walk(path)
    }
  }
  walk('')
  return entries
}

/** Names in a directory, sorted; stops reading at the limit, since a directory may hold millions. */
function sortedNames(path: string): string[] {
  const names: string[] = []
  using directory = opendirSync(path)
  for (let entry = directory.readSync(); entry !== null; entry = directory.readSync()) {
    names.push(entry.name)
    if (names.length > limits.codeMaxEntries)
      throw new CliFailure('failure', `${path} has more than ${limits.codeMaxEntries} entries`, {
        fix: 'Name it in .hostelignore; is this the directory you mean?',
      })
  }
  return names.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
}
