import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { createGzip } from 'node:zlib'
import { pack } from 'tar-stream'
import type { Header } from 'tar-stream'

import { treeDigest } from '../functions/code/digest.ts'
import { restoreBackup } from './restore.ts'

type Entry = Partial<Header> & { name: string; content?: string }

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')
const HEADER = { format: 1, hostel: '0.1.0', schema: 1, createdAtMs: 1, logs: true, keys: 'plain' }
const CODE = treeDigest([{ path: 'index.ts', kind: 'file', executable: false, digest: sha256('hi'), bytes: 2 }])

/** A backup with these entries between its head and its end, which says what is in it. */
function backup(between: Entry[], changes: { header?: object; manifest?: object } = {}): Entry[] {
  const header = `${JSON.stringify({ ...HEADER, ...changes.header })}\n`
  const files: Entry[] = [{ name: 'hostel-backup.json', content: header }, { name: 'hostel.db', content: 'database' }, ...between]
  const said = files.filter(({ name }) => !name.startsWith('code/')).map(({ name, content = '' }) => [name, { bytes: content.length, sha256: sha256(content) }])
  const code = Object.fromEntries(files.flatMap(({ name }) => /^code\/(\w{64})\//.exec(name)?.slice(1) ?? []).map((name) => [name, CODE]))
  return [...files, { name: 'manifest.json', content: JSON.stringify({ files: Object.fromEntries(said) as object, code, ...changes.manifest }) }]
}

describe('restoring', () => {
  let directory: string
  beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'hostel-restore-'))))
  afterEach(() => rmSync(directory, { recursive: true, force: true }))

  async function restore(entries: Entry[]): Promise<void> {
    const tar = pack()
    for (const { content = '', ...head } of entries) tar.entry({ mode: 0o644, ...head }, content)
    tar.finalize()
    const file = join(directory, 'file')
    writeFileSync(file, await buffer(tar.pipe(createGzip())))
    await restoreBackup({ file, dataDir: join(directory, 'data') })
  }

  async function refused(entries: Entry[], message: RegExp): Promise<void> {
    await assert.rejects(restore(entries), { code: 'invalid_input', message })
    assert.deepEqual(readdirSync(join(directory, 'data')), [])
    assert.deepEqual(readdirSync(directory).sort(), ['data', 'file'])
  }

  it('takes one that is whole', async () => {
    await restore(backup([{ name: `code/${CODE}/index.ts`, content: 'hi' }]))
    assert.ok(existsSync(join(directory, 'data', 'control', 'code', CODE, 'index.ts')))
  })

  it('refuses paths that no backup has, above all those that lead out of it', async () => {
    for (const name of [
      '../evil',
      '/etc/evil',
      'keys/../../evil',
      'cli.json',
      'control/x',
      'code/x',
      `code/${CODE}`,
      'logs/x.db',
      'keys/0123456789abcdef.key.new',
    ])
      await refused(backup([{ name, content: 'x' }]), /no backup has|damaged|detours/)
    for (const inner of ['../evil', 'a/../../../evil', '/etc/evil', 'a//b', './a', 'a\0b'])
      await refused(backup([{ name: `code/${CODE}/${inner}`, content: 'x' }]), /can't be used|archive holds/)
  })

  it('refuses links and devices', async () => {
    for (const type of ['symlink', 'link', 'character-device', 'fifo'] as const) {
      await refused(backup([{ name: `code/${CODE}/index.ts`, type, linkname: '/etc/passwd' }]), /as a /)
      await refused(backup([{ name: 'logs/00000001-1.db', type, linkname: '/etc/passwd' }]), /as a /)
    }
  })

  it('refuses code whose content is not what its end says', async () => {
    await refused(backup([{ name: `code/${CODE}/index.ts`, content: 'ho' }]), /is damaged or missing/)
    await refused(backup([{ name: `code/${CODE}/index.ts`, content: 'hi', mode: 0o755 }]), /is damaged or missing/)
    await refused(
      backup([
        { name: `code/${CODE}/index.ts`, content: 'hi' },
        { name: `code/${CODE}/more.ts`, content: '' },
      ]),
      /is damaged or missing/,
    )
  })

  it('refuses what is changed, missing, double, out of order or cut off', async () => {
    const whole = backup([{ name: `code/${CODE}/index.ts`, content: 'hi' }])
    await refused(
      whole.map((entry) => (entry.name === 'hostel.db' ? { ...entry, content: 'databasE' } : entry)),
      /hostel\.db" is damaged or missing/,
    )
    await refused(
      whole.filter(({ name }) => name !== 'hostel.db'),
      /hostel\.db" is damaged or missing/,
    )
    await refused(
      whole.filter(({ name }) => !name.startsWith('code/')),
      /is damaged or missing/,
    )
    await refused(whole.slice(0, -1), /its end is missing/)
    await refused(whole.slice(1), /does not begin/)
    await refused([...whole, { name: 'logs/00000001-1.db', content: '' }], /follows its end/)
    await refused([...whole.slice(0, 2), whole[1]!, ...whole.slice(2)], /twice/)
    await refused([], /its end is missing/)
  })

  it('refuses one of a newer Hostel, saying which', async () => {
    await refused(backup([], { header: { format: 2, hostel: '9.9.9' } }), /written by Hostel 9\.9\.9 in format 2; this one knows 1/)
    await refused(backup([], { header: { schema: 1_000, hostel: '9.9.9' } }), /schema 1000; this one knows \d+: take a newer Hostel/)
  })

  it('refuses keys that are not as its head says', async () => {
    await refused(backup([{ name: 'keys/0123456789abcdef.sealed', content: '{}' }]), /says that its keys are plain/)
    await assert.rejects(restore(backup([], { header: { keys: 'passphrase' } })), /--passphrase-file/)
  })
})
