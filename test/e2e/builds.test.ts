/** Dependencies, installed from the registries that this machine reaches in the ordinary way (as npm and pip are set up on it). */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { after, before, describe, it } from 'node:test'

import { ApiError, createControlClient, type Deployed, type NewVersion } from '../../src/client/control.ts'
import { archiveOf, callEvent, eventually, type Files } from '../lib/functions.ts'
import { removeData, startServer, type TestServer } from '../lib/server.ts'

/** So little that builders get 512 MiB, which is soon filled. */
const SERVER_MEMORY = '1500MiB'

describe('a build', { timeout: 240_000 }, () => {
  let server: TestServer

  before(async () => {
    // npm would leave a cache of its compiled modules in the temporary directory.
    const env = { ...process.env, NODE_DISABLE_COMPILE_CACHE: '1' }
    const npmRegistry = execFileSync('npm', ['config', 'get', 'registry'], { encoding: 'utf8', timeout: 30_000, env }).trim()
    const pipIndex = process.env['PIP_INDEX_URL']
    server = await startServer({ args: ['--memory', SERVER_MEMORY, '--npm-registry', npmRegistry, ...(pipIndex ? ['--pip-index', pipIndex] : [])] })
  })
  after(async () => {
    await server.stop()
    removeData(server.dataDir)
  })

  interface Built {
    deployed: Deployed
    log: string
    /** Lines that had come before the deploy was over. */
    early: number
  }

  async function build(name: string, files: Files, options: { tenant?: string; wanted?: Partial<NewVersion> } = {}): Promise<Built> {
    const { tenant = 'default', wanted } = options
    const client = createControlClient(server)
    const id = randomUUID()
    const { digest } = await client.uploadCode(tenant, await archiveOf(files))
    const lines: string[] = []
    const over = new AbortController()
    const following = (async () => {
      for await (const { text } of client.buildLog(tenant, id, over.signal)) lines.push(text)
    })().catch(() => {})
    try {
      const deployed = await client.createVersion(tenant, name, { code: digest, ...wanted }, { build: id })
      const early = lines.length
      await Promise.race([following, new Promise((resolve) => setTimeout(resolve, 300))])
      return { deployed, log: lines.join('\n'), early }
    } finally {
      over.abort()
    }
  }

  const failed = async (building: Promise<Built>): Promise<string> => {
    try {
      await building
    } catch (error) {
      assert.ok(error instanceof ApiError, String(error))
      assert.equal(error.problem.code, 'build_failed', error.problem.detail)
      return error.problem.detail!
    }
    return assert.fail('the build did not fail')
  }

  const handler = `const isNumber = require('is-number')\nexports.handler = async (event) => isNumber(event)\n`
  const manifest = JSON.stringify({ dependencies: { 'is-number': '7.0.0' }, scripts: { prepare: 'exit 1' } })
  const lock = JSON.stringify({
    lockfileVersion: 3,
    packages: {
      '': { dependencies: { 'is-number': '7.0.0' } },
      'node_modules/is-number': {
        version: '7.0.0',
        integrity: 'sha512-41Cifkg6e8TylSpdtTpeLVMqvSBEVzTttHvERD741+pnZ8ANv0004MRL43QKPDlK9cGvNp6NZWZUBlbGXYxxng==',
      },
    },
  })
  const locked = { 'package.json': manifest, 'package-lock.json': lock }

  it('installs what a lockfile says, in a sandbox of its own, and tells of it while it goes on', async () => {
    const { log, early } = await build('locked', { ...locked, 'index.js': handler })
    assert.match(log, /npm ci in a sandbox of its own/)
    assert.match(log, /added 1 package/)
    assert.match(log, /installed \d+ files/)
    assert.ok(early >= 3, `${early} lines came before the end`)
    assert.equal(await callEvent(server, 'locked', 5), true)
    assert.equal(await callEvent(server, 'locked', 'five'), false)
  })

  it('is not made again for the same dependencies of the same tenant, and is for those of another', async () => {
    await build('locked', { ...locked, 'index.js': handler })
    const changed = await build('locked', { ...locked, 'index.js': `${handler}// changed` })
    assert.match(changed.log, /taken from the cache/)
    assert.equal(changed.deployed.unchanged, false)
    assert.ok(changed.deployed.timings.totalMs < 2_000, `${changed.deployed.timings.totalMs} ms`)
    assert.equal(await callEvent(server, 'locked', 7), true)
    await createControlClient(server).createTenant('other', {})
    const others = await build('locked', { ...locked, 'index.js': handler }, { tenant: 'other' })
    assert.match(others.log, /in a sandbox of its own/)
  })

  it('chooses versions itself without a lockfile, and says when there are none', async () => {
    const files = {
      'index.js': handler,
      'package.json': JSON.stringify({ dependencies: { 'is-number': '^7' } }),
      '.npmrc': 'registry=http://127.0.0.1:1/\nlegacy-peer-deps=true\n',
    }
    const { log } = await build('unlocked', files)
    assert.match(log, /npm install in a sandbox/)
    assert.match(log, /\.npmrc: left out registry/)
    assert.equal(await callEvent(server, 'unlocked', 1), true)
    const message = await failed(build('unlocked', { ...files, 'package.json': JSON.stringify({ dependencies: { 'is-number': '999' } }) }))
    assert.match(message, /ETARGET/)
    assert.match(message, /the registry does not have it/)
    assert.equal(await callEvent(server, 'unlocked', 2), true, 'what was live stays so')
  })

  it('takes what is there already as it is', async () => {
    const files = { 'index.js': handler, 'package.json': manifest, 'node_modules/is-number/index.js': 'module.exports = () => "my own"' }
    const { log } = await build('brought', files)
    assert.equal(log, '')
    assert.equal(await callEvent(server, 'brought', 1), 'my own')
  })

  it('installs from requirements.txt and pyproject.toml, with bytecode', async () => {
    const main = 'import idna\ndef handler(event, context):\n    return [idna.encode(event).decode(), idna.__cached__]\n'
    const { log } = await build('python', { 'main.py': main, 'requirements.txt': 'idna==3.7  # pinned\n' })
    assert.match(log, /Successfully installed idna-3\.7/)
    const [encoded, cached] = await callEvent<string[]>(server, 'python', 'bücher.example')
    assert.equal(encoded, 'xn--bcher-kva.example')
    assert.match(cached!, /^\/code\/\.site-packages\/idna\/__pycache__\//)
    await build('python', { 'main.py': main, 'pyproject.toml': '[project]\nname = "x"\nversion = "1"\ndependencies = ["idna==3.10"]\n' })
    assert.equal((await callEvent<string[]>(server, 'python', 'a'))[0], 'a')
    assert.match(await failed(build('python', { 'main.py': main, 'requirements.txt': 'idna==0.0.999\n' })), /No matching distribution/)
  })

  const withLocal = (script: string, main = 'exports.handler = async () => require("local")'): Files => ({
    'index.js': main,
    'package.json': JSON.stringify({ dependencies: { local: 'file:./local' } }),
    'local/package.json': JSON.stringify({ name: 'local', version: '1.0.0', main: 'found.json', scripts: { install: 'node install.js' } }),
    'local/found.json': '{}',
    'local/install.js': script,
  })

  it('runs install scripts where they see nothing of the host and reach nothing but the registry', async () => {
    const { host } = new URL(server.gateway)
    const script = `
      const fs = require('node:fs')
      const attempt = (work) => { try { return String(work()).slice(0, 200) } catch (error) { return error.code } }
      const through = (target) => new Promise((resolve) => {
        const request = require('node:http').request({ host: '127.0.0.1', port: 3128, method: 'CONNECT', path: target })
        request.on('connect', (answer) => resolve(answer.statusCode)).on('error', (error) => resolve(error.code)).end()
      })
      const directly = (port, host) => new Promise((resolve) => {
        require('node:net').connect(port, host).on('connect', () => resolve('connected')).on('error', (error) => resolve(error.code))
      })
      ;(async () => {
        const found = {
          shadow: attempt(() => fs.readFileSync('/etc/shadow')),
          database: attempt(() => fs.readFileSync(${JSON.stringify(server.dataDir)} + '/control/hostel.db')),
          code: attempt(() => fs.writeFileSync('/code/x', '')),
          root: attempt(() => fs.writeFileSync('/usr/x', '')),
          processes: fs.readdirSync('/proc').filter((name) => /^\\d+$/.test(name)).length,
          gateway: await through(${JSON.stringify(host)}),
          elsewhere: await through('example.com:443'),
          metadata: await through('169.254.169.254:80'),
          direct: await directly(443, '1.1.1.1'),
          uid: process.getuid(),
        }
        fs.writeFileSync('found.json', JSON.stringify(found))
      })()`
    const { log } = await build('curious', withLocal(script))
    const found = await callEvent<Record<string, string | number>>(server, 'curious', {})
    const { processes, uid, ...refused } = found
    assert.deepEqual(refused, {
      shadow: 'ENOENT',
      database: 'ENOENT',
      code: 'EROFS',
      root: 'EROFS',
      gateway: 403,
      elsewhere: 403,
      metadata: 403,
      direct: 'ENETUNREACH',
    })
    assert.ok(Number(processes) < 15 && uid === 1000)
    assert.match(log, /egress: example\.com:443 refused/)
  })

  it('fails with the reason when a script fails, fills its memory or kills what runs it', async () => {
    const noNetwork = await failed(
      build(
        'failing',
        withLocal(`
      require('node:http').request({ host: '127.0.0.1', port: 3128, method: 'CONNECT', path: 'example.com:443' })
        .on('connect', (answer) => { console.log('download failed'); process.exit(answer.statusCode === 200 ? 0 : 1) }).end()`),
      ),
    )
    assert.match(noNetwork, /reach the server's package registry alone/)
    const full = await failed(build('failing', withLocal('const all = []; for (;;) all.push(Buffer.alloc(16 << 20, 1))')))
    assert.match(full, /more memory than a build may|SIGKILL|ended with/)
    const killed = await failed(build('failing', withLocal('process.kill(-1, "SIGKILL")')))
    assert.match(killed, /the build sandbox ended|ended with/)
  })

  it('leaves nothing that can be called, and no sandbox that lives on', async () => {
    const answer = await fetch(`${server.gateway}/hostel.system/build/`)
    assert.ok([400, 404].includes(answer.status), String(answer.status))
    const system = await fetch(`${server.api}/v1/tenants/hostel.system/functions`, { headers: { authorization: `Bearer ${server.token}` } })
    assert.ok([400, 404].includes(system.status), String(system.status))
    const client = createControlClient(server)
    await eventually(async () => {
      const metrics = await (await fetch(`${server.api}/metrics`, { headers: { authorization: `Bearer ${server.token}` } })).text()
      const counted = [...metrics.matchAll(/^hostel_sandboxes\{[^}]*state="(idle|frozen|busy)"[^}]*\} (\d+)/gm)].reduce(
        (sum, [, , count]) => sum + Number(count),
        0,
      )
      const known = (await Promise.all(['default', 'other'].map((tenant) => client.sandboxes(tenant)))).flat().filter(({ tenant }) => tenant !== null)
      assert.ok(known.length > 0)
      assert.equal(counted, known.length, 'all sandboxes at work or at rest are functions of tenants')
    })
  })
})
