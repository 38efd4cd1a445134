/** Every way a call can end, by a real function in a real sandbox: the code that the caller gets, the record that explains it, the log. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'

import { ApiError } from '../../src/client/control.ts'
import { deploy, invocationRecord, logsOf } from '../lib/functions.ts'
import { removeData, startServer, type TestServer } from '../lib/server.ts'

const endings = `
import { spawnSync } from 'node:child_process'
import { writeSync } from 'node:fs'

const hold = []
const ways = {
  ok: () => new Response('fine'),
  throws: () => { throw new TypeError('no good') },
  hangs: () => new Promise(() => {}),
  spins: () => { for (;;); },
  exits: () => process.exit(7),
  aborts: () => process.abort(),
  segfaults: () => process.kill(process.pid, 'SIGSEGV'),
  eats: async () => { for (;;) { hold.push(Buffer.alloc(8 << 20, 1)); await new Promise((resolve) => setImmediate(resolve)) } },
  lies: () => { writeSync(3, 'HTTP/1.1 200 OK\\r\\n\\r\\n this is no frame of the protocol and never will be'); return new Promise(() => {}) },
  garbage: () => ({ not: 'a response' }),
  rejects: async () => { setTimeout(() => { Promise.reject(new Error('left alone')) }); await new Promise((resolve) => setTimeout(resolve, 5_000)); return new Response('never') },
}

export default {
  fetch(request) {
    const way = new URL(request.url).pathname.slice(1)
    console.log('about to', way)
    return ways[way]()
  },
}
`

describe('the end of an invocation', () => {
  let server: TestServer

  before(async () => {
    server = await startServer()
    await deploy(server, 'endings', { 'index.mjs': endings }, { memoryMiB: 128 as never, timeoutMs: 1_500, concurrency: 1 })
  })

  after(async () => {
    await server.stop()
    removeData(server.dataDir)
  })

  async function call(way: string): Promise<{ status: number; problem: { code?: string }; id: string; text: string }> {
    const response = await fetch(`${server.gateway}/default/endings/${way}`, { signal: AbortSignal.timeout(20_000) })
    const text = await response.text()
    let problem: { code?: string } = {}
    if (response.headers.get('content-type')?.startsWith('application/problem+json')) problem = JSON.parse(text) as { code: string }
    return { status: response.status, problem, id: response.headers.get('hostel-invocation') ?? '', text }
  }

  const expected: [way: string, status: number, code: string, explanation: RegExp][] = [
    ['throws', 500, 'handler_error', /no good/],
    ['hangs', 504, 'deadline_exceeded', /1[.,]?5 ?s|1,?500/],
    ['spins', 504, 'deadline_exceeded', /1[.,]?5 ?s|1,?500/],
    ['exits', 502, 'exited', /7/],
    ['aborts', 502, 'killed', /SIGABRT/],
    ['segfaults', 502, 'killed', /SIGSEGV/],
    ['eats', 502, 'out_of_memory', /128/],
    ['lies', 502, 'protocol_violation', /frame/],
    ['garbage', 502, 'invalid_response', /Response/],
    ['rejects', 500, 'handler_error', /left alone/],
  ]

  for (const [way, status, code, explanation] of expected) {
    it(`is ${code} when the function ${way}, to the caller, in the record and in the log`, async () => {
      const answer = await call(way)
      assert.deepEqual([answer.status, answer.problem.code], [status, code], answer.text)
      assert.doesNotMatch(answer.text, /index\.mjs|\/code|sandbox \d/, 'an anonymous caller learns nothing of the inside')
      const record = await invocationRecord(server, answer.id)
      assert.equal(record.outcome, code)
      assert.match(JSON.stringify(record), explanation)
      const lines = await logsOf(server, 'endings', (all) => all.some((line) => line.invocation === answer.id))
      assert.ok(lines.some((line) => line.invocation === answer.id && line.text.includes(`about to ${way}`)))
      assert.equal((await call('ok')).status, 200, 'the next call is answered')
    })
  }

  it('is init_failed at deploy, with the user’s own file and line, when the module cannot be loaded', async () => {
    const broken: [files: Record<string, string>, text: RegExp, runtime: string][] = [
      [{ 'index.ts': 'const a = 1\nexport default {\n  fetch() { return new Response( }\n}\n' }, /index\.ts:3/, 'nodejs24'],
      [
        { 'index.mjs': "import './lib/part.mjs'\nexport default { fetch() {} }\n", 'lib/part.mjs': "\n\nthrow new RangeError('at load')\n" },
        /lib\/part\.mjs:3/,
        'nodejs24',
      ],
      [{ 'index.mjs': "import 'left-pad'\nexport default { fetch() {} }\n" }, /left-pad/, 'nodejs24'],
      [{ 'index.mjs': 'export const nothing = 1\n' }, /handler|fetch/, 'nodejs24'],
      [{ 'main.py': 'def handler(event, context):\n    return 1 +\n' }, /main\.py:2/, 'python3'],
      [{ 'main.py': 'import numpy_that_is_not_there\n' }, /numpy_that_is_not_there/, 'python3'],
    ]
    for (const [index, [files, text, runtime]] of broken.entries()) {
      const error = await deploy(server, `broken-${index}`, files, { runtime }).then(
        () => assert.fail(`${Object.keys(files).join()} was deployed`),
        (reason: unknown) => reason,
      )
      assert.ok(error instanceof ApiError, String(error))
      assert.equal(error.problem.code, 'init_failed')
      const guest = (error.problem.facts?.['guest'] ?? {}) as { file?: string; line?: number; message?: string }
      assert.match(`${guest.file}:${guest.line} ${guest.message} ${error.problem.detail}`, text)
    }
  })

  it('does not disturb the neighbours in the same sandbox when one of them fails', async () => {
    const shared =
      "export default {\n  async fetch(request) {\n    const path = new URL(request.url).pathname\n    if (path === '/bad') throw new Error('bad')\n    await new Promise((resolve) => setTimeout(resolve, 300))\n    return new Response(path)\n  },\n}\n"
    await deploy(server, 'shared', { 'index.mjs': shared }, { concurrency: 50 })
    const answers = await Promise.all(
      Array.from({ length: 40 }, async (_, i) => (await fetch(`${server.gateway}/default/shared/${i % 4 === 0 ? 'bad' : i}`)).status),
    )
    assert.deepEqual(
      answers,
      Array.from({ length: 40 }, (_, i) => (i % 4 === 0 ? 500 : 200)),
    )
  })
})
