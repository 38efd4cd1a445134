/** A backup of a server at work, restored into another directory: what starts there answers as before. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { gunzipSync } from 'node:zlib'

import { createControlClient } from '../../src/client/control.ts'
import { callEvent, deploy, eventually, invocationRecord, logsOf } from '../lib/functions.ts'
import { projectRoot, removeData, startServer } from '../lib/server.ts'
import type { TestServer } from '../lib/server.ts'

const SECRET = 'the-secret-9c41d7e2'

const SAYS = (text: string) => ({
  'index.mjs': `export const handler = async () => { console.log('called'); return { says: ${JSON.stringify(text)}, secret: process.env.TOKEN ?? null } }`,
  'data/deep/er.txt': 'x'.repeat(5_000),
})

describe('a backup', () => {
  const directory = mkdtempSync(join(tmpdir(), 'hostel-backup-'))
  const file = join(directory, 'one.backup')
  let server: TestServer
  let invocation: string

  async function hostel(args: string[], dataDir = server.dataDir): Promise<{ code: number; out: string }> {
    return new Promise((resolve) => {
      execFile(process.execPath, [join(projectRoot, 'src/cli/main.ts'), ...args], { env: { ...process.env, HOSTEL_DATA: dataDir } }, (error, out, err) =>
        resolve({ code: error ? Number(error.code) : 0, out: out + err }),
      )
    })
  }

  before(async () => {
    server = await startServer()
    await createControlClient(server).setSecret('default', 'TOKEN', SECRET)
    for (let index = 0; index < 5; index++) await deploy(server, `fn-${index}`, SAYS(`version 1 of ${index}`), { secrets: ['TOKEN'] })
    await deploy(server, 'fn-0', SAYS('version 2 of 0'), { secrets: ['TOKEN'] })
    const answer = await fetch(`${server.gateway}/default/fn-0`, { method: 'POST', body: '{}' })
    await answer.text()
    invocation = answer.headers.get('hostel-invocation')!
    await invocationRecord(server, invocation)
  })
  after(async () => {
    await server.stop()
    removeData(server.dataDir)
    rmSync(directory, { recursive: true, force: true })
  })

  it('is made under load, while functions are called and deployed, and no call fails', async () => {
    let done = false
    let calls = 0
    const load = Array.from({ length: 4 }, async (_, index) => {
      while (!done) {
        await callEvent(server, `fn-${index}`, {})
        calls += 1
      }
    })
    const deploys = (async () => {
      for (let index = 0; !done; index++) await deploy(server, 'moving', SAYS(`state ${index}`))
    })()
    const { code, out } = await hostel(['backup', file])
    done = true
    await Promise.all([...load, deploys])
    assert.equal(code, 0, out)
    assert.match(out, /whole and checked/)
    assert.ok(calls > 20)
    assert.equal(statSync(file).mode & 0o777, 0o600)
    assert.deepEqual(readdirSync(directory), ['one.backup'])
    assert.deepEqual(readdirSync(join(server.dataDir, 'control', 'tmp')), [])
  })

  it('holds no value of a secret in clear, and is not written over', async () => {
    assert.ok(!gunzipSync(readFileSync(file)).includes(SECRET))
    const again = await hostel(['backup', file])
    assert.equal(again.code, 2)
    assert.match(again.out, /is there already/)
  })

  it('starts in another directory: functions, versions, secrets, records and logs are as before', async () => {
    const dataDir = join(directory, 'restored')
    const restored = await hostel(['restore', file, '--data', dataDir])
    assert.equal(restored.code, 0, restored.out)
    const second = await startServer({ dataDir })
    try {
      const client = createControlClient(second)
      assert.ok((await client.functions('default')).length >= 5)
      for (let index = 0; index < 5; index++)
        assert.deepEqual(await callEvent(second, `fn-${index}`, {}), { says: `version ${index === 0 ? 2 : 1} of ${index}`, secret: SECRET })
      assert.deepEqual(await callEvent(second, 'fn-0:1', {}), { says: 'version 1 of 0', secret: SECRET })
      assert.equal((await invocationRecord(second, invocation)).function, 'fn-0')
      await logsOf(second, 'fn-0', (lines) => lines.some((line) => line.invocation === invocation && line.text === 'called'))
      // It goes on as a server of its own.
      await client.setSecret('default', 'TOKEN', 'another')
      assert.equal((await callEvent<{ secret: string }>(second, 'fn-1', {})).secret, 'another')
      await client.rotateSecretsKey()
      await deploy(second, 'fn-1', SAYS('after the restore'))
      assert.equal((await callEvent<{ says: string }>(second, 'fn-1', {})).says, 'after the restore')
    } finally {
      await second.stop()
    }
  })

  it('is refused where something is already, and leaves nothing when it is damaged or cut off', async () => {
    const target = join(directory, 'target')
    mkdirSync(target)
    writeFileSync(join(target, 'mine'), '')
    const refused = await hostel(['restore', file, '--data', target])
    assert.equal(refused.code, 2)
    assert.match(refused.out, /is not empty/)
    rmSync(target, { recursive: true })

    const bytes = readFileSync(file)
    const damaged = Buffer.from(bytes)
    damaged[Math.floor(bytes.length / 2)]! ^= 0x10
    for (const content of [damaged, bytes.subarray(0, bytes.length - 200), Buffer.from('no backup')]) {
      writeFileSync(join(directory, 'bad.backup'), content)
      const { code, out } = await hostel(['restore', join(directory, 'bad.backup'), '--data', target])
      assert.equal(code, 2, out)
      assert.match(out, /can't be used/)
      assert.deepEqual(readdirSync(target), [])
    }
  })

  it('opens its secrets with the passphrase only, if it has one', async () => {
    const sealed = join(directory, 'sealed.backup')
    writeFileSync(join(directory, 'right'), 'correct horse\nsecond line')
    writeFileSync(join(directory, 'wrong'), 'battery staple\n')
    const made = await hostel(['backup', sealed, '--no-logs', '--passphrase-file', join(directory, 'right')])
    assert.equal(made.code, 0, made.out)
    const [keyFile] = readdirSync(join(server.dataDir, 'control', 'keys'))
    const key = readFileSync(join(server.dataDir, 'control', 'keys', keyFile!), 'utf8').trim()
    assert.ok(gunzipSync(readFileSync(file)).includes(key))
    assert.ok(!gunzipSync(readFileSync(sealed)).includes(key))
    const dataDir = join(directory, 'from-sealed')
    for (const args of [[], ['--passphrase-file', join(directory, 'wrong')]]) {
      const { code, out } = await hostel(['restore', sealed, '--data', dataDir, ...args])
      assert.equal(code, 2, out)
      assert.match(out, /passphrase/)
    }
    const { code, out } = await hostel(['restore', sealed, '--data', dataDir, '--passphrase-file', join(directory, 'right')])
    assert.equal(code, 0, out)
    assert.equal(readFileSync(join(dataDir, 'control', 'keys', keyFile!), 'utf8').trim(), key)
    assert.deepEqual(readdirSync(join(dataDir, 'control', 'logs')), [])
  })

  it('breaks off without a trace when its reader goes away', async () => {
    const abort = new AbortController()
    const stream = await createControlClient(server).backup({ logs: true }, abort.signal)
    stream.on('error', () => {})
    abort.abort()
    await eventually(async () => {
      assert.deepEqual(readdirSync(join(server.dataDir, 'control', 'tmp')), [])
      const next = await createControlClient(server).backup({ logs: false })
      for await (const _ of next);
    })
  })
})
