/** Secrets on a whole server: functions get them, changes reach them at once, and the value is found nowhere that it should not be. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'

import { ApiError, createControlClient } from '../../src/client/control.ts'
import { callEvent, deploy, eventually } from '../lib/functions.ts'
import { commandLine, processIds, tree } from '../lib/processes.ts'
import { projectRoot, removeData, startServer } from '../lib/server.ts'
import type { TestServer } from '../lib/server.ts'

const FIRST = 'first-value-8f2c61d09b'
const SECOND = 'second-value-77aa03e1c4'

const TELLS = {
  'index.mjs': `let started = Math.random()
export const handler = async (event) => {
  if (event.hold) await new Promise((resolve) => setTimeout(resolve, event.hold))
  if (event.crash) process.exit(3)
  return { value: process.env.TOKEN ?? null, other: process.env.AS_OTHER ?? null, started }
}`,
}

interface Told {
  value: string | null
  other: string | null
  started: number
}

describe('secrets', () => {
  let server: TestServer
  const client = () => createControlClient(server)
  const call = (event: object = {}) => callEvent<Told>(server, 'teller', event)
  const told: string[] = []

  /** A command of the CLI, with something on its standard input. */
  async function hostel(args: string[], input = ''): Promise<{ code: number; out: string }> {
    const child = spawn(process.execPath, [join(projectRoot, 'src/cli/main.ts'), ...args], { env: { ...process.env, HOSTEL_DATA: server.dataDir } })
    child.stdin.end(input)
    const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit') as Promise<[number]>])
    told.push(out, err)
    return { code, out: out + err }
  }

  before(async () => {
    server = await startServer()
  })
  after(async () => {
    await server.stop()
    removeData(server.dataDir)
  })

  it('must be there before a function that names them is deployed', async () => {
    await assert.rejects(deploy(server, 'teller', TELLS, { secrets: ['TOKEN'] }), (error: ApiError) => {
      assert.equal(error.problem.code, 'invalid_input')
      assert.match(error.message, /secret TOKEN is not set/)
      return true
    })
  })

  it('come from standard input or a file, never from the command line', async () => {
    const refused = await hostel(['secrets', 'set', 'TOKEN', 'on-the-command-line'])
    assert.equal(refused.code, 2)
    assert.doesNotMatch(refused.out, /on-the-command-line/)
    const set = await hostel(['secrets', 'set', 'TOKEN'], `${FIRST}\n`)
    assert.equal(set.code, 0, set.out)
  })

  it('are in the environment of the functions that name them, under the name that they want', async () => {
    await deploy(server, 'teller', TELLS, { secrets: { TOKEN: 'TOKEN', AS_OTHER: 'TOKEN' }, concurrency: 1 })
    assert.deepEqual({ ...(await call()), started: 0 }, { value: FIRST, other: FIRST, started: 0 })
    const [secret] = await client().secrets('default')
    assert.deepEqual([secret!.name, secret!.usedBy, secret!.readable], ['TOKEN', ['teller'], true])
  })

  it('reach the next call when they change; calls in hand end with the old value, and no warm sandbox keeps it', async () => {
    const held = call({ hold: 700 })
    await eventually(async () => assert.ok((await client().sandboxes('default')).some(({ state, function: name }) => name === 'teller' && state === 'busy')))
    const { started } = await call()
    await client().setSecret('default', 'TOKEN', SECOND)
    const next = await call()
    assert.equal(next.value, SECOND)
    assert.notEqual(next.started, started)
    assert.equal((await held).value, FIRST)
    await eventually(async () =>
      assert.equal((await client().sandboxes('default')).filter(({ function: name, state }) => name === 'teller' && state !== 'ending').length, 1),
    )
    assert.equal((await call()).started, next.started)
  })

  it('that functions use are removed by force only, and the function goes on without', async () => {
    const refused = await hostel(['secrets', 'rm', 'TOKEN', '--yes'])
    assert.equal(refused.code, 1, refused.out)
    assert.match(refused.out, /used by teller/)
    assert.equal((await hostel(['secrets', 'rm', 'TOKEN', '--yes', '--force'])).code, 0)
    assert.equal((await call()).value, null)
    await client().setSecret('default', 'TOKEN', SECOND)
    assert.equal((await call()).value, SECOND)
  })

  it('stay as they are when the key changes, and their sandboxes too', async () => {
    const { started } = await call()
    const { code, out } = await hostel(['secrets', 'rotate-key'])
    assert.equal(code, 0, out)
    assert.deepEqual(await call(), { value: SECOND, other: SECOND, started })
    assert.equal(readdirSync(join(server.dataDir, 'control', 'keys')).length, 1)
  })

  it('are there after kill -9 of gateway and control, for sandboxes that outlived them too', async () => {
    const { started } = await call()
    for (const name of ['hostel gateway', 'hostel control']) {
      const pid = tree(server.child.pid!).find((one) => commandLine(one).startsWith(name))
      if (pid !== undefined) process.kill(pid, 'SIGKILL')
      await eventually(async () => assert.equal((await call()).value, SECOND), 15_000)
    }
    await eventually(async () => assert.equal((await client().secrets('default')).length, 1), 15_000)
    assert.equal(typeof started, 'number')
  })

  it('are nowhere in data, output, listings, answers and command lines', async () => {
    await assert.rejects(call({ crash: true }))
    await hostel(['describe', 'teller', '--json'])
    await hostel(['secrets', 'ls', '--json'])
    await hostel(['deploy', 'examples/hello', '--name', 'teller', '--secret', 'TOKEN', '--plan'])
    for (const path of [
      '/v1/tenants/default/functions/teller',
      '/v1/tenants/default/functions',
      '/v1/tenants/default/invocations',
      '/v1/tenants/default/sandboxes',
      '/v1/tenants/default/secrets',
      '/v1/system',
    ])
      told.push(await (await fetch(server.api + path, { headers: { authorization: `Bearer ${server.token}` } })).text())
    for (const body of [
      JSON.stringify({ value: [SECOND] }),
      `{"value":"${SECOND}`,
      JSON.stringify({ value: `${SECOND}\0` }),
      JSON.stringify({ [SECOND]: 1, value: SECOND }),
    ]) {
      const answer = await fetch(`${server.api}/v1/tenants/default/secrets/TOKEN`, {
        method: 'PUT',
        headers: { authorization: `Bearer ${server.token}`, 'content-type': 'application/json' },
        body,
      })
      assert.equal(answer.status, 400)
      // A field's name is no value.
      if (!body.startsWith(`{"${SECOND}`)) told.push(await answer.text())
    }
    // Records arrive in batches.
    await new Promise((resolve) => setTimeout(resolve, 300))
    const texts = [
      server.output(),
      ...told,
      ...processIds()
        .map(commandLine)
        .filter((line) => line.includes('hostel')),
    ]
    const files = readdirSync(server.dataDir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
    assert.ok(files.some(({ name }) => name.endsWith('-wal')))
    for (const value of [FIRST, SECOND]) {
      for (const one of texts) assert.ok(!one.includes(value), `found in ${one.slice(0, 200)}`)
      for (const { parentPath, name } of files) assert.ok(!readFileSync(join(parentPath, name)).includes(value), `found in ${name}`)
    }
  })
})
