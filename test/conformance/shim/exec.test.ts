import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

import { InitFailed, ShimHost } from './host.ts'
import { runtimes } from './runtimes.ts'
import { started } from './suite.ts'

const runtime = runtimes.find(({ name }) => name === 'exec')!

test('exec: a program that cannot run fails the start with the reason', async () => {
  const reasons = {
    'no_interpreter.sh': /#!\/bin\/sh/,
    'other_interpreter.sh': /\/no\/such\/shell, which is not there/,
    'windows.sh': /Unix line breaks/,
    'not_executable.sh': /chmod \+x not_executable\.sh/,
    'actions.sh:main': /by its file alone/,
  }
  for (const [handler, reason] of Object.entries(reasons)) {
    await using host = new ShimHost(runtime)
    await host.hello()
    await assert.rejects(host.specialise('actions', { handler }), (error) => error instanceof InitFailed && reason.test(error.message), handler)
  }
})

test('exec: a request comes as the variables of CGI, without the one that sets a proxy', async () => {
  await using host = await started(runtime)
  const headers = [
    'host',
    'a.example:81',
    'content-type',
    'text/x',
    'cookie',
    'a=1',
    'cookie',
    'b=2',
    'x-a',
    'é',
    'proxy',
    'http://evil',
    'x-forwarded-prefix',
    '/p',
  ]
  const { body } = await host
    .request({ method: 'PUT', url: 'http://a.example:81/variables%3F?q=%20', headers, body: '' })
    .answer()
    .catch(() => ({ body: null }))
  assert.equal(body, null, 'the path is decoded')
  const answer = await host.request({ method: 'PUT', url: 'http://a.example:81/variables?q=%20', headers, body: '' }).answer()
  const variables = Object.fromEntries(
    answer.body
      .toString('latin1')
      .split('\n')
      .map((line) => [line.split('=')[0], line.slice(line.indexOf('=') + 1)]),
  )
  const expected = {
    GATEWAY_INTERFACE: 'CGI/1.1',
    REQUEST_METHOD: 'PUT',
    REQUEST_URI: '/p/variables?q=%20',
    SCRIPT_NAME: '/p',
    PATH_INFO: '/variables',
    QUERY_STRING: 'q=%20',
    SERVER_NAME: 'a.example',
    SERVER_PORT: '81',
    CONTENT_TYPE: 'text/x',
    HTTP_COOKIE: 'a=1; b=2',
    HTTP_X_A: 'é',
    HTTP_PROXY: undefined,
    HOSTEL_INVOCATION_ID: 'invocation-2',
    HOSTEL_FUNCTION: 'orders',
  }
  for (const [name, value] of Object.entries(expected)) assert.equal(variables[name], value, name)
  assert.equal((await host.request({ url: '/a%00b' }).answer()).status, 400)
})

test('exec: an output that does not begin as CGI asks is all body', async () => {
  await using host = await started(runtime)
  const call = host.request({ url: '/colon' })
  assert.equal((await call.answer()).body.toString(), 'Hello: world')
  assert.equal(call.header('content-type'), 'text/plain; charset=utf-8')
  const redirect = host.request({ url: '/redirect' })
  assert.equal((await redirect.answer()).status, 302)
  assert.equal(redirect.header('location'), '/there')
})

test('exec: an exit code or a signal is an error with an explanation, in the log too', async () => {
  await using host = await started(runtime)
  const reasons = {
    '/exit?code=3': /code 3;/,
    '/exit?code=127': /127, .*not found/,
    '/exit?code=139': /139, .*SIGSEGV/,
    '/signal?name=KILL': /ended by SIGKILL/,
  }
  for (const [url, reason] of Object.entries(reasons)) {
    const call = host.request({ url })
    assert.match((await call.failure()).message, reason)
    const last = host.linesOf(call).at(-1)!
    assert.match(last, /^error /)
    assert.match(last, reason)
  }
})

test('exec: what a program leaves behind ends with its request', async () => {
  await using host = await started(runtime)
  const before = sleepers()
  assert.equal((await host.request({ url: '/children' }).answer()).body.toString(), 'left')
  // The one that left its group for a session of its own stays until the sandbox ends.
  assert.ok(sleepers().length <= before.length + 1)
  for (const pid of sleepers().filter((one) => !before.includes(one))) process.kill(pid, 'SIGKILL')
})

test('exec: a program that ignores its cancellation is killed', async () => {
  await using host = await started(runtime)
  const call = host.request({ url: '/sleep?ms=9000' })
  await host.request().answer()
  call.cancel('deadline')
  const start = performance.now()
  await call.done()
  assert.ok(performance.now() - start < 2_000)
})

test('exec: a static binary runs', { skip: spawnSync('cc', ['--version']).status !== 0 && 'there is no compiler' }, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'hostel-exec-'))
  try {
    const source = '#include <stdio.h>\n#include <stdlib.h>\nint main(void) { printf("Status: 201\\n\\n%s", getenv("PATH_INFO")); return 0; }\n'
    writeFileSync(join(dir, 'main.c'), source)
    execFileSync('cc', ['-static', '-o', join(dir, 'main'), join(dir, 'main.c')])
    await using host = await started({ ...runtime, spawn: () => runtime.spawn(dir) }, 'actions', { handler: 'main' })
    const { status, body } = await host.request({ url: '/from/c' }).answer()
    assert.equal(`${status} ${body.toString()}`, '201 /from/c')
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
})

function sleepers(): number[] {
  const { stdout } = spawnSync('pgrep', ['-f', '^sleep 300$'], { encoding: 'utf8' })
  return stdout.split('\n').filter(Boolean).map(Number)
}
