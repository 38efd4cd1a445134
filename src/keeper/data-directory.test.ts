import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, readlinkSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'

import { HostelError } from '../errors.ts'
import { CONTROL_UID, GATEWAY_UID } from './confine.ts'
import { type DataDirectory, openDataDirectory } from './data-directory.ts'

describe('the data directory', () => {
  let home: string
  let data: DataDirectory
  const open = (): DataDirectory => openDataDirectory(join(home, 'data'), join(home, 'latest'))

  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'hostel-data-'))
    data = open()
  })
  afterEach(() => {
    data[Symbol.dispose]()
    rmSync(home, { recursive: true })
  })

  it('has a part for each process, closed to the others', () => {
    const owners = { keeper: 0, control: CONTROL_UID, gateway: GATEWAY_UID }
    for (const [part, uid] of Object.entries(owners)) {
      const stats = statSync(join(data.path, part))
      assert.deepEqual({ uid: stats.uid, mode: stats.mode & 0o777 }, { uid, mode: 0o700 }, part)
    }
  })

  it('is one server’s at a time, and the next one’s when that is gone', () => {
    assert.throws(open, (error) => error instanceof HostelError && error.code === 'conflict' && error.message.includes(data.path))
    data[Symbol.dispose]()
    data = open()
  })

  it('keeps its token, in a file for root alone', () => {
    const token = data.adminToken
    data.publish({ api: 'http://127.0.0.1:1', gateway: 'http://127.0.0.1:2' })
    const file = join(data.path, 'cli.json')
    assert.equal(statSync(file).mode & 0o777, 0o600)
    assert.deepEqual(JSON.parse(readFileSync(file, 'utf8')), { api: 'http://127.0.0.1:1', gateway: 'http://127.0.0.1:2', token })
    data[Symbol.dispose]()
    data = open()
    assert.equal(data.adminToken, token)
  })

  it('says so when the file of the token is damaged, instead of making another token', () => {
    data[Symbol.dispose]()
    writeFileSync(join(data.path, 'cli.json'), '{')
    assert.throws(open, (error) => error instanceof HostelError && error.message.includes('cli.json'))
    rmSync(join(data.path, 'cli.json'))
    data = open()
  })

  it('takes back the link to itself at the end, but not a later server’s', () => {
    const link = join(home, 'latest')
    data.publish({ api: 'http://a', gateway: 'http://b' })
    assert.equal(readlinkSync(link), join(data.path, 'cli.json'))
    data[Symbol.dispose]()
    assert.equal(existsSync(link), false)
    data = open()
    symlinkSync('/elsewhere', link)
    data[Symbol.dispose]()
    assert.equal(readlinkSync(link), '/elsewhere')
    data = open()
  })

  it('is new until somebody was shown around', () => {
    assert.equal(data.isNew(), true)
    data.markShown()
    assert.equal(data.isNew(), false)
  })
})
