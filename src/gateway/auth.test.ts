import assert from 'node:assert/strict'
import { describe, it } from 'node:test'

import { HostelError } from '../errors.ts'
import { hashToken } from '../functions/token.ts'
import type { Quotas, RoutedVersion } from '../functions/types.ts'
import { createAccess } from './auth.ts'
import type { Access } from './auth.ts'
import { readRequestFields } from './headers.ts'

const TOKEN = 'hst_for-shop'
const version = (tenant: string, auth?: 'token') => ({ tenant, ...(auth && { auth }) }) as RoutedVersion
const hashOf = (token: string): string => hashToken(token).toString('hex')
const NONE: Quotas = { functions: null, sandboxes: null, memoryMiB: null, requestsPerSecond: null }

/** The fields that go on to the function, or the code and detail of the refusal. */
function ask(access: Access, to: RoutedVersion, ...authorizations: string[]): string[] | string {
  const fields = readRequestFields(['Host', 'x', 'Accept', 'a', ...authorizations.flatMap((value) => ['Authorization', value]), 'X-More', 'b'])
  try {
    access.admit(to, fields)
    return fields.headers
  } catch (error) {
    assert.ok(error instanceof HostelError)
    return `${error.code}: ${error.message}`
  }
}

const REST = ['accept', 'a', 'x-more', 'b']

describe('a function that asks for a token', () => {
  const access = createAccess()
  access.setTokens([
    { hash: hashOf(TOKEN), tenant: 'shop', expiresAtMs: null },
    { hash: hashOf('hst_of-all'), tenant: null, expiresAtMs: Date.now() + 60_000 },
    { hash: hashOf('hst_over'), tenant: 'shop', expiresAtMs: Date.now() - 1 },
    { hash: hashOf('hst_other'), tenant: 'other', expiresAtMs: null },
  ])
  const shop = version('shop', 'token')

  it('is called with one of its tenant, or of all, and never sees it', () => {
    for (const value of [`Bearer ${TOKEN}`, `bearer  ${TOKEN}`, 'Bearer hst_of-all']) assert.deepEqual(ask(access, shop, value), REST)
  })

  it('is not called without one, or with one that is not for it, and nobody learns why', () => {
    assert.match(String(ask(access, shop)), /^unauthenticated: this function answers only/)
    for (const value of ['Bearer hst_over', 'Bearer hst_other', 'Bearer hst_unknown', `Bearer ${TOKEN}x`, 'Bearer x'])
      assert.equal(ask(access, shop, value), 'unauthenticated: this token does not open this function')
    for (const value of [TOKEN, `Basic ${TOKEN}`, 'Bearer ', `Bearer ${TOKEN} ${TOKEN}`, `Bearer hst_${'a'.repeat(600)}`])
      assert.match(String(ask(access, shop, value)), /^unauthenticated/)
    assert.match(String(ask(access, shop, `Bearer ${TOKEN}`, 'Bearer x')), /^unauthenticated/)
  })

  it('is no longer called with one that was taken back', () => {
    access.setTokens([])
    assert.match(String(ask(access, shop, `Bearer ${TOKEN}`)), /^unauthenticated/)
  })

  it('tells which tokens were used, once', () => {
    access.setTokens([{ hash: hashOf(TOKEN), tenant: 'shop', expiresAtMs: null }])
    access.takeUsed()
    ask(access, shop, 'Bearer hst_unknown')
    ask(access, shop, `Bearer ${TOKEN}`)
    ask(access, shop, `Bearer ${TOKEN}`)
    assert.deepEqual(access.takeUsed(), [hashOf(TOKEN)])
    assert.deepEqual(access.takeUsed(), [])
  })
})

describe('a function that anyone may call', () => {
  it('gets authorization of its own, but no token of ours', () => {
    const access = createAccess()
    assert.deepEqual(ask(access, version('shop'), 'Bearer of-its-own'), ['accept', 'a', 'authorization', 'Bearer of-its-own', 'x-more', 'b'])
    assert.deepEqual(ask(access, version('shop'), `Bearer ${TOKEN}`), REST)
    assert.deepEqual(ask(access, version('shop'), `bearer  ${TOKEN}`), REST)
  })
})

describe("a tenant's quota of requests per second", () => {
  it('lets a burst of a second through, then as many as come free, and says when to try again', () => {
    let nowMs = 0
    const access = createAccess(() => nowMs)
    access.setQuotas([{ tenant: 'shop', quotas: { ...NONE, requestsPerSecond: 4 } }])
    const passed = (): number => Array.from({ length: 10 }, () => ask(access, version('shop'))).filter((one) => typeof one !== 'string').length
    assert.equal(passed(), 4)
    assert.equal(ask(access, version('shop')), 'too_many_requests: tenant shop is over its quota of 4 requests per second')
    assert.deepEqual(ask(access, version('other')), REST)
    nowMs += 500
    assert.equal(passed(), 2)
    nowMs += 60_000
    assert.equal(passed(), 4)
    // A change elsewhere gives nobody a full bucket.
    access.setQuotas([
      { tenant: 'shop', quotas: { ...NONE, requestsPerSecond: 4 } },
      { tenant: 'other', quotas: { ...NONE, requestsPerSecond: 1 } },
    ])
    assert.equal(passed(), 0)
    access.setQuotas([])
    assert.equal(passed(), 10)
  })

  it('of none lets none through', () => {
    const access = createAccess()
    access.setQuotas([{ tenant: 'shop', quotas: { ...NONE, requestsPerSecond: 0 } }])
    assert.match(String(ask(access, version('shop'))), /^too_many_requests: .* quota of 0 requests per second/)
  })

  it('is not used up by requests without the token that is asked for', () => {
    const access = createAccess(() => 0)
    access.setTokens([{ hash: hashOf(TOKEN), tenant: 'shop', expiresAtMs: null }])
    access.setQuotas([{ tenant: 'shop', quotas: { ...NONE, requestsPerSecond: 1 } }])
    ask(access, version('shop', 'token'), 'Bearer x')
    assert.deepEqual(ask(access, version('shop', 'token'), `Bearer ${TOKEN}`), REST)
  })
})
