/** What a builder gets: manifests, or all of the code where packages of its own are installed. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createGzip } from 'node:zlib'
import { pack } from 'tar-stream'

import { HostelError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { Need } from './need.ts'

/** A tar archive, gzipped. @throws HostelError `build_failed` when it is too large */
export async function packSource(need: Pick<Need, 'files' | 'isLocal'>, directory: string): Promise<Buffer> {
  const given = new Map(need.files.map(({ path, content }) => [path, Buffer.from(content)]))
  if (need.isLocal) {
    let bytes = 0
    for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
      const file = join(entry.parentPath, entry.name)
      const path = file.slice(directory.length + 1)
      if (!entry.isFile() || given.has(path)) continue
      const content = await readFile(file)
      bytes += content.length
      // Packed it would be too large as well, however well it packs.
      if (bytes > 16 * limits.buildSourceMaxBytes) throw tooLarge()
      given.set(path, content)
    }
  }
  return packFiles(given)
}

/** @throws HostelError `build_failed` when it is too large */
export async function packFiles(files: ReadonlyMap<string, Buffer>): Promise<Buffer> {
  const tar = pack()
  const packed = collect(tar.pipe(createGzip()))
  packed.catch(() => tar.destroy())
  for (const [name, content] of files) tar.entry({ name, mode: 0o644, mtime: new Date(0) }, content)
  tar.finalize()
  return packed
}

async function collect(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of stream) {
    bytes += chunk.length
    if (bytes > limits.buildSourceMaxBytes) throw tooLarge()
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, bytes)
}

function tooLarge(): HostelError {
  return new HostelError(
    'build_failed',
    `what the build needs is larger than ${limits.buildSourceMaxBytes / 1024 / 1024} MiB packed; with packages of your own in the code, install them before you deploy (npm install --omit=dev, pip install --target .)`,
  )
}
