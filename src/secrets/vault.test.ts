import assert from 'node:assert/strict'
import { createSecretKey, randomBytes } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, it } from 'node:test'

import type { RoutedFunction, RoutedVersion } from '../functions/types.ts'
import { openStore } from '../store/store.ts'
import type { Store } from '../store/store.ts'
import { openKeyRing } from './keys.ts'
import { seal, unseal } from './seal.ts'
import { openVault } from './vault.ts'
import type { Vault } from './vault.ts'

const events = { onProblem: (message: string) => assert.fail(message), onLost: (error: Error) => assert.fail(error) }

const version = (secrets?: Record<string, string>, env: Record<string, string> = {}): RoutedVersion => ({
  tenant: 'default',
  function: 'hello',
  version: 1,
  codeDigest: '0'.repeat(64),
  contract: 'fetch',
  runtime: 'nodejs24',
  handler: 'index.ts',
  memoryMiB: 128,
  timeoutMs: 1_000,
  concurrency: 1,
  env,
  egress: [],
  services: [],
  ...(secrets && { secrets }),
})
const fn = (one: RoutedVersion): RoutedFunction => ({ tenant: 'default', name: 'hello', aliases: { live: 1 }, versions: [one] })

describe('a sealed value', () => {
  const key = createSecretKey(randomBytes(32))
  const place = { tenant: 'default', name: 'A', keyId: 'k1' }

  it('opens where it belongs, with its key, and nowhere else', () => {
    const sealed = seal('köder\n', key, place)
    assert.equal(unseal(sealed, key, place), 'köder\n')
    for (const elsewhere of [
      { ...place, tenant: 'other' },
      { ...place, name: 'B' },
      { ...place, keyId: 'k2' },
    ])
      assert.throws(() => unseal(sealed, key, elsewhere))
    assert.throws(() => unseal(sealed, createSecretKey(randomBytes(32)), place))
    for (const at of [0, sealed.box.length - 1]) {
      const box = Buffer.from(sealed.box)
      box[at]! ^= 1
      assert.throws(() => unseal({ ...sealed, box }, key, place))
    }
  })

  it('looks different every time', () => {
    assert.notDeepEqual(seal('same', key, place).box, seal('same', key, place).box)
  })
})

describe('the vault', () => {
  let directory: string
  let store: Store
  const keysDir = (): string => join(directory, 'keys')
  const open = (): Promise<Vault> => openVault(store.secrets, openKeyRing(keysDir()))

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'hostel-vault-'))
    store = await openStore(directory, events)
    const database = new DatabaseSync(join(directory, 'hostel.db'))
    database.exec("INSERT INTO tenants (name, created_at_ms) VALUES ('other', 0)")
    database.close()
  })
  afterEach(async () => {
    await store.close()
    rmSync(directory, { recursive: true })
  })

  it('makes its key at the first secret, for its owner alone, and opens everything after a restart', async () => {
    const first = await open()
    assert.deepEqual(readdirSync(keysDir()), [])
    await first.set('default', 'A', 'one')
    await first.set('default', 'B', 'two')
    const [file] = readdirSync(keysDir())
    assert.equal(statSync(join(keysDir(), file!)).mode & 0o777, 0o600)
    assert.equal(statSync(keysDir()).mode & 0o777, 0o700)
    const again = await open()
    assert.deepEqual(again.fillVersion(version({ X: 'A', B: 'B' }, { PLAIN: 'yes' })).env, { PLAIN: 'yes', X: 'one', B: 'two' })
  })

  it('gives the gateway values and a revision in place of names, and another revision for another value, even the same text', async () => {
    const vault = await open()
    await vault.set('default', 'A', 'one')
    const [before] = vault.filled([fn(version({ A: 'A' }))])
    assert.equal(before!.versions[0]!.secrets, undefined)
    const revisions = new Set([before!.versions[0]!.secretsRevision])
    await vault.set('default', 'A', 'two')
    revisions.add(vault.filled([fn(version({ A: 'A' }))])[0]!.versions[0]!.secretsRevision)
    await vault.remove('default', 'A')
    revisions.add(vault.filled([fn(version({ A: 'A' }))])[0]!.versions[0]!.secretsRevision)
    await vault.set('default', 'A', 'two')
    revisions.add(vault.filled([fn(version({ A: 'A' }))])[0]!.versions[0]!.secretsRevision)
    assert.equal(revisions.size, 4)
    const plain = fn(version())
    assert.equal(vault.filled([plain])[0], plain)
  })

  it('refuses to start a version whose secret is not set, or that would get too much, naming it', async () => {
    const vault = await open()
    assert.throws(() => vault.fillVersion(version({ A: 'A' })), { code: 'invalid_input', message: /secret A is not set; set it with `hostel secrets set A`/ })
    await vault.set('other', 'A', 'of another tenant')
    assert.throws(() => vault.fillVersion(version({ A: 'A' })), { code: 'invalid_input' })
    await vault.set('default', 'A', 'x'.repeat(20_000))
    assert.throws(() => vault.fillVersion(version({ A: 'A', B: 'A' })), { code: 'invalid_input', message: /fit into/ })
  })

  it('has nothing for a tenant that takes the name of one that was removed', async () => {
    const vault = await open()
    await vault.set('other', 'A', 'one')
    await store.tenants.remove('other')
    vault.forgetTenant('other')
    assert.equal(vault.has('other', 'A'), false)
    assert.deepEqual(await store.secrets.all(), [])
  })

  it('changes its key in one step, and the old one is gone', async () => {
    const vault = await open()
    await vault.set('default', 'A', 'one')
    await vault.set('other', 'B', 'two')
    const [old] = readdirSync(keysDir())
    const { secretsRevision } = vault.fillVersion(version({ A: 'A' }))
    assert.equal(await vault.rotateKey(), 2)
    assert.equal(readdirSync(keysDir()).length, 1)
    assert.ok(!existsSync(join(keysDir(), old!)))
    for (const one of [vault, await open()]) {
      assert.equal(one.fillVersion(version({ A: 'A' })).env['A'], 'one')
      assert.equal(one.fillVersion(version({ A: 'A' })).secretsRevision, secretsRevision)
    }
  })

  it('opens everything after a change of keys that broke off at any step', async () => {
    const ring = openKeyRing(keysDir())
    const vault = await openVault(store.secrets, ring)
    await vault.set('default', 'A', 'one')
    const readable = async (): Promise<void> => {
      assert.equal((await open()).fillVersion(version({ A: 'A' })).env['A'], 'one')
      assert.equal(readdirSync(keysDir()).length, 1, 'no key is left over')
    }
    // After the new key's file.
    ring.create()
    await readable()
    // In the middle of the transaction.
    const failing = { ...store.secrets, resealAll: () => Promise.reject(new Error('broken off')) }
    await assert.rejects((await openVault(failing, openKeyRing(keysDir()))).rotateKey())
    await readable()
    // Before the old key's removal.
    const lazy = { ...openKeyRing(keysDir()), keepOnly() {} }
    await (await openVault(store.secrets, lazy)).rotateKey()
    assert.equal(readdirSync(keysDir()).length, 2)
    await readable()
  })

  it('goes on without a key that is lost, tells which secrets that are, and mends them when they are set anew', async () => {
    await (await open()).set('default', 'A', 'one')
    rmSync(keysDir(), { recursive: true })
    const vault = await open()
    assert.deepEqual(vault.unreadable(), ['default/A'])
    assert.throws(() => vault.fillVersion(version({ A: 'A' })), { code: 'invalid_input', message: /its key is lost/ })
    await vault.set('default', 'B', 'two')
    await assert.rejects(vault.rotateKey(), { code: 'conflict' })
    await vault.set('default', 'A', 'three')
    assert.equal(await vault.rotateKey(), 2)
    assert.equal(vault.fillVersion(version({ A: 'A' })).env['A'], 'three')
  })

  it('never writes a value to disk', async () => {
    const vault = await open()
    const value = 'needle-in-the-haystack-0815'
    await vault.set('default', 'A', value)
    await vault.rotateKey()
    await vault.remove('default', 'A')
    for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true }))
      if (entry.isFile()) assert.ok(!readFileSync(join(entry.parentPath, entry.name)).includes(value), entry.name)
  })
})
