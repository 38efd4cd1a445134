import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { after, describe, it } from 'node:test'
import { createGzip } from 'node:zlib'
import { pack } from 'tar-stream'

import { limits } from '../limits.ts'
import { openStore } from '../store/store.ts'
import { openCodeStore } from './code/store.ts'
import { resolveConfig } from './config.ts'
import type { WantedConfig } from './config.ts'

const node = { name: 'nodejs24', version: '24.21.0', entryFiles: ['index.ts', 'index.js'] }
const python = { name: 'python3', version: '3.11.2', entryFiles: ['main.py'] }

const directory = mkdtempSync(join(tmpdir(), 'hostel-config-'))
const code = openCodeStore(directory)
after(async () => {
  await code.close()
  rmSync(directory, { recursive: true })
})

async function upload(files: Record<string, string>): Promise<string> {
  const tar = pack()
  for (const [name, content] of Object.entries(files)) tar.entry({ name }, content)
  tar.finalize()
  return (await code.receive(Readable.from(tar as AsyncIterable<Buffer>).pipe(createGzip()))).digest
}

describe('a configuration', () => {
  const resolve = async (files: Record<string, string>, wanted: Omit<WantedConfig, 'code'> = {}) =>
    resolveConfig({ ...wanted, code: await upload(files) }, code, [node, python])

  it('has defaults for all that is left out', async () => {
    assert.deepEqual(await resolve({ 'index.ts': '' }), {
      runtime: 'nodejs24',
      handler: 'index.ts',
      memoryMiB: limits.memoryDefaultMiB,
      timeoutMs: limits.timeoutDefaultMs,
      concurrency: limits.concurrencyDefault,
      env: {},
      egress: [],
      services: [],
    })
  })

  it('finds runtime and entry file in the code, the first of the list first', async () => {
    const found: [Record<string, string>, string, string][] = [
      [{ 'index.js': '', 'index.ts': '' }, 'nodejs24', 'index.ts'],
      [{ 'main.py': '' }, 'python3', 'main.py'],
      [{ 'index.js': '', 'package.json': '{"main":"./lib/app.js"}', 'lib/app.js': '' }, 'nodejs24', 'lib/app.js'],
      [{ 'package.json': '{"main":"lib"}', 'lib/index.js': '' }, 'nodejs24', 'lib/index.js'],
      [{ 'package.json': '{"name":"x"}', 'index.js': '' }, 'nodejs24', 'index.js'],
    ]
    for (const [files, runtime, handler] of found) {
      const config = await resolve(files)
      assert.deepEqual([config.runtime, config.handler], [runtime, handler])
    }
  })

  it('takes a handler as it is given, and its runtime from the ending', async () => {
    const config = await resolve({ 'lib/app.py': '', 'index.ts': '' }, { handler: './lib/app.py:go' })
    assert.deepEqual([config.runtime, config.handler], ['python3', 'lib/app.py:go'])
  })

  it('asks which runtime when the code fits several', async () => {
    await assert.rejects(resolve({ 'main.py': '', 'index.ts': '' }), /runtime takes .*fits several \(nodejs24 by index.ts, python3 by main.py\): say which/)
    assert.equal((await resolve({ 'main.py': '', 'index.ts': '' }, { runtime: 'python3' })).handler, 'main.py')
  })

  it('refuses a package.json whose main is not there, leads out, or that is no JSON', async () => {
    await assert.rejects(resolve({ 'package.json': '{"main":"gone.js"}', 'index.js': '' }), /main in package.json takes a file of the code; got "gone.js"/)
    await assert.rejects(resolve({ 'package.json': '{"main":"../../hostel.db"}', 'index.js': '' }), /main in package.json/)
    await assert.rejects(resolve({ 'package.json': '{', 'index.js': '' }), /package.json of the code is no valid JSON/)
  })

  it('is the same for the same environment in another order', async () => {
    const one = await resolve({ 'index.ts': '' }, { env: { B: '2', A: '1' } })
    assert.deepEqual(Object.keys(one.env), ['A', 'B'])
  })

  it('keeps an odd name of an environment variable what it is', async () => {
    const { env } = await resolve({ 'index.ts': '' }, { env: JSON.parse('{"__proto__":"x","constructor":"y"}') as Record<string, string> })
    assert.deepEqual(Object.entries(env), [
      ['__proto__', 'x'],
      ['constructor', 'y'],
    ])
  })
})

describe('code that no version needs', () => {
  it('goes after an hour without one, and not while one needs it', async () => {
    const store = await openStore(directory, { onProblem: (message) => assert.fail(message), onLost: (error) => assert.fail(error) })
    const digest = await upload({ 'index.ts': 'needed or not' })
    const hourMs = limits.codeUnusedKeepMs
    const collect = (atMs: number): Promise<number> => code.collect(store.functions, atMs)
    await collect(0)
    assert.ok(code.has(digest))
    await collect(hourMs - 1)
    assert.ok(code.has(digest))
    // The hour begins anew with another upload.
    await upload({ 'index.ts': 'needed or not' })
    await collect(hourMs)
    assert.ok(code.has(digest))
    const config = await resolveConfig({ code: digest }, code, [node])
    await store.functions.addVersion(
      { ...config, tenant: 'default', function: 'f', version: 1, codeDigest: digest, contract: 'fetch', createdAtMs: 1 },
      'live',
      () => {},
    )
    await collect(10 * hourMs)
    await collect(20 * hourMs)
    assert.ok(code.has(digest))
    await store.functions.remove('default', 'f')
    await collect(30 * hourMs)
    assert.ok(code.has(digest))
    await collect(31 * hourMs)
    assert.ok(!code.has(digest))
    await store.close()
  })
})

describe('old versions', () => {
  it('go when there are too many, but for those that an alias needs', async () => {
    const store = await openStore(directory, { onProblem: (message) => assert.fail(message), onLost: (error) => assert.fail(error) })
    const digest = await upload({ 'index.ts': '' })
    const config = await resolveConfig({ code: digest }, code, [node])
    const add = (version: number, alias: string) =>
      store.functions.addVersion(
        { ...config, tenant: 'default', function: 'g', version, codeDigest: digest, contract: 'fetch', createdAtMs: 1 },
        alias,
        () => {},
      )
    await add(1, 'first')
    for (let version = 2; version <= limits.versionsPerFunctionMax + 3; version++) await add(version, 'live')
    const kept = (await store.functions.get('default', 'g'))!.versions.map(({ version }) => version)
    assert.equal(kept.length, limits.versionsPerFunctionMax + 1)
    assert.equal(kept.at(-1), 1)
    assert.equal(kept.at(-2), 4)
    await store.close()
  })
})
