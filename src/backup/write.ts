/** Writes a backup of all that control keeps, while it goes on. */
import { createHash, randomUUID } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, readdir, readFile, rm, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { Transform } from 'node:stream'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { pack } from 'tar-stream'
import type { Pack } from 'tar-stream'

import { HostelError } from '../errors.ts'
import { treeDigest } from '../functions/code/digest.ts'
import type { TreeEntry } from '../functions/code/digest.ts'
import type { CodeStore } from '../functions/code/store.ts'
import { keyFileName } from '../secrets/keys.ts'
import { startSnapshots } from '../store/snapshot.ts'
import type { Snapshots } from '../store/snapshot.ts'
import type { Store } from '../store/store.ts'
import { DATABASE_PATH, FORMAT, HEADER_PATH, MANIFEST_PATH } from './format.ts'
import type { BackupHeader, BackupManifest } from './format.ts'
import { sealKey } from './passphrase.ts'

export interface BackupOptions {
  /** Invocation records and logs as well. */
  logs: boolean
  /** Seals the keys of secrets. */
  passphrase?: string
}

export interface Backups {
  /**
   * The archive, as it is made: it breaks off with an error when something can't be read. Destroy it to stop.
   * @throws HostelError `conflict` while another one is made.
   */
  start(options: BackupOptions): Readable
  /** Breaks off one that is made, and waits until its traces are gone. */
  close(): Promise<void>
}

interface Parts {
  /** Control's part of the data directory. */
  dataDir: string
  store: Pick<Store, 'schema' | 'segments'>
  code: Pick<CodeStore, 'hold'>
  /** Of Hostel. */
  version: string
}

/** A little for text and logs; more costs much time and gains little. */
const GZIP_LEVEL = 1
/** Executable or not is all that is kept of a mode. */
const MODES = { plain: 0o644, executable: 0o755 }

export function createBackups(parts: Parts): Backups {
  let running: { stream: Readable; done: Promise<void> } | undefined

  return {
    start(options) {
      if (running) throw new HostelError('conflict', 'a backup is being made already')
      const tar = pack()
      const stream = createGzip({ level: GZIP_LEVEL })
      // Each is destroyed with the other; that is all there is to do then.
      const joined = pipeline(tar, stream).catch(() => {})
      const done = produce(parts, options, tar)
        .then(() => tar.finalize())
        .catch((error: Error) => void stream.destroy(error))
        .then(() => joined)
        .finally(() => (running = undefined))
      running = { stream, done }
      return stream
    },

    async close() {
      running?.stream.destroy(new HostelError('shutting_down'))
      await running?.done
    },
  }
}

async function produce({ dataDir, store, code, version }: Parts, options: BackupOptions, tar: Pack): Promise<void> {
  const work = join(dataDir, 'tmp', `backup-${randomUUID()}`)
  const manifest: BackupManifest = { files: {}, code: {} }
  const snapshots = startSnapshots()
  // Code that the snapshot names stays until it is in the archive.
  using _held = code.hold()
  await mkdir(work, { mode: 0o700 })
  try {
    const header: BackupHeader = {
      format: FORMAT,
      hostel: version,
      schema: store.schema,
      createdAtMs: Date.now(),
      logs: options.logs,
      keys: options.passphrase === undefined ? 'plain' : 'passphrase',
    }
    await addText(tar, manifest, HEADER_PATH, `${JSON.stringify(header)}\n`)
    // Keys from before and after, so that whenever the key is changed, that of the snapshot is among them.
    const keys = new Map(await readKeys(join(dataDir, 'keys')))
    const database = await copyOf(snapshots, join(dataDir, 'hostel.db'), work)
    for (const [id, key] of await readKeys(join(dataDir, 'keys'))) keys.set(id, key)
    await addKeys(tar, manifest, keys, options.passphrase)
    manifest.files[DATABASE_PATH] = await addFile(tar, database, DATABASE_PATH)
    await rm(database)
    for (const digest of (await readdir(join(dataDir, 'code'))).filter((name) => /^[0-9a-f]{64}$/.test(name)).sort()) {
      manifest.code[digest] = treeDigest(await addTree(tar, join(dataDir, 'code', digest), `code/${digest}`))
    }
    for (const segment of options.logs ? store.segments() : []) {
      const copy = await segmentCopy(snapshots, segment, work)
      if (copy === undefined) continue
      const name = `logs/${basename(segment)}`
      manifest.files[name] = await addFile(tar, copy, name)
      await rm(copy)
    }
    await addText(tar, { files: {}, code: {} }, MANIFEST_PATH, `${JSON.stringify(manifest)}\n`)
  } finally {
    await snapshots.close()
    await rm(work, { recursive: true, force: true })
  }
}

async function copyOf(snapshots: Snapshots, file: string, work: string): Promise<string> {
  const copy = join(work, basename(file))
  await snapshots.take(file, copy)
  return copy
}

/** Undefined when it was forgotten in the meantime, as old ones are. */
async function segmentCopy(snapshots: Snapshots, file: string, work: string): Promise<string | undefined> {
  try {
    return await copyOf(snapshots, file, work)
  } catch (error) {
    if (await stat(file).catch(() => undefined)) throw error
    return undefined
  }
}

async function readKeys(directory: string): Promise<[id: string, content: Buffer][]> {
  const names = (await readdir(directory)).filter((name) => name.endsWith('.key')).sort()
  const found: [string, Buffer][] = []
  for (const name of names) {
    // One that is gone was replaced this very moment.
    const content = await readFile(join(directory, name)).catch(() => undefined)
    if (content) found.push([name.slice(0, -'.key'.length), content])
  }
  return found
}

async function addKeys(tar: Pack, manifest: BackupManifest, keys: Map<string, Buffer>, passphrase: string | undefined): Promise<void> {
  for (const [id, content] of keys) {
    if (passphrase === undefined) await addText(tar, manifest, `keys/${keyFileName(id)}`, content)
    else await addText(tar, manifest, `keys/${id}.sealed`, await sealKey(id, content, passphrase))
  }
}

async function addText(tar: Pack, manifest: BackupManifest, name: string, content: string | Buffer): Promise<void> {
  const bytes = Buffer.from(content)
  manifest.files[name] = { bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  tar.entry({ name, mode: MODES.plain, mtime: new Date() }, bytes, (error) => (error ? reject(error) : resolve()))
  await promise
}

/** Gives its bytes and their SHA-256. */
async function addFile(tar: Pack, file: string, name: string, executable = false): Promise<{ bytes: number; sha256: string }> {
  const { size } = await stat(file)
  const hash = createHash('sha256')
  const hashed = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk)
      done(null, chunk)
    },
  })
  const entry = tar.entry({ name, size, mode: executable ? MODES.executable : MODES.plain, mtime: new Date() })
  await pipeline(createReadStream(file), hashed, entry)
  return { bytes: size, sha256: hash.digest('hex') }
}

/** A tree of directories and files, which is all that code is made of. Gives what is in it, by paths from its root. */
async function addTree(tar: Pack, root: string, name: string, below = ''): Promise<TreeEntry[]> {
  const all: TreeEntry[] = []
  for (const entry of await readdir(join(root, below), { withFileTypes: true })) {
    const path = below === '' ? entry.name : `${below}/${entry.name}`
    const file = join(root, path)
    if (entry.isDirectory()) {
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      tar.entry({ name: `${name}/${path}`, type: 'directory', mode: MODES.executable, mtime: new Date() }, (error) => (error ? reject(error) : resolve()))
      await promise
      all.push({ path, kind: 'directory' }, ...(await addTree(tar, root, name, path)))
    } else if (entry.isFile()) {
      const executable = ((await stat(file)).mode & 0o111) !== 0
      const { bytes, sha256 } = await addFile(tar, file, `${name}/${path}`, executable)
      all.push({ path, kind: 'file', executable, digest: sha256, bytes })
    } else throw new Error(`${file} is neither a file nor a directory`)
  }
  return all
}
