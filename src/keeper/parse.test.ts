import assert from 'node:assert/strict'
import { describe, it } from 'node:test'

import * as fc from 'fast-check'

import { isReadyMessage, parseGatewayMessage } from './parse.ts'

const digest = 'ab'.repeat(32)
const spareClass = { runtime: 'nodejs24', memoryMiB: 256, isolation: 'namespace' }
const valid = [
  { type: 'ready' },
  { type: 'boot', req: 1, spareClass },
  { type: 'specialise', req: 2, sandbox: 3, codeDigest: digest, label: 'default/hello@1' },
  { type: 'freeze', req: 4, sandbox: 3 },
  { type: 'thaw', req: 5, sandbox: 3 },
  { type: 'end', sandbox: 3, graceMs: 500 },
  { type: 'usage', req: 6 },
]

describe('the keeper, reading what the gateway sends', () => {
  it('takes what fits, and nothing that comes along with it', () => {
    for (const message of valid) assert.deepEqual(parseGatewayMessage({ ...message, path: '/etc', argv: ['x'] }), message)
    assert.deepEqual(parseGatewayMessage({ type: 'boot', req: 1, spareClass: { ...spareClass, image: 'x' } }), { type: 'boot', req: 1, spareClass })
  })

  it('refuses what does not, and says so to whoever asked', () => {
    const wrong: [unknown, number | undefined][] = [
      [null, undefined],
      ['boot', undefined],
      [{ type: 'boot', req: -1, spareClass }, undefined],
      [{ type: 'boot', req: 1.5, spareClass }, undefined],
      [{ type: 'boot', req: 1 }, 1],
      [{ type: 'boot', req: 1, spareClass: { ...spareClass, runtime: '../../root' } }, 1],
      [{ type: 'boot', req: 1, spareClass: { ...spareClass, memoryMiB: 300 } }, 1],
      [{ type: 'boot', req: 1, spareClass: { ...spareClass, isolation: 'none' } }, 1],
      [{ type: 'specialise', req: 2, sandbox: 3, codeDigest: '../../../etc', label: '' }, 2],
      [{ type: 'specialise', req: 2, sandbox: 3, codeDigest: digest.toUpperCase(), label: '' }, 2],
      [{ type: 'specialise', req: 2, sandbox: 3, codeDigest: `${digest}\n`, label: '' }, 2],
      [{ type: 'specialise', req: 2, sandbox: 3, codeDigest: digest, label: 'a\nb' }, 2],
      [{ type: 'specialise', req: 2, sandbox: 3, codeDigest: digest, label: 'a'.repeat(401) }, 2],
      [{ type: 'freeze', req: 2, sandbox: '3' }, 2],
      [{ type: 'end', sandbox: 3 }, undefined],
      [{ type: 'exec', req: 7 }, 7],
      [{ type: '__proto__', req: 7 }, 7],
    ]
    for (const [message, req] of wrong) {
      const result = parseGatewayMessage(message)
      assert.ok('refused' in result, JSON.stringify(message))
      assert.equal(result.req, req, JSON.stringify(message))
    }
  })

  it('bounds the grace of an end', () => {
    assert.deepEqual(parseGatewayMessage({ type: 'end', sandbox: 1, graceMs: 1e12 }), { type: 'end', sandbox: 1, graceMs: 60_000 })
  })

  it('never throws, whatever comes', () => {
    const field = fc.oneof(fc.jsonValue(), fc.constantFrom('boot', 'specialise', 'end', digest), fc.nat())
    const message = fc.oneof(
      fc.jsonValue(),
      fc.record(
        {
          type: fc.oneof(fc.constantFrom('boot', 'specialise', 'freeze', 'thaw', 'end', 'usage'), field),
          req: field,
          sandbox: field,
          spareClass: field,
          codeDigest: field,
          label: field,
          graceMs: field,
        },
        { requiredKeys: ['type'] },
      ),
    )
    fc.assert(
      fc.property(message, (candidate) => {
        const result = parseGatewayMessage(candidate)
        assert.ok('refused' in result || valid.some(({ type }) => type === result.type))
      }),
      { numRuns: 2_000 },
    )
  })

  it('takes doors by name and port only, and few of them', () => {
    const base = { type: 'specialise', req: 1, sandbox: 1, codeDigest: digest, label: 'l' }
    const parsed = (doors: unknown): unknown => parseGatewayMessage({ ...base, doors })
    const good = { proxy: true, services: [{ name: 'postgres.internal', port: 5_432 }] }
    assert.deepEqual(parsed({ ...good, more: 1, services: [{ ...good.services[0], target: '10.0.0.1' }] }), { ...base, doors: good })
    const service = (name: unknown, port: unknown = 1): unknown => ({ proxy: false, services: [{ name, port }] })
    const bad = [null, 1, {}, { proxy: 1, services: [] }, { proxy: true }, { proxy: true, services: Array.from({ length: 17 }, () => good.services[0]) }]
    for (const name of ['localhost', 'a b', 'a\n127.0.0.1 b', 'a\tb', '', '-a', 'a..b', 'A', '1.2.3.4', '127.1', '1', `${'a'.repeat(64)}.b`, 7])
      bad.push(service(name) as never)
    for (const port of [0, 65_536, -1, 1.5, '1', null]) bad.push(service('a', port) as never)
    for (const doors of bad) assert.ok('refused' in (parsed(doors) as object), JSON.stringify(doors))
  })

  it('hears nothing from control but that it serves', () => {
    assert.equal(isReadyMessage({ type: 'ready' }), true)
    for (const message of [null, 'ready', { type: 'boot' }, {}]) assert.equal(isReadyMessage(message), false)
  })
})
