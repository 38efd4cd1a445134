import assert from 'node:assert/strict'
import { describe, it } from 'node:test'

import { type Death, exitCause } from './exit-cause.ts'

const death = (part: Partial<Death> & { oomKills?: number }): Death => ({
  status: {},
  record: { oomKills: part.oomKills ?? 0, memoryPeakBytes: 1_000 },
  endRequested: false,
  killSent: false,
  lifetimeMs: 5,
  ...part,
})

describe('the cause of a sandbox’s end', () => {
  const cases: [string, Death, object][] = [
    ['an exit code of its own', death({ status: { exitCode: 7 } }), { kind: 'exit', exitCode: 7 }],
    ['a clean exit that nobody asked for', death({ status: { exitCode: 0 } }), { kind: 'exit', exitCode: 0 }],
    ['a signal, as the init tells it', death({ status: { exitCode: 139 } }), { kind: 'signal', signal: 'SIGSEGV' }],
    ['an exit code beyond the signals', death({ status: { exitCode: 255 } }), { kind: 'exit', exitCode: 255 }],
    ['a kill for want of memory', death({ status: { exitCode: 137 }, oomKills: 1 }), { kind: 'oom', signal: 'SIGKILL' }],
    [
      'a kill for want of memory while we were ending it',
      death({ status: { signal: 'SIGKILL' }, oomKills: 1, endRequested: true, killSent: true }),
      { kind: 'oom', signal: 'SIGKILL' },
    ],
    ['an exit after a child was killed for want of memory', death({ status: { exitCode: 1 }, oomKills: 1 }), { kind: 'exit', exitCode: 1 }],
    ['our SIGTERM', death({ status: { exitCode: 143 }, endRequested: true }), { kind: 'requested', signal: 'SIGTERM' }],
    ['our SIGKILL', death({ status: { signal: 'SIGKILL' }, endRequested: true, killSent: true }), { kind: 'requested', signal: 'SIGKILL' }],
    ['a clean exit that we asked for', death({ status: { exitCode: 0 }, endRequested: true }), { kind: 'requested', exitCode: 0 }],
    ['a crash just before we asked', death({ status: { exitCode: 134 }, endRequested: true }), { kind: 'signal', signal: 'SIGABRT' }],
    ['a SIGKILL that is not ours', death({ status: { exitCode: 137 } }), { kind: 'signal', signal: 'SIGKILL' }],
  ]
  for (const [name, given, expected] of cases) {
    it(`is told for ${name}`, () => {
      const { oomKills, memoryPeakBytes, lifetimeMs, ...cause } = exitCause(given)
      assert.deepEqual(cause, expected)
      assert.deepEqual({ oomKills, memoryPeakBytes, lifetimeMs }, { oomKills: given.record.oomKills, memoryPeakBytes: 1_000, lifetimeMs: 5 })
    })
  }
})
