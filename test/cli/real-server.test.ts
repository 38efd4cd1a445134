import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { once } from 'node:events'

import { eventually } from '../lib/functions.ts'
import { projectRoot, removeData, startServer, type TestServer } from '../lib/server.ts'
import { hostel, run, temporaryDirectory, type RunOptions } from './run.ts'

const examples = join(projectRoot, 'examples')
/** Those that are one function each. */
const single = readdirSync(examples).filter((name) => !existsSync(join(examples, name, 'hostel.yaml')))

describe('the command with a real server', () => {
  let server: TestServer
  before(async () => (server = await startServer()))
  after(async () => {
    await server.stop()
    removeData(server.dataDir)
  })
  const cli = (args: string[], options: RunOptions = {}) => run(args, { ...options, env: { HOSTEL_DATA: server.dataDir, ...options.env } })

  for (const name of single) {
    it(`deploys and calls the example ${name}`, async () => {
      const deployed = await cli(['deploy', join(examples, name)])
      assert.equal(deployed.code, 0, deployed.stderr)
      assert.match(deployed.stdout, new RegExp(`^ {2}${server.gateway}/default/${name}/\n`))
      const called = await cli(['invoke', name, '--method', 'GET'])
      assert.equal(called.code, 0, called.stderr)
      assert.notEqual(called.stdout, '')
    })
  }

  it('deploys the example of a hostel.yaml with several functions', async () => {
    const deployed = await cli(['deploy', join(examples, 'shop'), '--yes'])
    assert.equal(deployed.code, 0, deployed.stderr)
    assert.match(deployed.stdout, /\+ shop [\s\S]*\+ stock /)
  })

  it('says that a deploy of the same code and configuration changes nothing', async () => {
    const again = JSON.parse((await cli(['deploy', join(examples, 'hello'), '--json'])).stdout) as { version: number; unchanged: boolean }
    assert.deepEqual([again.version, again.unchanged], [1, true])
  })

  it('gives the answers that the examples promise', async () => {
    const answer = async (args: string[]): Promise<string> => (await cli(['invoke', ...args])).stdout
    assert.equal(await answer(['hello', '--path', '/?name=Ada']), 'Hello, Ada!\n')
    const order = '{"items": [{"name": "tea", "price": 2.5, "quantity": 2}]}'
    assert.deepEqual(JSON.parse(await answer(['event', '--data', order])), { items: 1, total: 5 })
    assert.deepEqual(JSON.parse(await answer(['event', '--method', 'POST', '--data', order])), { items: 1, total: 5 })
    assert.deepEqual(JSON.parse(await answer(['shop', '--path', '/?item=tea&count=3'])), { item: 'tea', count: 3, total: 7.5, currency: 'EUR' })
    assert.deepEqual(JSON.parse(await answer(['stock', '--data', '{"item": "tea"}'])), { item: 'tea', left: 12 })
    assert.equal(await answer(['stream', '--path', '/?from=2']), '2\n1\nlift-off\n')
    assert.equal(await answer(['python', '--method', 'POST', '--data', 'b a b']), '2  b\n1  a\n')
  })

  it('runs what init writes, for each runtime', async () => {
    using directory = temporaryDirectory()
    for (const runtime of ['nodejs24', 'python3']) {
      const name = `new-${runtime}`
      assert.equal((await cli(['init', '--runtime', runtime, name], { cwd: directory.path })).code, 0)
      const deployed = await cli(['deploy', name, '--env', 'GREETING=Ahoy'], { cwd: directory.path })
      assert.equal(deployed.code, 0, deployed.stderr)
      assert.deepEqual(JSON.parse((await cli(['invoke', name, '--path', '/?name=Ada'])).stdout), { message: 'Ahoy, Ada!' })
    }
  })

  it('shows the log of an invocation, and follows a function', async () => {
    const { invocation } = JSON.parse((await cli(['invoke', 'hello', '--path', '/?name=Log', '--json'])).stdout) as { invocation: string }
    await eventually(async () => {
      const { stdout } = await cli(['logs', 'hello', '--invocation', invocation])
      assert.match(stdout, new RegExp(` ${invocation.slice(-8)} (info|stdout) +greeting Log\n$`))
    })
    let called = false
    const followed = await cli(['logs', 'hello', '--follow', '--limit', '1'], {
      onOutput(text, kill) {
        if (!called) void cli(['invoke', 'hello', '--path', '/?name=Follower'])
        called = true
        if (text.includes('greeting Follower')) kill('SIGINT')
      },
    })
    assert.equal(followed.signal, 'SIGINT')
    assert.equal(followed.stderr, '')
  })

  it('explains a failure with file and line, at once and afterwards', async () => {
    using directory = temporaryDirectory()
    writeFileSync(join(directory.path, 'index.ts'), "export default {\n  fetch() {\n    throw new RangeError('too far')\n  },\n}\n")
    assert.equal((await cli(['deploy', directory.path, '--name', 'thrower'])).code, 0)
    const failed = await cli(['invoke', 'thrower'])
    assert.equal(failed.code, 5)
    assert.match(failed.stderr, /why: .*RangeError: too far, at index\.ts:3:11/)
    const id = /invocations show ([0-9a-f-]{36})/.exec(failed.stderr)?.[1]
    const shown = await cli(['invocations', 'show', id!])
    assert.equal(shown.code, 0, shown.stderr)
    assert.match(shown.stdout, /^handler_error [\s\S]*index\.ts:3:11[\s\S]*acquire .* ms[\s\S]*forward .* ms[\s\S]*total .* ms/)
  })

  it('refuses to make code live that does not start, and says where it fails', async () => {
    using directory = temporaryDirectory()
    writeFileSync(join(directory.path, 'main.py'), 'import nothing_like_that\n')
    const { code, stderr } = await cli(['deploy', directory.path, '--name', 'unstartable'])
    assert.equal(code, 5)
    assert.match(stderr, /failed to start\n {2}why: ModuleNotFoundError: No module named 'nothing_like_that'.*\n {7}at \S+\/main\.py:1/)
    assert.equal((await cli(['describe', 'unstartable'])).code, 3)
  })

  it('refuses wrong values that only the server can know, with exit code 2', async () => {
    for (const args of [
      ['--runtime', 'cobol'],
      ['--handler', 'nope.ts'],
    ]) {
      const { code, stderr } = await cli(['deploy', join(examples, 'hello'), ...args])
      assert.equal(code, 2, stderr)
    }
    assert.equal((await cli(['invocations', 'show', 'not-an-id'])).code, 2)
    assert.equal((await cli(['invocations', 'show', '01a22190-d3d7-7173-995c-70e492a07000'])).code, 3)
    assert.equal((await cli(['invoke', 'hello:nobody'])).code, 3)
  })

  it('describes and lists what is there, and doctor finds the server', async () => {
    assert.match((await cli(['describe', 'hello'])).stdout, /runtime +nodejs24\nhandler +index\.ts \(fetch\)/)
    assert.match((await cli(['ls'])).stdout, /\nhello +1 +nodejs24/)
    assert.match((await cli(['sandboxes', 'ls'])).stdout, /(idle|frozen|busy) +hello/)
    assert.match((await cli(['runtimes', 'ls'])).stdout, /nodejs24[\s\S]*python3/)
    const checks = (JSON.parse((await cli(['doctor', '--json'])).stdout) as { checks: { name: string; ok: unknown }[] }).checks
    assert.equal(checks.find((check) => check.name === 'server')?.ok, true)
  })

  it('removes a function, whose calls then find nothing', async () => {
    assert.equal((await cli(['rm', 'event', '--yes'])).code, 0)
    assert.equal((await cli(['describe', 'event'])).code, 3)
    assert.equal((await cli(['invoke', 'event', '--method', 'GET'])).code, 3)
    assert.equal((await cli(['rm', 'event', '--yes'])).code, 3)
  })
})

describe('the welcome', () => {
  it('deploys and calls every example, shows their times, and where things are', async () => {
    const server = await startServer({ args: ['--examples', 'yes'] })
    try {
      await eventually(() => assert.match(server.output(), /Try next: bin\/hostel invoke hello/), 20_000)
      for (const name of [...single, 'shop', 'stock']) {
        assert.match(server.output(), new RegExp(`\n${name} +${server.gateway}/default/${name}/ +\\S.* ms +.* ms\n`))
      }
      assert.match(server.output(), new RegExp(`gateway +${server.gateway}/`))
    } finally {
      await server.stop()
      removeData(server.dataDir)
    }
  })
})

describe('hostel server', () => {
  it('runs the server in its own place, until SIGTERM', async () => {
    using directory = temporaryDirectory()
    const child = spawn(hostel, ['server', '--data', directory.path, '--gateway=127.0.0.1:0', '--api', '127.0.0.1:0'], { stdio: 'ignore' })
    try {
      // By its own address: where there is none, another server of this machine would answer in its place.
      const access = await eventually(() => JSON.parse(readFileSync(join(directory.path, 'cli.json'), 'utf8')) as { api: string; token: string }, 20_000)
      const env = { HOSTEL_API: access.api, HOSTEL_TOKEN: access.token }
      await eventually(async () => assert.equal((await run(['ls'], { env })).code, 0), 20_000)
      const gone = once(child, 'exit')
      child.kill('SIGTERM')
      assert.deepEqual(await gone, [0, null])
      assert.equal((await run(['ls'], { env })).code, 6)
    } finally {
      child.kill('SIGKILL')
    }
  })

  it('refuses a wrong value with exit code 2', async () => {
    const { code, stderr } = await run(['server', '--gateway', 'everywhere'])
    assert.equal(code, 2)
    assert.match(stderr, /--gateway takes HOST:PORT/)
  })
})

describe('packing', () => {
  it('gives the same bytes for the same files, whatever their times and order of making', async () => {
    const { digestDirectory, packDirectory } = await import('../../src/cli/pack.ts')
    using one = temporaryDirectory()
    using two = temporaryDirectory()
    const names = ['b.ts', 'a.ts', 'lib/c.ts']
    for (const [directory, order] of [
      [one.path, names],
      [two.path, names.toReversed()],
    ] as const) {
      mkdirSync(join(directory, 'lib'))
      for (const name of order) writeFileSync(join(directory, name), name)
    }
    const packed = await packDirectory(one.path)
    assert.deepEqual(packed, await packDirectory(two.path))
    assert.deepEqual(await digestDirectory(one.path), await digestDirectory(two.path))
    assert.equal(packed.files, 3)
    assert.equal(
      packed.bytes,
      names.reduce((sum, name) => sum + readFileSync(join(one.path, name)).length, 0),
    )
  })
})
