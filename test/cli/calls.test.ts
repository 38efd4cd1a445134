import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { buffer } from 'node:stream/consumers'
import { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { extract } from 'tar-stream'

import { hostel, run, temporaryDirectory } from './run.ts'
import { detail, problem, startStandIn, summary, TOKEN, version } from './stand-in.ts'
import type { Route, StandIn } from './stand-in.ts'
import { spawn } from 'node:child_process'

const ID = '0199c0de-0000-7000-8000-000000000001'
const binary = randomBytes(300_000)
const routes: Record<string, Route> = {
  'GET /v1/tenants/default/functions/hello': () => detail('hello'),
  'GET /v1/tenants/default/functions/event': () => detail('event', 'event'),
  'GET /default/hello/': (_, response) => void response.writeHead(200, { 'hostel-invocation': ID }).end('Hello!'),
  'GET /default/hello/binary': (_, response) => void response.writeHead(200).end(binary),
  'POST /default/hello/echo': (seen, response) => void response.writeHead(201, { 'x-type': seen.headers['content-type'] }).end(seen.body),
  'POST /default/event/': (seen) => ({ type: seen.headers['content-type'], event: JSON.parse(seen.body.toString()) as unknown }),
  'GET /default/hello/own-error': (_, response) => void response.writeHead(503, { 'hostel-invocation': ID }).end('maintenance'),
  'GET /default/hello/own-problem': (_, response) =>
    void response.writeHead(422, { 'content-type': 'application/problem+json' }).end('{"type":"about:blank","title":"mine"}'),
  'GET /default/hello/crash': (_, response) => problem(response, 502, 'exited', { invocation: ID }),
  'GET /default/hello/busy': (_, response) => problem(response, 429, 'too_many_requests'),
  'GET /default/hello/broken-off': (_, response) => {
    response.writeHead(200, { 'hostel-invocation': ID, 'content-length': 100 }).write('half')
    setTimeout(() => response.destroy(), 50)
  },
  'POST /v1/tenants/default/functions/shop/plan': () => ({ live: null, codeKnown: false, changes: [{ field: 'code', kind: 'added', to: 'a'.repeat(64) }] }),
  'POST /v1/tenants/default/functions/broken/plan': () => ({ live: 3, codeKnown: false, changes: [] }),
  'PUT /v1/tenants/default/code': () => ({ digest: 'a'.repeat(64), files: 1, bytes: 1 }),
  'POST /v1/tenants/default/functions/shop/versions': (seen) => {
    const { memoryMiB } = JSON.parse(seen.body.toString()) as { memoryMiB?: number }
    return {
      tenant: 'default',
      function: 'shop',
      unchanged: false,
      ...version('fetch'),
      ...(memoryMiB && { memoryMiB }),
      urls: { path: 'http://g/default/shop/', host: 'http://shop.default.localhost/' },
      timings: { initMs: 1, totalMs: 2 },
    }
  },
  'POST /v1/tenants/default/functions/broken/versions': (_, response) =>
    problem(response, 502, 'init_failed', {
      facts: { liveVersion: 3, guest: { kind: 'init', name: 'TypeError', message: 'x is not a \u001B[2Jfunction', file: 'index.ts', line: 3, column: 7 } },
    }),
  'DELETE /v1/tenants/default/functions/hello': (_, response) => void response.writeHead(204).end(),
  'GET /v1/tenants/default/functions/hello/logs': (seen, response) => {
    response.writeHead(200, { 'content-type': 'application/x-ndjson' })
    const line = (sequence: number, text: string): string =>
      `${JSON.stringify({ tenant: 'default', function: 'hello', version: 1, sandbox: 1, invocation: ID, sequence, atMs: 0, level: 'info', text })}\n`
    response.write(line(1, 'first') + line(2, 'second \u001B]0;owned\u0007 line'))
    if (!seen.path.includes('follow')) {
      response.end()
      return
    }
    const more = setInterval(() => response.write(line(3, 'more')), 50)
    response.on('close', () => clearInterval(more))
  },
  [`GET /v1/tenants/default/invocations/${ID}`]: () => ({
    id: ID,
    tenant: 'default',
    function: 'hello',
    version: 1,
    sandbox: 7,
    method: 'GET',
    path: '/x',
    status: 500,
    outcome: 'handler_error',
    start: 'spare',
    startedAtMs: 0,
    acquireMs: 1.5,
    forwardMs: 2.25,
    totalMs: 3.75,
    requestBytes: 0,
    responseBytes: 120,
    detail: { guest: { name: 'TypeError', message: 'no', stack: 'TypeError: no\n    at fetch (index.ts:3:7)' } },
    explanation: { summary: 'the function threw: TypeError: no, at index.ts:3:7', hint: null },
    logLines: 2,
  }),
  'GET /v1/tenants/default/sandboxes': () => ({
    sandboxes: [
      {
        sandbox: 3,
        state: 'spare',
        runtime: 'nodejs24',
        memoryMiB: 256,
        isolation: 'namespace',
        tenant: null,
        function: null,
        version: null,
        inFlight: 0,
        invocations: 0,
        startedAtMs: 0,
        memoryBytes: 9_437_184,
      },
    ],
  }),
  'GET /v1/runtimes': () => ({ runtimes: [{ name: 'nodejs24', version: '24.21.0', entryFiles: ['index.ts', 'index.js'] }] }),
}

let standIn: StandIn
before(async () => (standIn = await startStandIn(routes)))
after(() => standIn.close())
const cli = (args: string[], options: Parameters<typeof run>[1] = {}) => run(args, { ...options, env: { ...standIn.env, ...options.env } })

describe('hostel invoke', () => {
  it('gives the body to standard output, and status and invocation to standard error', async () => {
    const { code, stdout, stderr } = await cli(['invoke', 'hello'])
    assert.equal(code, 0, stderr)
    assert.equal(stdout, 'Hello!')
    assert.match(stderr, new RegExp(`^200 {2}invocation ${ID} {2}.+ ms, first byte after .+ ms\\n$`))
  })

  it('keeps every byte of a binary answer and of a binary body', async () => {
    assert.ok((await cli(['invoke', 'hello', '--path', '/binary'])).stdoutBytes.equals(binary))
    using directory = temporaryDirectory()
    writeFileSync(join(directory.path, 'body.bin'), binary)
    assert.ok((await cli(['invoke', 'hello', '--path', '/echo', '--method', 'POST', '--file', join(directory.path, 'body.bin')])).stdoutBytes.equals(binary))
    assert.ok((await cli(['invoke', 'hello', '--path', '/echo', '--file', '-'], { stdin: binary })).stdoutBytes.equals(binary))
    assert.equal(JSON.parse((await cli(['invoke', 'hello', '--path', '/binary', '--json'])).stdout).bodyBase64, binary.toString('base64'))
  })

  it('sends an event to an event handler, {} when there is no data', async () => {
    const answer = async (args: string[]): Promise<unknown> => JSON.parse((await cli(['invoke', 'event', ...args])).stdout)
    assert.deepEqual(await answer(['--data', '{"a": [1]}']), { type: 'application/vnd.hostel.event+json', event: { a: [1] } })
    assert.deepEqual(await answer([]), { type: 'application/vnd.hostel.event+json', event: {} })
    assert.deepEqual(await answer(['--method', 'post', '--data', '{"a": 1}']), { type: 'application/json', event: { a: 1 } })
  })

  it('refuses an event that is not JSON, and says how to quote it', async () => {
    const { code, stderr } = await cli(['invoke', 'event', '--data', 'hi'])
    assert.equal(code, 2)
    assert.match(stderr, /--data '"hi"'/)
  })

  it('sends the path as it is, with what no URL can hold encoded, and repeated headers repeated', async () => {
    standIn.seen.length = 0
    await cli(['invoke', 'hello:live', '--path', '/a/../b%2f?q=ä #', '-H', 'X-One: 1', '-H', 'x-one:2', '-H', 'host: shop.example'])
    const call = standIn.seen.find((seen) => !seen.path.startsWith('/v1/'))
    assert.equal(call?.path, '/default/hello:live/a/../b%2f?q=%C3%A4%20%23')
    assert.equal(call?.headers['x-one'], '1, 2')
    assert.equal(call?.headers.host, 'shop.example')
  })

  it('ends with 5 and points at the invocation when the function failed', async () => {
    const { code, stdout, stderr } = await cli(['invoke', 'hello', '--path', '/crash'])
    assert.equal(code, 5)
    assert.equal(stdout, '')
    assert.match(stderr, new RegExp(`error: title of exited[\\s\\S]*hostel invocations show ${ID}`))
  })

  it('ends with 5 when the function itself answers with 500 or above, and still gives the body', async () => {
    const { code, stdout, stderr } = await cli(['invoke', 'hello', '--path', '/own-error'])
    assert.equal(code, 5)
    assert.equal(stdout, 'maintenance')
    assert.match(stderr, /the function itself answered 503/)
  })

  it("takes a function's own problem document for an answer", async () => {
    const { code, stdout } = await cli(['invoke', 'hello', '--path', '/own-problem'])
    assert.equal(code, 0)
    assert.equal(stdout, '{"type":"about:blank","title":"mine"}')
  })

  it('ends with 7 when there is no room', async () => {
    assert.equal((await cli(['invoke', 'hello', '--path', '/busy'])).code, 7)
  })

  it('says so when an answer breaks off', async () => {
    const { code, stdout, stderr } = await cli(['invoke', 'hello', '--path', '/broken-off'])
    assert.equal(code, 5)
    assert.equal(stdout, 'half')
    assert.match(stderr, new RegExp(`broke off before its end[\\s\\S]*why: the function threw[\\s\\S]*invocations show ${ID}`))
  })
})

describe('hostel deploy', () => {
  it('uploads what is there, without history and ignored files, and ends with the URLs', async () => {
    using directory = temporaryDirectory()
    const root = join(directory.path, 'shop')
    for (const name of ['.git', 'lib', 'node_modules/.bin', 'node_modules/dep']) mkdirSync(join(root, name), { recursive: true })
    for (const name of ['index.ts', '.git/HEAD', 'lib/a.ts', 'lib/b.test.ts', 'node_modules/dep/index.js', 'run.sh', '.env'])
      writeFileSync(join(root, name), name)
    chmodSync(join(root, 'run.sh'), 0o700)
    symlinkSync('../dep/index.js', join(root, 'node_modules/.bin/dep'))
    writeFileSync(join(root, '.hostelignore'), '# tests\n*.test.ts\n/.env\n')
    standIn.seen.length = 0
    const { code, stdout, stderr } = await cli(['deploy', root, '--memory', '512MiB', '--env', 'A=1', '--env', 'B=x=y'])
    assert.equal(code, 0, stderr)
    assert.match(stderr, /read {6}4 files[\s\S]*uploaded[\s\S]*started {3}nodejs24, index\.ts \(fetch\), 512 MiB[\s\S]*shop is live as version 1/)
    assert.equal(stdout, '  http://g/default/shop/\n  http://shop.default.localhost/\n')
    const names: string[] = []
    const [planned, uploaded, deployed] = standIn.seen
    for await (const entry of Readable.from([uploaded!.body]).pipe(createGunzip()).pipe(extract())) {
      names.push(`${entry.header.name} ${entry.header.mode.toString(8)}`)
      await buffer(entry)
    }
    assert.deepEqual(names, [
      'index.ts 644',
      'lib 755',
      'lib/a.ts 644',
      'node_modules 755',
      'node_modules/dep 755',
      'node_modules/dep/index.js 644',
      'run.sh 755',
    ])
    const wanted = { memoryMiB: 512, env: { A: '1', B: 'x=y' } }
    assert.match((JSON.parse(planned!.body.toString()) as { code: string }).code, /^[0-9a-f]{64}$/)
    assert.deepEqual(JSON.parse(deployed!.body.toString()), { code: 'a'.repeat(64), ...wanted })
  })

  it("shows the function's own error with file and line, and makes its control characters visible", async () => {
    using directory = temporaryDirectory()
    writeFileSync(join(directory.path, 'index.ts'), '')
    const { code, stderr } = await cli(['deploy', directory.path, '--name', 'broken'])
    assert.equal(code, 5)
    assert.match(stderr, /title of init_failed; version 3 stays live\n/)
    assert.ok(stderr.includes(`why: TypeError: x is not a \\x1b[2Jfunction\n       at ${join(directory.path, 'index.ts')}:3:7`), stderr)
  })

  it('refuses symbolic links, special files and empty directories by name', async () => {
    using directory = temporaryDirectory()
    const empty = await cli(['deploy', directory.path, '--name', 'x'])
    assert.equal(empty.code, 1)
    assert.match(empty.stderr, /no files to deploy/)
    symlinkSync('/etc/passwd', join(directory.path, 'secret'))
    const linked = await cli(['deploy', directory.path, '--name', 'x'])
    assert.equal(linked.code, 1)
    assert.match(linked.stderr, /secret is a symbolic link[\s\S]*why:[\s\S]*fix:/)
  })

  it('ends with 3 when the directory is not there', async () => {
    assert.equal((await cli(['deploy', '/nowhere/shop'])).code, 3)
    using directory = temporaryDirectory()
    writeFileSync(join(directory.path, 'hostel.yaml'), '')
    assert.match((await cli(['deploy', join(directory.path, 'hostel.yaml')])).stderr, /is not a directory\n {2}fix: Name such a file with --file /)
  })
})

describe('listing and describing', () => {
  it('lists functions page by page', async () => {
    const paged = await startStandIn({
      'GET /v1/tenants/default/functions': (seen) =>
        seen.path.includes('after=hello') ? { functions: [summary('second')], next: null } : { functions: [summary('hello')], next: 'hello' },
    })
    try {
      const { stdout } = await run(['ls'], { env: paged.env })
      assert.match(stdout, /^NAME {4}LIVE {2}RUNTIME[\s\S]*\nhello[\s\S]*\nsecond /)
      assert.equal(JSON.parse((await run(['ls', '--json'], { env: paged.env })).stdout).functions.length, 2)
    } finally {
      await paged.close()
    }
  })

  it('describes a function, and suggests the name that was likely meant', async () => {
    assert.match((await cli(['describe', 'hello'])).stdout, /live version {2}1, deployed[\s\S]*handler {7}index\.ts \(fetch\)/)
    const { code, stderr } = await cli(['describe', 'helo'])
    assert.equal(code, 3)
    assert.match(stderr, /no function "helo" in tenant "default"[\s\S]*Did you mean "hello"\?/)
  })

  it('explains an invocation in sentences', async () => {
    const { stdout } = await cli(['invocations', 'show', ID])
    assert.match(stdout, /^handler_error {2}the function threw: TypeError: no, at index\.ts:3:7/)
    assert.match(stdout, /acquire {5}1\.50 ms {2}a spare was made its sandbox \(sandbox 7\)/)
    assert.match(stdout, new RegExp(`2 lines: \\S*hostel logs hello --invocation ${ID}`))
  })

  it('lists sandboxes and runtimes', async () => {
    assert.match((await cli(['sandboxes', 'ls'])).stdout, /\n +3 {2}spare +- +- {2}nodejs24 {2}namespace {2}9\.0 MiB of 256 MiB/)
    assert.match((await cli(['runtimes', 'ls'])).stdout, /nodejs24 {2}24\.21\.0 {2}index\.ts index\.js/)
  })
})

describe('hostel rm', () => {
  it('removes nothing without --yes where it cannot ask', async () => {
    standIn.seen.length = 0
    const { code, stderr } = await cli(['rm', 'hello'])
    assert.equal(code, 2)
    assert.match(stderr, /Add --yes/)
    assert.ok(standIn.seen.every((seen) => seen.method !== 'DELETE'))
  })

  it('removes with --yes', async () => {
    const { code, stdout } = await cli(['rm', 'hello', '--yes'])
    assert.equal(code, 0)
    assert.equal(stdout, 'Removed hello.\n')
  })
})

describe('hostel logs', () => {
  it('shows lines with their control characters made visible, and raw as JSON', async () => {
    assert.match((await cli(['logs', 'hello'])).stdout, / 00000001 info {3}first\n.* second \\x1b\]0;owned\\x07 line\n$/)
    const lines = (await cli(['logs', 'hello', '--json'])).stdout.trim().split('\n')
    assert.equal(JSON.parse(lines[1]!).text, 'second \u001B]0;owned\u0007 line')
  })

  it('passes on what to show', async () => {
    standIn.seen.length = 0
    await cli(['logs', 'hello', '--since', '10m', '--invocation', ID, '--limit', '5'])
    const query = new URL(standIn.seen[0]!.path, standIn.url).searchParams
    assert.ok(Math.abs(Number(query.get('since')) - (Date.now() - 600_000)) < 60_000)
    assert.equal(query.get('invocation'), ID)
    assert.equal(query.get('limit'), '5')
  })

  it('follows until Ctrl-C, and then ends without a word', async () => {
    const { signal, stdout, stderr } = await cli(['logs', 'hello', '--follow'], { onOutput: (text, kill) => text.includes('second') && kill('SIGINT') })
    assert.equal(signal, 'SIGINT')
    assert.match(stdout, /first/)
    assert.equal(stderr, '')
  })

  it('ends quietly when the reader of its pipe has gone', async () => {
    const shell = spawn('sh', ['-c', `'${hostel}' logs hello --follow | head -n 1`], {
      env: { PATH: process.env['PATH'], ...standIn.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 20_000,
    })
    const [stdout, stderr] = await Promise.all([buffer(shell.stdout), buffer(shell.stderr)])
    assert.match(stdout.toString(), /first\n$/)
    assert.equal(stderr.toString(), '')
  })
})

describe('finding the server', () => {
  it('ends with 6 when nothing listens there, and says how to start it', async () => {
    const { code, stderr } = await run(['ls', '--api', 'http://127.0.0.1:9', '--token', 'x'])
    assert.equal(code, 6)
    assert.match(stderr, /127\.0\.0\.1:9 does not answer[\s\S]*ECONNREFUSED[\s\S]*npm start/)
  })

  it('ends with 4 when the token is wrong', async () => {
    const { code, stderr } = await cli(['ls', '--token', 'wrong'])
    assert.equal(code, 4)
    assert.match(stderr, /title of unauthenticated/)
  })

  it('ends with 6 when something else answers there', async () => {
    const other = await startStandIn({ 'GET /v1/runtimes': (_, response) => void response.writeHead(200).end('<html>') })
    try {
      const { code, stderr } = await run(['runtimes', 'ls'], { env: other.env })
      assert.equal(code, 6)
      assert.match(stderr, /not a Hostel API/)
    } finally {
      await other.close()
    }
  })

  it('finds it through the data directory, and sends the token there to no other API', async () => {
    using directory = temporaryDirectory()
    writeFileSync(join(directory.path, 'cli.json'), JSON.stringify({ api: standIn.url, gateway: standIn.url, token: TOKEN }))
    assert.equal((await run(['ls'], { env: { HOSTEL_DATA: directory.path } })).code, 0)
    const elsewhere = await run(['ls', '--api', 'http://127.0.0.1:9'], { env: { HOSTEL_DATA: directory.path } })
    assert.equal(elsewhere.code, 4)
    assert.match(elsewhere.stderr, /no token for http:\/\/127\.0\.0\.1:9/)
  })
})
