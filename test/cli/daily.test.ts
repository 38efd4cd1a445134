/** What people do all day: hostel.yaml, dev, top, completion; with a real server. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'

import { eventually } from '../lib/functions.ts'
import { projectRoot, removeData, startServer, type TestServer } from '../lib/server.ts'
import { hostel, run, temporaryDirectory, type Run, type RunOptions } from './run.ts'

let server: TestServer
before(async () => (server = await startServer()))
after(async () => {
  await server.stop()
  removeData(server.dataDir)
})

const cli = (args: string[], options: RunOptions = {}): Promise<Run> => run(args, { ...options, env: { HOSTEL_DATA: server.dataDir, ...options.env } })

function write(root: string, files: Record<string, string>): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(root, name, '..'), { recursive: true })
    writeFileSync(join(root, name), text)
  }
}

const answering = (text: string): string => `export default { fetch: () => new Response('${text}') }\n`
const call = async (name: string): Promise<string> => (await fetch(`${server.gateway}/default/${name}/`, { signal: AbortSignal.timeout(10_000) })).text()

describe('deploying a hostel.yaml', () => {
  it('has its schema at the API, for editors', async () => {
    const schema = await (await fetch(`${server.api}/hostel.schema.json`)).json()
    assert.deepEqual(schema, JSON.parse(readFileSync(join(projectRoot, 'docs/reference/hostel.schema.json'), 'utf8')))
  })

  const project = temporaryDirectory()
  after(() => project[Symbol.dispose]())
  const deploy = (...args: string[]): Promise<Run> => cli(['deploy', ...args], { cwd: project.path })
  const manifest = (text: string): void => writeFileSync(join(project.path, 'hostel.yaml'), text)

  it('shows what would come, and asks before it does anything', async () => {
    write(project.path, { 'web/index.ts': answering('one'), 'web/hostel.yaml': '', 'jobs/main.py': 'def handler(event, context):\n    return 1\n' })
    manifest('functions:\n  web: { source: web, env: { A: secret-1 } }\n  jobs:\n    source: ./jobs\n    memory: 128MiB\n')
    const planned = await deploy('--plan')
    assert.equal(planned.code, 8, planned.stderr)
    assert.match(planned.stdout, /\+ web {3}new\n +env\.A added\n +\+ jobs {2}new\n +memory 128 MiB\n$/)
    const unasked = await deploy()
    assert.equal(unasked.code, 2)
    assert.match(unasked.stderr, /no terminal to ask on\n {2}fix: Add --yes/)
    assert.equal((await cli(['describe', 'web'])).code, 3)
  })

  it('deploys everything, and has nothing to do the second time', async () => {
    const first = await deploy('--yes')
    assert.equal(first.code, 0, first.stderr)
    assert.match(first.stderr, /web is live as version 1\.[\s\S]*jobs is live as version 1\./)
    assert.equal(await call('web'), 'one')
    const second = await deploy()
    assert.equal(second.code, 0, second.stderr)
    assert.equal(second.stderr, 'Nothing to do.\n')
    assert.equal((await deploy('--plan')).code, 0)
  })

  it('tells each change from what to what, names the others, and shows no value of an environment variable', async () => {
    write(project.path, { 'web/index.ts': answering('two') })
    manifest('functions:\n  web: { source: web, timeout: 5s, env: { A: secret-2, B: x } }\n')
    const { stdout, stderr } = await deploy('--plan')
    assert.match(
      stdout,
      /~ web {3}code [0-9a-f]{12} → [0-9a-f]{12}\n +timeout 30 s → 5 s\n +env\.A changed\n +env\.B added\n +jobs {2}is not in the file, and stays/,
    )
    assert.doesNotMatch(stdout + stderr, /secret/)
    const json = JSON.parse((await deploy('--plan', '--json')).stdout) as { plan: { function: string; action: string }[] }
    assert.deepEqual(
      json.plan.map((item) => `${item.function} ${item.action}`),
      ['web change', 'jobs leave'],
    )
    assert.doesNotMatch(JSON.stringify(json), /secret/)
  })

  it('removes what the file does not name when it is told to, and then only', async () => {
    assert.equal((await deploy('--yes')).code, 0)
    assert.equal((await cli(['describe', 'jobs'])).code, 0)
    const pruned = await deploy('--yes', '--prune')
    assert.equal(pruned.code, 0, pruned.stderr)
    assert.match(pruned.stdout, /- jobs {2}is removed[\s\S]*Removed jobs\.\n$/)
    assert.equal((await cli(['describe', 'jobs'])).code, 3)
    assert.equal(await call('web'), 'two')
  })

  it('says file, line and column of what only the server can know', async () => {
    manifest('functions:\n  web:\n    source: web\n    runtime: cobol\n')
    const { code, stderr } = await deploy('--yes')
    assert.equal(code, 2)
    assert.match(stderr, /^error: hostel\.yaml:4:14: web: runtime takes one of the installed runtimes/)
    manifest('functions:\n  web:\n    source: web\n    handler: nope.ts\n')
    assert.match((await deploy('--yes')).stderr, /^error: hostel\.yaml:4:14: web: handler takes a file of the code/)
    manifest('functions:\n  web:\n    source: web\n    secrets: [NOT_SET]\n')
    assert.match(
      (await deploy('--yes')).stderr,
      /^error: hostel\.yaml:4:14: web: tenant default has no secret NOT_SET; set it with `\S*hostel secrets set NOT_SET`/,
    )
    manifest('functions:\n  web:\n    source: wbe\n')
    assert.match((await deploy('--yes')).stderr, /^error: hostel\.yaml:3:13: source of web: wbe is not there/)
  })

  it('stops where a function does not start, with its file from here, and goes on from there', async () => {
    write(project.path, { 'a/index.ts': answering('a'), 'b/index.ts': "throw new Error('not today')\n" })
    manifest('functions: { a: { source: a }, b: { source: b }, web: { source: web, timeout: 6s, auth: token } }\n')
    const failed = await deploy('--yes')
    assert.equal(failed.code, 5)
    assert.match(failed.stderr, /a is live as version 1\.[\s\S]*Not done any more: web\.[\s\S]*error: b: [\s\S]*not today\n +at b\/index\.ts:1:7/)
    write(project.path, { 'b/index.ts': answering('b') })
    const mended = await deploy('--yes')
    assert.equal(mended.code, 0, mended.stderr)
    assert.match(mended.stdout, /= a [\s\S]*\+ b [\s\S]*~ web +timeout 5 s → 6 s\n +auth public → token\n/)
  })

  it('refuses options that the file speaks about, and knows one function by name', async () => {
    assert.match((await deploy('--memory', '128MiB')).stderr, /--memory cannot be used here: .*hostel\.yaml says what is deployed/)
    assert.match((await deploy('--only', 'wbe')).stderr, /hostel\.yaml has no function "wbe"\n {2}fix: Did you mean "web"\?/)
    assert.match((await deploy('--only', 'web')).stdout, /: 3 functions, tenant default\n {2}= web {2}nothing changes, version \d+ stays live\n$/)
    rmSync(join(project.path, 'hostel.yaml'))
    writeFileSync(join(project.path, 'hostel.yml'), 'functions: {}')
    assert.match((await deploy()).stderr, /its name must be hostel\.yaml/)
  })
})

describe('hostel dev', () => {
  it('deploys on every save, shows logs and errors with file and line, and goes on', async () => {
    using directory = temporaryDirectory()
    const path = join(directory.path, 'live', 'index.ts')
    const greeting = (text: string): string => `export default {\n  fetch() {\n    console.log('log ${text}')\n    return new Response('${text}')\n  },\n}\n`
    write(directory.path, { 'live/index.ts': greeting('one') })
    let output = ''
    let stop = (): void => {}
    const ended = cli(['dev', 'live'], {
      cwd: directory.path,
      onOutput(stdout, kill, stderr) {
        output = stdout + stderr
        stop = () => kill('SIGINT')
      },
    })
    const shows = (expected: RegExp): Promise<void> => eventually(() => assert.match(output, expected), 10_000)
    try {
      await shows(/live is live as version 1\./)
      assert.equal(await call('live'), 'one')
      await shows(/ stdout log one\n/)
      writeFileSync(path, greeting('two'))
      await shows(/live is live as version 2\./)
      assert.equal(await call('live'), 'two')
      await shows(/ stdout log two\n/)
      writeFileSync(path, 'export default {\n')
      await shows(/error: The function failed to start; version 2 stays live\n {2}why: SyntaxError[\s\S]* at live\/index\.ts:\d/)
      assert.equal(await call('live'), 'two')
      writeFileSync(path, greeting('three').replace('return', "throw new RangeError('too far')\n    return"))
      await shows(/live is live as version 4\./)
      await call('live')
      await shows(/error +RangeError: too far\n[\s\S]*\(live\/index\.ts:4:11\)/)
      // What no deploy takes along starts none; a directory that comes does.
      write(directory.path, { 'live/node_modules/x/index.js': '', 'live/.index.ts.swp': '' })
      await new Promise((resolve) => setTimeout(resolve, 500))
      assert.doesNotMatch(output, /version 5/)
      write(directory.path, { 'live/lib/a.ts': 'export const a = 1\n' })
      await shows(/live is live as version 5\./)
      writeFileSync(join(directory.path, 'live/lib/a.ts'), 'export const a = 2\n')
      await shows(/live is live as version 6\./)
    } finally {
      stop()
    }
    assert.equal((await ended).signal, 'SIGINT')
  })

  it('takes up changes of hostel.yaml, and says what is wrong in it', async () => {
    using directory = temporaryDirectory()
    write(directory.path, { 'one/index.ts': answering('1'), 'two/index.ts': answering('2'), 'hostel.yaml': 'functions:\n  one: { source: one }\n' })
    let output = ''
    let stop = (): void => {}
    const ended = cli(['dev'], {
      cwd: directory.path,
      onOutput(stdout, kill, stderr) {
        output = stdout + stderr
        stop = () => kill('SIGINT')
      },
    })
    const shows = (expected: RegExp): Promise<void> => eventually(() => assert.match(output, expected), 10_000)
    const path = join(directory.path, 'hostel.yaml')
    const text = readFileSync(path, 'utf8')
    try {
      await shows(/one is live as version 1\./)
      writeFileSync(path, `${text}  two: { sorce: two }\n`)
      await shows(/error: hostel\.yaml:3:10: a function takes no "sorce"; did you mean source\?/)
      writeFileSync(path, `${text}  two: { source: two }\n`)
      await shows(/two is live as version 1\./)
      writeFileSync(join(directory.path, 'two/index.ts'), answering('3'))
      await shows(/two is live as version 2\./)
      assert.equal(await call('two'), '3')
    } finally {
      stop()
    }
    assert.equal((await ended).signal, 'SIGINT')
  })
})

describe('hostel top', () => {
  it('shows requests, errors, times and sandboxes of what was just called', async () => {
    using directory = temporaryDirectory()
    write(directory.path, {
      'index.ts': "export default { fetch(request) {\n  if (request.url.endsWith('/bad')) throw new Error('bad')\n  return new Response('x') } }\n",
    })
    assert.equal((await cli(['deploy', directory.path, '--name', 'busy'])).code, 0)
    for (const path of ['', 'bad', '', '']) await (await fetch(`${server.gateway}/default/busy/${path}`)).text()
    await eventually(async () => {
      const { stdout } = await cli(['top', '--once'])
      assert.match(
        stdout,
        /^[\d.]+ requests\/s, 0 in flight, \d+ sandbox(?:es)? and \d+ spares? in \d+ MiB\n\nFUNCTION [\s\S]*\nbusy +0\.4 +25 % +\S+ ms +\S+ ms +0 +0 +\d +\d +\d+ MiB\n/,
      )
    })
    const list = (await cli(['invocations', 'ls', 'busy'])).stdout
    assert.match(list, /^STARTED [\s\S]*\n\S+ \S+ {2}busy:1 +200 {2}ok +\S+ ms {2}warm +[0-9a-f-]{36} {2}GET \/\n/)
    assert.match((await cli(['invocations', 'ls', '--failed', '--limit', '1'])).stdout, /^.*\n.* 500 {2}handler_error .*GET \/bad\n$/)
    assert.match((await cli(['invocations', 'ls', 'bsuy'])).stderr, /Did you mean "busy"\?/)
    const { functions } = JSON.parse((await cli(['top', '--json'])).stdout) as { functions: { function: string; errorShare: number }[] }
    assert.equal(functions.find((item) => item.function === 'busy')?.errorShare, 0.25)
  })
})

describe('completion', () => {
  const words = async (...typed: string[]): Promise<string[]> => {
    const { code, stdout, stderr } = await cli(['completion', 'words', '--', ...typed])
    assert.deepEqual([code, stderr], [0, ''])
    return stdout.split('\n').map((line) => line.split('\t')[0]!)
  }

  it('knows commands, options, and the kinds of their values', async () => {
    assert.ok((await words('de')).includes('deploy'))
    assert.deepEqual((await words('sandboxes', '')).slice(0, 1), ['ls'])
    assert.ok((await words('deploy', '--')).includes('--memory'))
    assert.ok(!(await words('deploy', '--memory', '1GiB', '--')).includes('--memory'))
    assert.ok((await words('deploy', '--env', 'A=1', '--')).includes('--env'))
    assert.deepEqual(await words('deploy', ''), [':dirs', ''])
    assert.deepEqual(await words('invoke', 'x', '--file', ''), [':files', ''])
    assert.deepEqual(await words('nonsense', ''), [''])
  })

  it('asks the server for functions and runtimes, and is silent when there is none', async () => {
    assert.ok((await words('logs', '')).includes('busy'))
    assert.ok((await words('invoke', '--method', 'POST', '')).includes('busy'))
    assert.ok((await words('deploy', '--only=')).includes('--only=busy'))
    const runtimes = await words('init', '--runtime', '')
    assert.ok(runtimes.includes('nodejs24') && runtimes.includes('python3'), runtimes.join(' '))
    assert.deepEqual((await words('ls', '--tenant', '')).slice(0, 1), ['default'])
    assert.deepEqual(await words('logs', 'busy', ''), [''])
    assert.deepEqual(await words('logs', '--api', 'http://127.0.0.1:9', '--token', 'x', ''), [''])
  })

  it('works in bash', async () => {
    const script = `source <("$HOSTEL" completion bash); compopt() { :; }; COMP_WORDS=("$HOSTEL" logs bu); COMP_CWORD=2; _hostel; echo "\${COMPREPLY[@]}"`
    const { stdout } = spawnSync('bash', ['-c', script], {
      encoding: 'utf8',
      timeout: 20_000,
      env: { ...process.env, HOSTEL: hostel, HOSTEL_DATA: server.dataDir },
    })
    assert.equal(stdout, 'busy\n')
  })
})
