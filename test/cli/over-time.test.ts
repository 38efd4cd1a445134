/** What changes under a command while it runs. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'

import { run, temporaryDirectory } from './run.ts'
import { problem, startStandIn, summary, version } from './stand-in.ts'

const deployed = (): Record<string, unknown> => ({
  tenant: 'default',
  function: 'shop',
  unchanged: false,
  ...version('fetch'),
  urls: { path: 'http://g/default/shop/', host: 'http://shop.default.localhost/' },
  timings: { initMs: 1, totalMs: 2 },
})

describe('a server that changes its mind', () => {
  it('uploads code after all that the server let go of after the plan', async () => {
    let uploaded = false
    const forgetful = await startStandIn({
      'POST /v1/tenants/default/functions/shop/plan': () => ({ live: 1, codeKnown: true, changes: [] }),
      'PUT /v1/tenants/default/code': () => {
        uploaded = true
        return { digest: 'b'.repeat(64), files: 1, bytes: 1 }
      },
      'POST /v1/tenants/default/functions/shop/versions': (_, response) =>
        uploaded ? deployed() : problem(response, 400, 'invalid_input', { facts: { field: 'code' } }),
    })
    using directory = temporaryDirectory()
    writeFileSync(join(directory.path, 'index.ts'), '')
    try {
      const { code, stderr } = await run(['deploy', directory.path, '--name', 'shop'], { env: forgetful.env })
      assert.equal(code, 0, stderr)
      assert.ok(uploaded)
    } finally {
      await forgetful.close()
    }
  })

  it('shows a list again and again with --watch, over a server that goes away for a while', async () => {
    let asked = 0
    const flaky = await startStandIn({
      'GET /v1/tenants/default/functions': (_, response) => {
        asked += 1
        if (asked === 2) response.destroy()
        else return { functions: [summary(`hello-${asked}`)], next: null }
      },
    })
    try {
      const { signal, stdout } = await run(['ls', '--watch'], { env: flaky.env, onOutput: (text, kill) => text.includes('hello-3') && kill('SIGINT') })
      assert.equal(signal, 'SIGINT')
      assert.match(stdout, /hello-1 [\s\S]*\n\nthe server at \S+ does not answer\n\n[\s\S]*hello-3 /)
    } finally {
      await flaky.close()
    }
  })
})
