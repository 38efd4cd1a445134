import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'

import { egressOf } from './builder.ts'
import { openBuildCache } from './cache.ts'
import { buildFailure } from './explain.ts'
import { createFrameReader } from './frames.ts'
import { joinedDigest, joinTrees } from './join.ts'
import { createBuildLogs } from './log.ts'
import { needOf } from './need.ts'
import type { Need } from './need.ts'
import { harmlessNpmrc } from './npmrc.ts'
import { createTurnstile } from './turnstile.ts'

let directory: string
beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'hostel-builds-'))))
afterEach(() => rmSync(directory, { recursive: true }))

function write(files: Record<string, string>, root = directory): void {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), content)
  }
}

describe('what a build is needed for', () => {
  const needed = async (runtime: string, files: Record<string, string>): Promise<Need | undefined> => {
    rmSync(directory, { recursive: true })
    write({ x: '', ...files })
    return needOf(directory, runtime)
  }

  it('is dependencies of package.json, and none that the code brings', async () => {
    const manifest = JSON.stringify({ scripts: { prepare: 'tsc' }, dependencies: { a: '1' } })
    const need = await needed('nodejs24', { 'package.json': manifest, 'package-lock.json': '{}' })
    assert.equal(need?.command, 'npm ci')
    assert.deepEqual(JSON.parse(need!.files[0]!.content), { dependencies: { a: '1' } })
    assert.equal((await needed('nodejs24', { 'package.json': manifest }))?.command, 'npm install')
    assert.equal(await needed('nodejs24', { 'package.json': manifest, 'node_modules/a/index.js': '' }), undefined)
    assert.equal(await needed('nodejs24', { 'package.json': '{"devDependencies":{"a":"1"}}' }), undefined)
    assert.equal(await needed('nodejs24', {}), undefined)
    assert.equal(await needed('python3', { 'package.json': manifest }), undefined)
    await assert.rejects(needed('nodejs24', { 'package.json': '{' }), { code: 'build_failed' })
  })

  it('is requirements, and none that the code brings', async () => {
    assert.equal((await needed('python3', { 'requirements.txt': 'idna # x\n' }))?.isLocal, false)
    assert.equal(await needed('python3', { 'requirements.txt': '# nothing\n\n' }), undefined)
    assert.equal(await needed('python3', { 'requirements.txt': 'idna', 'idna-3.7.dist-info/METADATA': '' }), undefined)
    assert.equal(await needed('python3', { 'requirements.txt': 'idna', '.site-packages/idna.py': '' }), undefined)
    assert.equal((await needed('python3', { 'pyproject.toml': '[project]\n' }))?.command, 'pip install')
    assert.equal(await needed('python3', { 'pyproject.toml': '[tool.ruff]\n' }), undefined)
    await assert.rejects(needed('python3', { 'pyproject.toml': '[tool.poetry.dependencies]\n' }), /poetry export/)
  })

  it('takes in all of the code where packages of its own are installed', async () => {
    for (const spec of ['file:./a', 'link:../a', './a', '/a', '~/a'])
      assert.equal((await needed('nodejs24', { 'package.json': JSON.stringify({ dependencies: { a: spec } }) }))?.isLocal, true, spec)
    for (const line of ['-r other.txt', '-e .', './a', 'a.whl', '--constraint=c.txt', 'a @ file:///a'])
      assert.equal((await needed('python3', { 'requirements.txt': line }))?.isLocal, true, line)
    assert.equal((await needed('python3', { 'requirements.txt': 'a @ https://example.com/a.whl' }))?.isLocal, false)
  })

  it('keeps of an .npmrc what decides the layout, and nothing that leads elsewhere', () => {
    const { kept, dropped } = harmlessNpmrc(
      '# c\nlegacy-peer-deps = true\nregistry=http://evil\n@a:registry=http://evil\n//evil/:_authToken=x\nforce\nengine-strict=${HOME}\nscript-shell=/tmp/x',
    )
    assert.equal(kept, 'legacy-peer-deps=true\nforce=true\n')
    assert.deepEqual(dropped, ['registry', '@a:registry', '//evil/:_authToken', 'engine-strict', 'script-shell'])
  })

  it('opens the door to the registry', () => {
    assert.deepEqual(egressOf('https://registry.example.com/npm/'), ['registry.example.com:443'])
    assert.deepEqual(egressOf('http://127.0.0.1:4873/'), ['127.0.0.1:4873'])
    assert.deepEqual(egressOf('https://pypi.org/simple'), ['pypi.org:443', 'files.pythonhosted.org:443'])
  })
})

describe("a builder's answer", () => {
  const frame = (kind: number, content: string | Buffer): Buffer => {
    const payload = Buffer.from(content)
    const head = Buffer.alloc(5)
    head.writeUInt8(kind)
    head.writeUInt32BE(payload.length, 1)
    return Buffer.concat([head, payload])
  }

  it('is read however it is cut, without what a terminal would act on', () => {
    const all = Buffer.concat([frame(1, 'a\u001b[31mb\u202ec\td'), frame(2, Buffer.from([1, 2])), frame(3, '{"ok":true}')])
    const read = createFrameReader()
    const frames = [...all].flatMap((byte) => read(Buffer.from([byte])))
    assert.deepEqual(frames, [
      { kind: 'line', text: 'abc\td' },
      { kind: 'archive', bytes: Buffer.from([1, 2]) },
      { kind: 'end', ok: true, message: '' },
    ])
  })

  it('is refused when it is none', () => {
    for (const bytes of [
      frame(4, ''),
      frame(0, ''),
      frame(3, '{'),
      frame(1, 'x'.repeat(20_000)),
      Buffer.from([2, 255, 0, 0, 0]),
      Buffer.concat([frame(3, '{}'), frame(1, 'more')]),
    ])
      assert.throws(() => createFrameReader()(bytes), { code: 'build_failed' })
  })

  it('that failed is explained by what the tool said and what helps', () => {
    const log = createBuildLogs().open('t')
    for (const line of ['added', 'npm error code ENOENT', 'npm error syscall spawn git', 'npm error A complete log of this run']) log.say(line)
    const need: Need = { tool: 'npm', command: 'npm ci', files: [], isLocal: false, notes: [] }
    const { code, message } = buildFailure(need, { status: 200, outcome: 'ok', detail: null }, 'npm ci ended with 1', log)
    assert.equal(code, 'build_failed')
    assert.match(message, /^npm ci: npm ci ended with 1\. Builds have no git/)
    assert.doesNotMatch(message, /complete log/)
    const killed = buildFailure(need, { status: 502, outcome: 'out_of_memory', detail: { explanation: 'it needed more than 512 MiB' } }, undefined, log)
    assert.match(killed.message, /used more memory than a build may: it needed more than 512 MiB/)
  })
})

describe('what was installed', () => {
  it('is kept by tenant and key, and the least lately used goes first', async () => {
    const cache = openBuildCache(directory, { totalMaxBytes: 100, tenantMaxBytes: 60 })
    const add = async (tenant: string, key: string, bytes: number): Promise<void> => {
      const work = mkdtempSync(join(tmpdir(), 'hostel-work-'))
      mkdirSync(join(work, 'tree'))
      await cache.add(tenant, key, work, { digest: key, bytes, files: 1 })
    }
    const age = (tenant: string, key: string, seconds: number): void => utimesSync(join(directory, tenant, key, 'meta.json'), 1_000 - seconds, 1_000 - seconds)
    await add('a', 'one', 30)
    age('a', 'one', 10)
    await add('a', 'two', 30)
    age('a', 'two', 20)
    assert.equal(await cache.find('b', 'one'), undefined, "another tenant's is not found")
    await add('a', 'three', 30)
    assert.equal(await cache.find('a', 'two'), undefined, 'the tenant has too much')
    assert.equal((await cache.find('a', 'one'))?.digest, 'one')
    age('a', 'one', 5)
    age('a', 'three', 1)
    await add('b', 'one', 60)
    assert.equal(await cache.find('a', 'one'), undefined, 'all together is too much')
    assert.ok(await cache.find('a', 'three'))
    assert.ok(await cache.find('b', 'one'))
  })

  it('is joined with code by links that share their content', async () => {
    write({ 'index.js': 'x', 'lib/a.js': 'y' }, join(directory, 'code'))
    write({ 'node_modules/b/index.js': 'z' }, join(directory, 'deps'))
    const target = join(directory, 'target')
    mkdirSync(target)
    await joinTrees([join(directory, 'code'), join(directory, 'deps')], target)
    for (const [path, from] of [
      ['index.js', 'code'],
      ['lib/a.js', 'code'],
      ['node_modules/b/index.js', 'deps'],
    ] as const)
      assert.equal(statSync(join(target, path)).ino, statSync(join(directory, from, path)).ino)
    assert.equal(statSync(join(target, 'node_modules/b')).mode & 0o777, 0o755)
    assert.ok(!existsSync(join(directory, 'code/node_modules')))
    assert.notEqual(joinedDigest('a', 'b'), joinedDigest('a', 'c'))
  })
})

describe('the log of a build', () => {
  it('is followed from its first line to its end, by its tenant alone', async () => {
    const logs = createBuildLogs()
    const { signal } = new AbortController()
    const collect = async (tenant: string): Promise<string[]> => {
      const texts: string[] = []
      for await (const { text } of logs.follow(tenant, 'id', signal)) texts.push(text)
      return texts
    }
    const early = collect('t')
    const log = logs.open('t', 'id')
    log.say('one')
    const stranger = collect('other')
    await new Promise((resolve) => setTimeout(resolve, 10))
    log.say('two')
    log.end()
    log.say('three')
    assert.deepEqual(await early, ['one', 'two'])
    assert.deepEqual(await collect('t'), ['one', 'two'], 'also late')
    assert.deepEqual(await stranger, [])
    assert.deepEqual(log.tail(1), ['two'])
  })

  it('is cut when it is too long', () => {
    const log = createBuildLogs().open('t')
    for (let i = 0; i < 20_000; i++) log.say('x'.repeat(100))
    assert.match(log.tail(1)[0]!, /too long/)
    assert.ok(log.tail(20_000).length <= 10_000)
  })
})

describe('the turnstile before builds', () => {
  it('lets so many in, one of a tenant, and the others in their order', async () => {
    const turnstile = createTurnstile(2, 2)
    const inside: string[] = []
    const enter = async (tenant: string, name: string): Promise<Disposable> => {
      const turn = await turnstile.enter(tenant, () => inside.push(`${name} waits`))
      inside.push(name)
      return turn
    }
    const first = await enter('a', 'a1')
    const second = enter('a', 'a2')
    const third = await enter('b', 'b1')
    const fourth = enter('c', 'c1')
    await assert.rejects(enter('d', 'd1'), { code: 'too_many_requests' })
    assert.deepEqual(inside, ['a1', 'a2 waits', 'b1', 'c1 waits'])
    third[Symbol.dispose]()
    ;(await fourth)[Symbol.dispose]()
    assert.deepEqual(inside.slice(4), ['c1'])
    first[Symbol.dispose]()
    ;(await second)[Symbol.dispose]()
    assert.deepEqual(inside.slice(5), ['a2'])
  })
})
