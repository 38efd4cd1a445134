import assert from 'node:assert/strict'
import { describe, it } from 'node:test'

import type { Invocation, Sandbox } from '../client/control.ts'
import { activityOf, RECORDS_MAX } from './activity.ts'
import { onScreen } from './watching.ts'

const NOW = 1_000_000

const invocation = (name: string, endedAgoMs: number, totalMs: number, outcome = 'ok') =>
  ({ function: name, startedAtMs: NOW - endedAgoMs - totalMs, totalMs, outcome }) as Invocation
const sandbox = (name: string | null, state: Sandbox['state'], inFlight = 0) =>
  ({ function: name, tenant: name && 'default', state, inFlight, memoryBytes: 100 }) as Sandbox

describe('activity', () => {
  it('counts what ended in the last ten seconds, whenever it began', () => {
    const [found] = activityOf([invocation('a', 1_000, 5), invocation('a', 2_000, 60_000, 'exited'), invocation('a', 11_000, 1)], [], NOW)
    assert.equal(found?.requestsPerSecond, 0.2)
    assert.equal(found.errorShare, 0.5)
    assert.deepEqual([found.p50Ms, found.p99Ms], [5, 60_000])
  })

  it('takes the time that the records span when there are more than are looked at', () => {
    const many = Array.from({ length: RECORDS_MAX }, (_, index) => invocation('a', index, 1))
    assert.equal(Math.round(activityOf(many, [], NOW)[0]!.requestsPerSecond), Math.round((RECORDS_MAX * 1_000) / (RECORDS_MAX - 1)))
  })

  it('adds up sandboxes, and lists functions that only have some, the busiest first', () => {
    const found = activityOf(
      [invocation('b', 10, 1)],
      [sandbox('a', 'busy', 3), sandbox('a', 'frozen'), sandbox('c', 'specialising', 1), sandbox(null, 'spare')],
      NOW,
    )
    assert.deepEqual(
      found.map((item) => item.function),
      ['b', 'a', 'c'],
    )
    assert.deepEqual(found[1], {
      function: 'a',
      requestsPerSecond: 0,
      errorShare: 0,
      p50Ms: null,
      p99Ms: null,
      inFlight: 3,
      sandboxes: { busy: 1, idle: 0, frozen: 1, other: 0 },
      memoryBytes: 200,
    })
  })
})

describe('a frame on the screen', () => {
  it('is cut to the screen, and says how much is left out', () => {
    const text = Array.from({ length: 10 }, (_, index) => `line ${index}`).join('\n')
    const frame = onScreen(text, 6)
    assert.match(frame, /line 3/)
    assert.doesNotMatch(frame, /line 4/)
    assert.match(frame, /… 6 more lines/)
    assert.match(onScreen(text, 11), /line 9/)
  })
})
