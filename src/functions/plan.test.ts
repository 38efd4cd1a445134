import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'

import { openCodeStore } from './code/store.ts'
import { resolveSettings } from './config.ts'
import { planVersion } from './plan.ts'
import type { VersionConfig } from './types.ts'

const directory = mkdtempSync(join(tmpdir(), 'hostel-plan-'))
const code = openCodeStore(directory)
after(async () => {
  await code.close()
  rmSync(directory, { recursive: true })
})

const digest = 'a'.repeat(64)
const runtimes = [{ name: 'nodejs24', version: '24.21.0', entryFiles: ['index.ts'] }]

describe('a plan', () => {
  const config: VersionConfig = { runtime: 'nodejs24', handler: 'index.ts', ...resolveSettings({ code: digest, secrets: { TOKEN: 'TOKEN' } }) }
  const live = { version: 3, codeDigest: digest, config }

  it('tells what a version does without that the live one has', async () => {
    assert.deepEqual((await planVersion({ code: digest }, { live, code, runtimes })).changes, [{ field: 'secrets', kind: 'removed', from: { TOKEN: 'TOKEN' } }])
  })

  it('tells nothing of runtime and handler while they are to be found in code that is not here', async () => {
    assert.deepEqual((await planVersion({ code: digest, secrets: ['TOKEN'] }, { live, code, runtimes })).changes, [])
    const { changes } = await planVersion({ code: digest, secrets: ['TOKEN'], handler: 'other.ts' }, { live, code, runtimes })
    assert.deepEqual(changes, [{ field: 'handler', kind: 'changed', from: 'index.ts', to: 'other.ts' }])
  })
})
