/** A server's life and death: what it keeps, what it leaves, and who goes on when one of its processes is killed. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { afterEach, describe, it } from 'node:test'

import { callEvent, deploy, eventually } from '../lib/functions.ts'
import { instanceOf, leftoversOf, processesOf, stillThere } from '../lib/leftovers.ts'
import { projectRoot, removeData, startServer, type TestServer } from '../lib/server.ts'

const hello = { 'index.ts': 'export default { fetch: (request: Request): Response => new Response(`hello ${new URL(request.url).pathname}`) }\n' }
const answer = { 'main.py': 'def handler(event, context):\n    return {"got": event}\n' }

async function text(server: TestServer, path: string): Promise<{ status: number; body: string }> {
  const response = await fetch(`${server.gateway}${path}`, { signal: AbortSignal.timeout(20_000) })
  return { status: response.status, body: await response.text() }
}

describe('a server', () => {
  let server: TestServer | undefined

  afterEach(async () => {
    if (!server) return
    await server.stop()
    removeData(server.dataDir)
    server = undefined
  })

  it('stops on SIGTERM within five seconds with code 0, sandboxes busy or not, and leaves nothing behind', async () => {
    server = await startServer()
    const instance = instanceOf(server.child.pid!)
    await deploy(server, 'hello', hello)
    await deploy(server, 'slow', { 'index.mjs': 'export const handler = () => new Promise((resolve) => setTimeout(resolve, 60_000))\n' })
    const hanging = callEvent(server, 'slow', {}).catch(() => 'broken off')
    await eventually(() => assert.ok(processesOf(server!.child.pid!).all.length > 5))
    const { all } = processesOf(server.child.pid!)
    const { code, ms } = await server.stop()
    assert.equal(code, 0, server.output())
    assert.ok(ms < 5_000, `took ${ms} ms`)
    assert.equal(await hanging, 'broken off')
    assert.deepEqual(stillThere(all), [])
    assert.deepEqual(leftoversOf(instance), [])
  })

  it('keeps what was deployed over a restart and over kill -9, and its first call afterwards works', async () => {
    server = await startServer()
    const { dataDir } = server
    await deploy(server, 'hello', hello)
    await deploy(server, 'answer', answer, { runtime: 'python3' })
    await server.stop()
    server = await startServer({ dataDir })
    assert.deepEqual(await text(server, '/default/hello/again'), { status: 200, body: 'hello /again' })
    await deploy(server, 'late', answer, { runtime: 'python3' })
    await server.kill()
    server = await startServer({ dataDir })
    assert.deepEqual(await text(server, '/default/hello/'), { status: 200, body: 'hello /' })
    assert.deepEqual(await callEvent(server, 'late', 7), { got: 7 })
  })

  it('refuses a second server on the same data directory and says why', async () => {
    server = await startServer()
    const second = spawnSync(process.execPath, ['src/main.ts', '--data', server.dataDir, '--gateway', '127.0.0.1:0', '--api', '127.0.0.1:0'], {
      cwd: projectRoot,
      encoding: 'utf8',
      timeout: 20_000,
    })
    assert.notEqual(second.status, 0)
    assert.match(second.stderr + second.stdout, /another server|already/i)
    assert.equal((await text(server, '/default/nothing')).status, 404)
  })

  it('refuses an address in use and says which', async () => {
    server = await startServer()
    const second = spawnSync(
      process.execPath,
      ['src/main.ts', '--data', `${server.dataDir}-second`, '--gateway', `127.0.0.1:${server.gatewayPort}`, '--api', '127.0.0.1:0'],
      { cwd: projectRoot, encoding: 'utf8', timeout: 20_000 },
    )
    removeData(`${server.dataDir}-second`)
    assert.notEqual(second.status, 0)
    assert.match(second.stderr + second.stdout, new RegExp(String(server.gatewayPort)))
  })

  it('answers again by itself after kill -9 of the gateway', async () => {
    server = await startServer()
    await deploy(server, 'hello', hello)
    await deploy(server, 'answer', answer, { runtime: 'python3' })
    process.kill(processesOf(server.child.pid!).titled('hostel gateway'), 'SIGKILL')
    await eventually(async () => assert.equal((await text(server!, '/default/hello/')).body, 'hello /'), 10_000)
    assert.deepEqual(await callEvent(server, 'answer', 1), { got: 1 })
  })

  it('loses no call while control is killed with kill -9 and comes back, and deploys again then', async () => {
    server = await startServer()
    await deploy(server, 'hello', hello)
    process.kill(processesOf(server.child.pid!).titled('hostel control'), 'SIGKILL')
    for (let call = 0; call < 200; call++) assert.equal((await text(server, `/default/hello/${call}`)).body, `hello /${call}`)
    await eventually(() => deploy(server!, 'answer', answer, { runtime: 'python3' }), 10_000)
    assert.deepEqual(await callEvent(server, 'answer', 2), { got: 2 })
  })

  for (const victim of ['the keeper', 'the outermost process']) {
    it(`takes every guest and process along when ${victim} is killed with kill -9, and starts again afterwards`, async () => {
      server = await startServer()
      const { dataDir } = server
      const instances = [instanceOf(server.child.pid!)]
      await deploy(server, 'hello', hello)
      await text(server, '/default/hello/')
      const processes = processesOf(server.child.pid!)
      const exited = new Promise((resolve) => server!.child.once('exit', resolve))
      process.kill(victim === 'the keeper' ? processes.titled('hostel keeper') : server.child.pid!, 'SIGKILL')
      await exited
      await eventually(() => assert.deepEqual(stillThere(processes.all), []), 2_000)
      server = await startServer({ dataDir })
      instances.push(instanceOf(server.child.pid!))
      assert.equal((await text(server, '/default/hello/')).body, 'hello /')
      await server.stop()
      assert.deepEqual(
        instances.flatMap((instance) => leftoversOf(instance)),
        [],
      )
    })
  }
})
