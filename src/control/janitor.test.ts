import assert from 'node:assert/strict'
import { test } from 'node:test'

import { createLogger } from '../telemetry/logger.ts'
import { clockWatch } from './janitor.ts'

const HOUR_MS = 3_600_000
const YEAR_MS = 365 * 24 * HOUR_MS

test('ages are not believed for an hour after the clock was set, forwards or backwards', () => {
  for (const jumpMs of [YEAR_MS, -YEAR_MS]) {
    const believed = clockWatch(createLogger('test'))
    let steadyMs = 1_700_000_000_000
    let wallMs = steadyMs
    const later = (ms: number, alsoJumpMs = 0): number | undefined => {
      steadyMs += ms
      wallMs += ms + alsoJumpMs
      return believed(wallMs, steadyMs)
    }
    assert.equal(later(0), wallMs)
    assert.equal(later(60_000), wallMs)
    assert.equal(later(60_000, 5_000), wallMs, 'a correction is no jump')
    assert.equal(later(60_000, jumpMs), undefined)
    assert.equal(later(60_000), undefined)
    assert.equal(later(60_000, -jumpMs), undefined, 'set right again: the hour begins anew')
    assert.equal(later(HOUR_MS - 1_000), undefined)
    assert.equal(later(2_000), wallMs)
  }
})
