import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'

import { limits } from '../../limits.ts'
import { EngineError } from '../engine.ts'
import { createSlots } from './slots.ts'

describe('user-id slots', () => {
  let directory: string
  beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'hostel-slots-'))))
  afterEach(() => rmSync(directory, { recursive: true }))

  it('are never two servers’ at once, and are free again when a server is gone', () => {
    const [one, other] = [createSlots(directory), createSlots(directory)]
    const taken = [one, other].flatMap((slots) => Array.from({ length: 200 }, () => slots.take()))
    assert.equal(new Set(taken).size, 400)
    for (const first of taken) assert.ok(first >= limits.uidBase && first % limits.uidsPerSlot === 0 && first + limits.uidsPerSlot <= 0x8000_0000)
    one[Symbol.dispose]()
    other[Symbol.dispose]()
    using next = createSlots(directory)
    assert.equal(next.take(), limits.uidBase)
  })

  it('rest as long as possible before they are used again', () => {
    using slots = createSlots(directory)
    const first = slots.take()
    slots.giveBack(first)
    assert.notEqual(slots.take(), first)
  })

  it('end with a clear word when all are taken', () => {
    using slots = createSlots(directory)
    for (let taken = 0; taken < limits.sandboxSlots; taken++) slots.take()
    assert.throws(
      () => slots.take(),
      (error) => error instanceof EngineError && error.failure === 'no_slot',
    )
  })
})
