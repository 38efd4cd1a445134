import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { after, describe, it } from 'node:test'
import { gzipSync } from 'node:zlib'
import { pack } from 'tar-stream'

import { HostelError } from '../../errors.ts'
import { limits } from '../../limits.ts'
import { treeDigest } from './digest.ts'
import type { TreeEntry } from './digest.ts'
import { openCodeStore } from './store.ts'

interface Part {
  name: string
  type?: 'file' | 'directory' | 'symlink' | 'link' | 'character-device' | 'block-device' | 'fifo'
  linkname?: string
  mode?: number
  pax?: Record<string, string>
}

/** A tar archive; contents by part, empty where there are none. */
async function tarOf(parts: (Part & { content?: string | Buffer })[]): Promise<Buffer> {
  const tar = pack()
  for (const { content, ...header } of parts) tar.entry(header, content ?? '')
  tar.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of tar as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** Writes bytes over the name field of the first header and mends its checksum. */
function renamed(tar: Buffer, name: Buffer): Buffer {
  const out = Buffer.from(tar)
  out.fill(0, 0, 100)
  name.copy(out, 0)
  out.fill(' ', 148, 156)
  const sum = out.subarray(0, 512).reduce((total, byte) => total + byte, 0)
  out.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return out
}

describe('taking in code', () => {
  const directory = mkdtempSync(join(tmpdir(), 'hostel-code-'))
  const store = openCodeStore(directory)
  after(async () => {
    await store.close()
    rmSync(directory, { recursive: true })
  })

  const receive = (archive: Buffer): Promise<{ digest: string; files: number; bytes: number }> => store.receive(Readable.from([archive]))
  const zipped = async (parts: Parameters<typeof tarOf>[0]): Promise<Buffer> => gzipSync(await tarOf(parts))
  const long = (length: number): string => 'x'.repeat(length)

  it('strips types outside node_modules, leaving lines, columns and the digest of what was uploaded', async () => {
    const source = 'const a: number = 1\nexport const b = a as unknown'
    const parts = ['index.ts', 'lib/b.mts', 'c.d.ts', 'node_modules/d/d.ts'].map((name) => ({ name, content: source, mode: 0o755 }))
    const { digest, bytes } = await receive(await zipped([...parts, { name: 'enum.ts', content: 'enum A { b }' }, { name: 'e.js', content: source }]))
    const root = join(directory, 'code', digest)
    const read = (name: string): string => readFileSync(join(root, name), 'utf8')
    const stripped = 'const a         = 1\nexport const b = a           \n//# hostel: types stripped\n'
    assert.equal(read('index.ts'), stripped)
    assert.equal(read('lib/b.mts'), stripped)
    assert.equal(lstatSync(join(root, 'index.ts')).mode & 0o777, 0o755)
    assert.deepEqual(['c.d.ts', 'node_modules/d/d.ts', 'e.js'].map(read), [source, source, source], 'not ours to strip')
    assert.equal(read('enum.ts'), 'enum A { b }', 'for Node to refuse')
    assert.equal(bytes, 5 * source.length + 12)
    const tree: TreeEntry[] = ['lib', 'node_modules', 'node_modules/d'].map((path) => ({ path, kind: 'directory' }))
    const file = (path: string, content: string, executable: boolean): TreeEntry => ({
      path,
      kind: 'file',
      executable,
      digest: hash('sha256', content),
      bytes: 0,
    })
    tree.push(...parts.map(({ name }) => file(name, source, true)), file('enum.ts', 'enum A { b }', false), file('e.js', source, false))
    assert.equal(digest, treeDigest(tree))
  })

  it('unpacks files and directories with their execute bit and nothing else of their modes', async () => {
    const { digest, files, bytes } = await receive(
      await zipped([
        { name: './', type: 'directory' },
        { name: 'index.js', content: 'hello', mode: 0o666 },
        { name: './bin/run', content: '#!', mode: 0o4711 },
        { name: 'empty/', type: 'directory', mode: 0o777 },
        { name: 'ünïcode/日本.txt', content: 'x' },
        { name: `${long(120)}/${long(150)}.txt`, content: 'long' },
      ]),
    )
    const root = join(directory, 'code', digest)
    assert.equal(files, 4)
    assert.equal(bytes, 12)
    assert.equal(readFileSync(join(root, 'index.js'), 'utf8'), 'hello')
    const mode = (path: string): string => (lstatSync(join(root, path)).mode & 0o7777).toString(8)
    assert.deepEqual(['.', 'index.js', 'bin', 'bin/run', 'empty'].map(mode), ['755', '644', '755', '755', '755'])
  })

  it('gives the same content the same digest, however it was packed', async () => {
    const one = await receive(
      await zipped([
        { name: 'a.js', content: '1' },
        { name: 'lib/b.js', content: '2' },
      ]),
    )
    const same = await receive(
      await zipped([
        { name: 'lib/', type: 'directory' },
        { name: './lib/b.js', content: '2', mode: 0o600 },
        { name: 'a.js', content: '1' },
      ]),
    )
    assert.equal(same.digest, one.digest)
    const digests = await Promise.all(
      [
        zipped([
          { name: 'a.js', content: '1', mode: 0o755 },
          { name: 'lib/b.js', content: '2' },
        ]),
        zipped([
          { name: 'a.js', content: '1' },
          { name: 'lib/c.js', content: '2' },
        ]),
        zipped([
          { name: 'a.js', content: '2' },
          { name: 'lib/b.js', content: '1' },
        ]),
        zipped([
          { name: 'a.js', content: '1' },
          { name: 'lib/b.js', content: '2' },
          { name: 'more/', type: 'directory' },
        ]),
      ].map(async (archive) => (await receive(await archive)).digest),
    )
    assert.equal(new Set([one.digest, ...digests]).size, 5)
  })

  const index = { name: 'index.js', content: '' }
  const hostile: { what: string; archive: () => Buffer | Promise<Buffer>; code?: string; says: RegExp }[] = [
    {
      what: 'a symbolic link',
      archive: () => zipped([index, { name: 'a', type: 'symlink', linkname: '/etc/passwd' }]),
      says: /"a", a symbolic link; links are not supported/,
    },
    {
      what: 'a file through a symbolic link',
      archive: () =>
        zipped([
          { name: 'a', type: 'symlink', linkname: '/tmp' },
          { name: 'a/x', content: 'x' },
        ]),
      says: /a symbolic link/,
    },
    { what: 'a hard link', archive: () => zipped([index, { name: 'a', type: 'link', linkname: 'index.js' }]), says: /a hard link/ },
    { what: 'a character device', archive: () => zipped([index, { name: 'a', type: 'character-device' }]), says: /a device/ },
    { what: 'a block device', archive: () => zipped([index, { name: 'a', type: 'block-device' }]), says: /a device/ },
    { what: 'a named pipe', archive: () => zipped([index, { name: 'a', type: 'fifo' }]), says: /a named pipe/ },
    { what: 'a path upwards', archive: () => zipped([{ name: '../evil', content: 'x' }]), says: /"..\/evil", a path that leads out of it/ },
    { what: 'a path upwards in the middle', archive: () => zipped([{ name: 'a/../../evil', content: 'x' }]), says: /leads out/ },
    { what: 'a directory upwards', archive: () => zipped([{ name: 'a/..', type: 'directory' }]), says: /leads out/ },
    { what: 'an absolute path', archive: () => zipped([{ name: '/etc/evil', content: 'x' }]), says: /an absolute path/ },
    { what: 'an absolute path behind a dot', archive: () => zipped([{ name: './/etc/evil', content: 'x' }]), says: /empty or `.` part|absolute/ },
    { what: 'an absolute path in a pax header', archive: () => zipped([{ name: 'a', pax: { path: '/etc/evil' }, content: 'x' }]), says: /an absolute path/ },
    {
      what: 'an empty name',
      archive: async () => gzipSync(renamed(await tarOf([{ name: 'a', content: 'x' }]), Buffer.alloc(0))),
      says: /an entry without a name/,
    },
    { what: 'an empty part', archive: () => zipped([{ name: 'a//b', content: 'x' }]), says: /empty or `.` part/ },
    { what: 'a dot part', archive: () => zipped([{ name: 'a/./b', content: 'x' }]), says: /empty or `.` part/ },
    { what: 'a file as the root', archive: () => zipped([{ name: '.', content: 'x' }]), says: /in the place of the code's root/ },
    { what: 'an overlong part', archive: () => zipped([{ name: long(256), content: 'x' }]), says: /more than 255 bytes/ },
    { what: 'an overlong part in UTF-8', archive: () => zipped([{ name: 'ü'.repeat(128), content: 'x' }]), says: /more than 255 bytes/ },
    { what: 'an overlong path', archive: () => zipped([{ name: `${`${long(200)}/`.repeat(6)}x`, content: 'x' }]), says: /more than 1024 bytes/ },
    { what: 'a path too deep', archive: () => zipped([{ name: `${'d/'.repeat(100)}x`, content: 'x' }]), says: /64 directories deep/ },
    { what: 'a control character', archive: () => zipped([{ name: 'a\u001b[2Jb', content: 'x' }]), says: /control characters/ },
    { what: 'a line break', archive: () => zipped([{ name: 'a\nb', content: 'x' }]), says: /control characters/ },
    { what: 'a NUL in a pax header', archive: () => zipped([{ name: 'a', pax: { path: 'a\0b' }, content: 'x' }]), says: /control characters/ },
    {
      what: 'a name that is not UTF-8',
      archive: async () => gzipSync(renamed(await tarOf([{ name: 'a', content: 'x' }]), Buffer.from([0x61, 0xff, 0xfe]))),
      says: /not UTF-8/,
    },
    {
      what: 'a file twice',
      archive: () =>
        zipped([
          { name: 'a', content: '1' },
          { name: './a', content: '2' },
        ]),
      says: /"a" twice/,
    },
    {
      what: 'files that differ by case',
      archive: () =>
        zipped([
          { name: 'Read', content: '1' },
          { name: 'read', content: '2' },
        ]),
      says: /"Read" and "read", which differ only by case/,
    },
    {
      what: 'directories that differ by case',
      archive: () =>
        zipped([
          { name: 'Lib/a', content: '1' },
          { name: 'lib/b', content: '2' },
        ]),
      says: /differ only by case/,
    },
    {
      what: 'names that differ by normalisation',
      archive: () =>
        zipped([
          { name: 'caf\u00e9', content: '1' },
          { name: 'cafe\u0301', content: '2' },
        ]),
      says: /Unicode normalisation/,
    },
    {
      what: 'a file under a file',
      archive: () =>
        zipped([
          { name: 'a', content: '1' },
          { name: 'a/b', content: '2' },
        ]),
      says: /"a" both as a file and as a directory/,
    },
    {
      what: 'a file in the place of a directory',
      archive: () =>
        zipped([
          { name: 'a/b', content: '2' },
          { name: 'a', content: '1' },
        ]),
      says: /"a" both as a file and as a directory/,
    },
    { what: 'no files', archive: () => zipped([{ name: 'a/', type: 'directory' }]), says: /holds no files/ },
    { what: 'nothing', archive: () => Buffer.alloc(0), says: /archive/ },
    { what: 'no gzip', archive: () => tarOf([index]), says: /not a whole gzip file/ },
    { what: 'no tar', archive: () => gzipSync(Buffer.alloc(4_096, 'not a tar archive ')), says: /not a whole tar file/ },
    { what: 'half a gzip file', archive: async () => (await zipped([{ name: 'a', content: long(5_000) }])).subarray(0, 60), says: /not a whole gzip file/ },
    {
      what: 'half a tar file',
      archive: async () => gzipSync((await tarOf([{ name: 'a', content: long(5_000) }])).subarray(0, 2_000)),
      says: /not a whole tar file/,
    },
    { what: 'a header with a wrong checksum', archive: async () => gzipSync(Buffer.from(await tarOf([index])).fill('z', 0, 5)), says: /not a whole tar file/ },
    {
      what: 'too many entries',
      archive: () => zipped(Array.from({ length: limits.codeMaxEntries + 1 }, (_, i) => ({ name: `f${i}` }))),
      code: 'request_too_large',
      says: /more than 20000/,
    },
    {
      what: 'one directory too many times',
      archive: () => zipped(Array.from({ length: limits.codeMaxEntries + 1 }, () => ({ name: 'd/', type: 'directory' as const }))),
      code: 'request_too_large',
      says: /more than 20000/,
    },
    { what: 'a gzip bomb', archive: () => gzipSync(Buffer.alloc(400 * 1024 * 1024)), code: 'request_too_large', says: /unpacks to more than 256 MiB/ },
    {
      what: 'a bomb of one file',
      archive: async () =>
        gzipSync(
          Buffer.concat([
            await tarOf([{ name: 'a', pax: { size: String(300 * 1024 * 1024) }, content: '' }]).then((tar) => tar.subarray(0, -1_024)),
            Buffer.alloc(300 * 1024 * 1024),
          ]),
        ),
      code: 'request_too_large',
      says: /unpacks to more than 256 MiB/,
    },
  ]
  for (const { what, archive, code = 'invalid_input', says } of hostile) {
    it(`refuses ${what} and leaves nothing behind`, async () => {
      const before = readdirSync(join(directory, 'code'))
      const bytes = await archive()
      await assert.rejects(receive(bytes), (error: unknown) => {
        assert.ok(error instanceof HostelError, String(error))
        assert.match(error.message, says)
        assert.equal(error.code, code)
        return true
      })
      assert.deepEqual(readdirSync(join(directory, 'code')), before)
      assert.deepEqual(readdirSync(join(directory, 'tmp')), [])
    })
  }

  it('shows names in its errors without anything that a terminal would act on', async () => {
    await assert.rejects(receive(await zipped([{ name: '../\u202egpj.exe', content: 'x' }])), /"\.\.\/\\u202egpj\.exe"/)
  })

  it('refuses more bytes than an archive may have before it has read them all', async () => {
    let sent = 0
    const endless = Readable.from(
      (async function* () {
        for (;;) {
          sent += 1024 * 1024
          yield Buffer.alloc(1024 * 1024)
        }
      })(),
    )
    await assert.rejects(store.receive(endless), /larger than 64 MiB/)
    assert.ok(sent < 70 * 1024 * 1024)
    assert.deepEqual(readdirSync(join(directory, 'tmp')), [])
  })

  it('gives up on an archive that takes too long, and unpacks the next one', async () => {
    const heavy: Record<string, string> = {}
    for (let i = 0; i < 200_000; i++) heavy[`HOSTEL.${i.toString(36)}`] = 'x'
    const global = await tarOf([{ name: 'g', pax: heavy, content: '' }])
    // A global header's attributes stay for all entries after it, each of which copies them.
    global[156] = 'g'.charCodeAt(0)
    global.fill(' ', 148, 156)
    global.write(
      `${global
        .subarray(0, 512)
        .reduce((total, byte) => total + byte, 0)
        .toString(8)
        .padStart(6, '0')}\0 `,
      148,
    )
    const entries = await tarOf(Array.from({ length: 15_000 }, (_, i) => ({ name: `ü${i}` })))
    const hasty = openCodeStore(join(directory, 'hasty'), { unpackTimeoutMs: 2_000 })
    try {
      const bomb = gzipSync(Buffer.concat([global.subarray(0, -1_024), entries]))
      await assert.rejects(hasty.receive(Readable.from([bomb])), /takes too long or too much memory/)
      assert.deepEqual(readdirSync(join(directory, 'hasty', 'tmp')), [])
      await hasty.receive(Readable.from([await zipped([index])]))
    } finally {
      await hasty.close()
    }
  })
})
