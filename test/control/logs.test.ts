import assert from 'node:assert/strict'
import { request } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { after, before, describe, it } from 'node:test'

import type { LogLine } from '../../src/functions/types.ts'
import { ADMIN_TOKEN, deploy, lineOf, recordOf, startControl, temporaryDirectory } from './harness.ts'
import type { StandInGateway, TestControl } from './harness.ts'

describe('reading logs', () => {
  const directory = temporaryDirectory()
  let control: TestControl
  let gateway: StandInGateway

  before(async () => {
    control = await startControl(directory.path)
    gateway = await control.connectGateway()
    for (const name of ['seam', 'filter', 'slow', 'flood', 'quiet']) await deploy(control, name, { 'index.ts': '' })
  })
  after(async () => {
    await control.stop()
    directory[Symbol.dispose]()
  })

  const write = (logs: LogLine[]): Promise<unknown> => gateway.link.call('batch', { records: [], logs }, { timeoutMs: 10_000 })
  const read = async (path: string): Promise<LogLine[]> => {
    const text = await (await control.request('GET', `/v1/tenants/default/functions/${path}`)).text()
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as LogLine)
  }

  /** Opens a stream of lines that is read only as far as the test asks. */
  async function follow(path: string): Promise<{ response: IncomingMessage; lines: AsyncIterator<LogLine, void>; close(): void }> {
    const outgoing = request(`${control.url}/v1/tenants/default/functions/${path}`, { headers: { authorization: `Bearer ${ADMIN_TOKEN}` } })
    outgoing.end()
    const [response] = (await once(outgoing, 'response')) as [IncomingMessage]
    assert.equal(response.statusCode, 200)
    // That it was closed is no error here.
    response.on('error', () => {})
    async function* parsed(): AsyncGenerator<LogLine, void> {
      for await (const line of createInterface({ input: response })) yield JSON.parse(line) as LogLine
    }
    const lines = parsed()
    return { response, lines, close: () => response.destroy() }
  }

  async function take(lines: AsyncIterator<LogLine, void>, count: number): Promise<LogLine[]> {
    const out: LogLine[] = []
    while (out.length < count) out.push((await lines.next()).value as LogLine)
    return out
  }

  it('follows within 100 ms of a batch', async () => {
    const follower = await follow('quiet/logs?follow=true')
    const delays: number[] = []
    for (let i = 0; i < 5; i++) {
      const line = lineOf({ function: 'quiet' })
      await write([line])
      const written = performance.now()
      assert.deepEqual((await take(follower.lines, 1))[0], line)
      delays.push(performance.now() - written)
    }
    follower.close()
    assert.ok(Math.min(...delays) < 100, `took ${delays.join(', ')} ms`)
  })

  it('gives each line once and in order where history passes into following', async () => {
    const all: LogLine[] = []
    let writing = true
    const writer = (async () => {
      while (writing) {
        const batch = Array.from({ length: 50 }, () => lineOf({ function: 'seam' }))
        await write(batch)
        all.push(...batch)
      }
    })()
    while (all.length < 500) await new Promise((resolve) => setTimeout(resolve, 5))
    const follower = await follow('seam/logs?follow=true&limit=10000')
    const seen = await take(follower.lines, 3_000)
    writing = false
    await writer
    follower.close()
    assert.deepEqual(
      seen.map(({ sequence }) => sequence),
      all.slice(0, 3_000).map(({ sequence }) => sequence),
    )
  })

  it('gives the lines of one invocation, those since a time, and the newest so many', async () => {
    const { id } = recordOf()
    const nowMs = Date.now()
    const lines = [
      lineOf({ function: 'filter', atMs: nowMs - 50_000 }),
      lineOf({ function: 'filter', atMs: nowMs - 40_000, invocation: id, level: 'error', text: 'ünïcode \u0000 "quoted"\n' }),
      lineOf({ function: 'filter', atMs: nowMs - 30_000 }),
      lineOf({ function: 'filter', atMs: nowMs - 20_000, invocation: id }),
    ]
    await write([...lines, lineOf({ function: 'other', invocation: id })])
    const sequences = async (query: string): Promise<number[]> =>
      (await read(`filter/logs?${query}`)).map(({ sequence }) => lines.findIndex((line) => line.sequence === sequence))
    assert.deepEqual(await read('filter/logs'), lines)
    assert.deepEqual(await sequences(`invocation=${id}`), [1, 3])
    assert.deepEqual(await sequences(`since=${nowMs - 30_000}`), [2, 3])
    assert.deepEqual(await sequences('limit=2'), [2, 3])
    assert.deepEqual(await sequences(`limit=1&invocation=${id}&since=${nowMs - 100_000}`), [3])
    assert.deepEqual(await sequences(`since=${nowMs + 1}`), [])
  })

  it('knows no logs of a function that is not there', async () => {
    await control.json('GET', '/v1/tenants/default/functions/nothing/logs', undefined, 404)
  })

  it('drops lines for a reader that is too slow, says how many, and keeps the others served', async () => {
    const slow = await follow('slow/logs?follow=true')
    const quick = await follow('slow/logs?follow=true')
    const quickly = take(quick.lines, 20_000)
    // Far more than sockets and buffers on the way hold.
    let last = 0
    for (let batch = 0; batch < 40; batch++) {
      const lines = Array.from({ length: 500 }, () => lineOf({ function: 'slow', text: 'x'.repeat(1_000) }))
      last = lines.at(-1)!.sequence
      await write(lines)
    }
    const all = await quickly
    assert.equal(all.filter(({ level }) => level === 'gap').length, 0)
    assert.equal(all.at(-1)!.sequence, last)
    const seen: LogLine[] = []
    let dropped = 0
    while (seen.length + dropped < 20_000) {
      const [line] = await take(slow.lines, 1)
      if (line!.level === 'gap') dropped += Number(/^(\d+) lines were not sent/.exec(line!.text)![1])
      else seen.push(line!)
    }
    assert.ok(dropped > 0)
    assert.equal(seen.length + dropped, 20_000)
    assert.deepEqual(
      seen.map(({ sequence }) => sequence),
      seen.map(({ sequence }) => sequence).sort((a, b) => a - b),
    )
    slow.close()
    quick.close()
  })

  it('lets so many follow at once and no more, and forgets those that went', async () => {
    const followers = await Promise.all(Array.from({ length: 100 }, () => follow('flood/logs?follow=true')))
    const late = await control.request('GET', '/v1/tenants/default/functions/flood/logs?follow=true')
    assert.equal(late.status, 503)
    for (const follower of followers) follower.close()
    for (;;) {
      const again = await control.request('GET', '/v1/tenants/default/functions/flood/logs?follow=true', { signal: AbortSignal.timeout(10_000) })
      await again.body?.cancel()
      if (again.status === 200) break
    }
  })

  it('ends for everyone when control stops', async () => {
    const follower = await follow('quiet/logs?follow=true&limit=1')
    await take(follower.lines, 1)
    const started = performance.now()
    assert.equal(await control.stop(), 0)
    assert.ok(performance.now() - started < 3_000)
  })
})
