import assert from 'node:assert/strict'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

import { deploy, lineOf, recordOf, startControl, temporaryDirectory } from './harness.ts'

test('what was deployed is there after kill -9, and is pushed to the next gateway', async () => {
  using directory = temporaryDirectory()
  const first = await startControl(directory.path)
  const gateway = await first.connectGateway()
  assert.deepEqual(gateway.routes, [])
  const deployed = await deploy(first, 'hello', { 'index.ts': 'export default {}' }, { env: { GREETING: 'hi' }, memoryMiB: 512 })
  await first.kill()

  const second = await startControl(directory.path)
  try {
    const { routes } = await second.connectGateway()
    assert.equal(routes.length, 1)
    assert.deepEqual(routes[0], {
      tenant: 'default',
      name: 'hello',
      aliases: { live: 1 },
      versions: [
        {
          tenant: 'default',
          function: 'hello',
          version: 1,
          codeDigest: deployed.codeDigest,
          runtime: 'nodejs24',
          handler: 'index.ts',
          memoryMiB: 512,
          timeoutMs: 30_000,
          concurrency: 10,
          env: { GREETING: 'hi' },
          egress: [],
          services: [],
          contract: 'fetch',
        },
      ],
    })
    assert.ok(existsSync(join(directory.path, 'code', deployed.codeDigest, 'index.ts')))
    const again = await deploy(second, 'hello', { 'index.ts': 'export default {}' }, { env: { GREETING: 'hi' }, memoryMiB: 512 })
    assert.equal(again.unchanged, true)
    assert.equal(again.version, 1)
  } finally {
    await second.stop()
  }
})

test('records and lines of an answered batch are there after kill -9 in the middle of a stream of batches', async () => {
  using directory = temporaryDirectory()
  const first = await startControl(directory.path)
  const gateway = await first.connectGateway()
  await deploy(first, 'hello', { 'index.ts': '' })
  const acknowledged: string[] = []
  const sent = new Map<string, number>()
  const streaming = (async () => {
    for (;;) {
      const records = Array.from({ length: 20 }, () => recordOf())
      const logs = records.map((record) => lineOf({ invocation: record.id }))
      for (const [index, { id }] of records.entries()) sent.set(id, logs[index]!.sequence)
      await gateway.link.call('batch', { records, logs }, { timeoutMs: 5_000 })
      acknowledged.push(...records.map(({ id }) => id))
    }
  })()
  // It ends when the link breaks.
  streaming.catch(() => {})
  while (acknowledged.length < 1_000) await new Promise((resolve) => setTimeout(resolve, 5))
  await first.kill()
  await assert.rejects(streaming)

  const second = await startControl(directory.path)
  try {
    for (const id of [acknowledged[0]!, acknowledged[acknowledged.length >> 1]!, acknowledged.at(-1)!]) {
      const record = await second.json<{ id: string; logLines: number }>('GET', `/v1/tenants/default/invocations/${id}`)
      assert.equal(record.id, id)
      assert.equal(record.logLines, 1)
    }
    const text = await (await second.request('GET', '/v1/tenants/default/functions/hello/logs?limit=10000')).text()
    const sequences = new Set(
      text
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line) as { sequence: number }).sequence),
    )
    const missing = acknowledged.slice(-5_000).filter((id) => !sequences.has(sent.get(id)!))
    assert.deepEqual(missing, [])
  } finally {
    await second.stop()
  }
})

test('a batch that comes again after a broken link is there once', async () => {
  using directory = temporaryDirectory()
  const batch = { records: [recordOf()], logs: [lineOf({ text: 'once' }), lineOf({ text: 'twice' })] }
  const first = await startControl(directory.path)
  const before = await first.connectGateway()
  await deploy(first, 'hello', { 'index.ts': '' })
  await before.link.call('batch', batch, { timeoutMs: 5_000 })
  await first.kill()

  const second = await startControl(directory.path)
  try {
    const gateway = await second.connectGateway()
    await gateway.link.call('batch', { records: [...batch.records, recordOf()], logs: [...batch.logs, lineOf({ text: 'three times' })] }, { timeoutMs: 5_000 })
    const text = await (await second.request('GET', '/v1/tenants/default/functions/hello/logs')).text()
    assert.deepEqual(
      text
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line) as { text: string }).text),
      ['once', 'twice', 'three times'],
    )
    const detail = await second.json<{ lastHour: { invocations: number } }>('GET', '/v1/tenants/default/functions/hello')
    assert.equal(detail.lastHour.invocations, 2)
  } finally {
    await second.stop()
  }
})

test('leftovers of an interrupted upload are gone after the next start', async () => {
  using directory = temporaryDirectory()
  const first = await startControl(directory.path)
  const half = new ReadableStream({
    start(controller) {
      controller.enqueue(new Uint8Array(1_000))
    },
  })
  const upload = fetch(`${first.url}/v1/tenants/default/code`, {
    method: 'PUT',
    body: half,
    duplex: 'half',
    headers: { authorization: 'Bearer a-token-for-tests-only', 'content-type': 'application/gzip' },
  })
  upload.catch(() => {})
  while (readdirSync(join(directory.path, 'tmp')).length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  await first.kill()
  const second = await startControl(directory.path)
  try {
    assert.deepEqual(readdirSync(join(directory.path, 'tmp')), [])
    assert.deepEqual(readdirSync(join(directory.path, 'code')), [])
  } finally {
    await second.stop()
  }
})

test('control stops when the keeper asks, with code 0 and without a word', async () => {
  using directory = temporaryDirectory()
  const control = await startControl(directory.path)
  await control.connectGateway()
  assert.equal(await control.stop(), 0)
  assert.equal(control.log(), '')
})
