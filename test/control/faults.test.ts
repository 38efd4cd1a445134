/** What happens when the disk under the data directory is full, fails, or gives back what was never written. */
import assert from 'node:assert/strict'
import { closeSync, openSync, readdirSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

import { createControlClient } from '../../src/client/control.ts'
import { callEvent, deploy as deployTo, eventually, invocationRecord } from '../lib/functions.ts'
import { failingDisk, smallDisk } from '../lib/disks.ts'
import { startServer } from '../lib/server.ts'
import { archiveOf, deploy, lineOf, recordOf, startControl, temporaryDirectory } from './harness.ts'
import type { TestControl } from './harness.ts'

const LARGE = { 'index.ts': 'export default {}', 'large.txt': 'x'.repeat(200_000) }

async function problem(
  control: TestControl,
  method: string,
  path: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<{ status: number; code: string; detail?: string }> {
  const response = await control.request(method, path, { body, headers })
  return { status: response.status, ...((await response.json()) as { code: string; detail?: string }) }
}

const upload = async (control: TestControl) =>
  problem(control, 'PUT', '/v1/tenants/default/code', await archiveOf(LARGE), { 'content-type': 'application/gzip' })

const records = (count: number) => {
  const all = Array.from({ length: count }, () => recordOf())
  return { records: all, logs: all.map(({ id }) => lineOf({ invocation: id, text: 'y'.repeat(1_000) })) }
}

test('on a full disk what was acknowledged stays, reading goes on, changes are refused with a code of their own, and all works again once there is room', async () => {
  using disk = smallDisk(16)
  const control = await startControl(disk.path)
  const gateway = await control.connectGateway()
  await deploy(control, 'hello', { 'index.ts': 'export default {}' })
  const kept = records(50)
  await gateway.link.call('batch', kept, { timeoutMs: 5_000 })

  disk.fill()
  assert.deepEqual(pick(await upload(control)), { status: 507, code: 'storage_full' })
  assert.deepEqual(pick(await problem(control, 'PUT', '/v1/tenants/default/secrets/TOKEN', { value: 'x'.repeat(20_000) })), {
    status: 507,
    code: 'storage_full',
  })
  const late = records(500)
  for (let attempt = 0; attempt < 3; attempt++) await assert.rejects(gateway.link.call('batch', late, { timeoutMs: 5_000 }), /full/)
  // Reading writes nothing, so that it works.
  assert.equal((await control.json<{ functions: unknown[] }>('GET', '/v1/tenants/default/functions')).functions.length, 1)
  assert.equal((await control.json<{ id: string }>('GET', `/v1/tenants/default/invocations/${kept.records[0]!.id}`)).id, kept.records[0]!.id)
  assert.equal(readdirSync(join(disk.path, 'logs')).filter((name) => name.endsWith('.db')).length, 1)
  assert.deepEqual(readdirSync(join(disk.path, 'tmp')), [])

  disk.makeRoom()
  await gateway.link.call('batch', late, { timeoutMs: 5_000 })
  await deploy(control, 'large', LARGE)
  await control.json('PUT', '/v1/tenants/default/secrets/TOKEN', { value: 'short' })
  await control.kill()

  const second = await startControl(disk.path)
  try {
    for (const { id } of [...kept.records.slice(0, 3), ...late.records.slice(0, 3)])
      assert.equal((await second.json<{ logLines: number }>('GET', `/v1/tenants/default/invocations/${id}`)).logLines, 1)
    assert.deepEqual((await second.connectGateway()).routes.map(({ name }) => name).sort(), ['hello', 'large'])
  } finally {
    await second.stop()
  }
  disk.fill()
  await assert.rejects(startControl(disk.path), /hostel\.db can't be written: its disk is full; make room/)
})

test('on a disk that fails while it is in use, reading goes on and changes are refused', async (t) => {
  using disk = failingDisk(48)
  if (!disk) return t.skip('there are no loop devices')
  const control = await startControl(disk.path)
  try {
    const gateway = await control.connectGateway()
    await deploy(control, 'hello', { 'index.ts': 'export default {}' })
    const kept = records(5)
    await gateway.link.call('batch', kept, { timeoutMs: 5_000 })
    disk.fail()
    assert.deepEqual(pick(await upload(control)), { status: 500, code: 'storage_failed' })
    assert.deepEqual(pick(await problem(control, 'PUT', '/v1/tenants/default/secrets/TOKEN', { value: 'x' })), { status: 500, code: 'storage_failed' })
    await assert.rejects(gateway.link.call('batch', records(5), { timeoutMs: 5_000 }))
    assert.equal((await control.json<{ functions: unknown[] }>('GET', '/v1/tenants/default/functions')).functions.length, 1)
    assert.equal((await control.json<{ id: string }>('GET', `/v1/tenants/default/invocations/${kept.records[0]!.id}`)).id, kept.records[0]!.id)
  } finally {
    await control.kill()
  }
})

test('a database with a damaged page is not started on, and the message says what to do', async () => {
  using directory = temporaryDirectory()
  const first = await startControl(directory.path)
  await first.connectGateway()
  await deploy(first, 'hello', { 'index.ts': 'export default {}' })
  await first.stop()
  const file = join(directory.path, 'hostel.db')
  const descriptor = openSync(file, 'r+')
  writeSync(descriptor, Buffer.alloc(4_096, 0x5a), 0, 4_096, 4_096)
  closeSync(descriptor)
  await assert.rejects(startControl(directory.path), /hostel\.db is damaged \(.*\); restore it from a backup/)
})

test('a segment of records with a damaged page is left aside, and new records are kept', async () => {
  using directory = temporaryDirectory()
  const first = await startControl(directory.path)
  const gateway = await first.connectGateway()
  await deploy(first, 'hello', { 'index.ts': 'export default {}' })
  await gateway.link.call('batch', records(200), { timeoutMs: 5_000 })
  await first.stop()
  const segment = readdirSync(join(directory.path, 'logs')).find((name) => name.endsWith('.db'))
  const descriptor = openSync(join(directory.path, 'logs', segment!), 'r+')
  writeSync(descriptor, Buffer.alloc(8_192, 0x5a), 0, 8_192, 4_096)
  closeSync(descriptor)
  const second = await startControl(directory.path)
  try {
    assert.match(second.log(), /is damaged/)
    const more = records(3)
    await (await second.connectGateway()).link.call('batch', more, { timeoutMs: 5_000 })
    assert.equal((await second.json<{ logLines: number }>('GET', `/v1/tenants/default/invocations/${more.records[0]!.id}`)).logLines, 1)
  } finally {
    await second.stop()
  }
})

test('records made while the clock was wrong are found, whichever way it was', async () => {
  using directory = temporaryDirectory()
  const control = await startControl(directory.path)
  try {
    const gateway = await control.connectGateway()
    const yearMs = 365 * 24 * 3_600_000
    const odd = [yearMs, -yearMs].map((offsetMs) => recordOf({ id: idAt(Date.now() + offsetMs), startedAtMs: Date.now() + offsetMs }))
    await gateway.link.call('batch', { records: odd, logs: odd.map(({ id }) => lineOf({ invocation: id })) }, { timeoutMs: 5_000 })
    await deploy(control, 'hello', { 'index.ts': '' })
    for (const { id } of odd) {
      assert.equal((await control.json<{ logLines: number }>('GET', `/v1/tenants/default/invocations/${id}`)).logLines, 1)
      const text = await (await control.request('GET', `/v1/tenants/default/functions/hello/logs?invocation=${id}`)).text()
      assert.equal(text.trim().split('\n').length, 1)
      assert.ok(text.includes(id))
    }
  } finally {
    await control.stop()
  }
})

test('a whole server on a full disk goes on answering from memory, and hands its records over later', async () => {
  using disk = smallDisk(24)
  const dataDir = join(disk.path, 'data')
  const server = await startServer({ dataDir })
  const files = { 'index.mjs': 'export const handler = async (event) => event' }
  await deployTo(server, 'echo', files)
  await callEvent(server, 'echo', {})
  disk.fill()
  const ids: string[] = []
  for (let index = 0; index < 200; index++) {
    const response = await fetch(`${server.gateway}/default/echo`, { method: 'POST', body: 'x'.repeat(10) })
    assert.equal(response.status, 200)
    await response.arrayBuffer()
    ids.push(response.headers.get('hostel-invocation')!)
  }
  await eventually(() => assert.match(server.output(), /full/), 10_000)
  assert.equal((await createControlClient(server).functions('default')).length, 1)
  disk.makeRoom()
  for (const id of [ids[0]!, ids.at(-1)!]) await eventually(() => invocationRecord(server, id), 15_000)
  await deployTo(server, 'echo', { ...files, 'more.txt': 'more' })
  await server.stop()
})

function pick({ status, code }: { status: number; code: string }): { status: number; code: string } {
  return { status, code }
}

function idAt(atMs: number): string {
  const time = Math.floor(atMs).toString(16).padStart(12, '0')
  return `${time.slice(0, 8)}-${time.slice(8)}-7000-8000-00000000000a`
}
