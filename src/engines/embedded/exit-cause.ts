/** From what the kernel says about a dead sandbox to the cause that is told. */
import { constants } from 'node:os'

import type { SandboxExit } from '../../keeper/messages.ts'
import type { CgroupRecord } from './cgroups.ts'
import { type WaitStatus, signalName } from './reaper.native.ts'

/** What a shell, and our init, adds to the number of the signal that ended a child. */
const SIGNAL_BASE = 128

export interface Death {
  /** How the sandbox's pid 1 ended. */
  status: WaitStatus
  record: CgroupRecord
  /** Whether we had asked for the end, and whether we had sent SIGKILL. */
  endRequested: boolean
  killSent: boolean
  lifetimeMs: number
}

/** The init reports its child's end as an exit code, signals as 128 + number; its own death by SIGKILL is ours or the kernel's. */
export function exitCause(death: Death): SandboxExit {
  const { exitCode, signal } = guestStatus(death.status)
  const facts = {
    ...(exitCode !== undefined && { exitCode }),
    ...(signal !== undefined && { signal }),
    oomKills: death.record.oomKills,
    ...(death.record.memoryPeakBytes !== undefined && { memoryPeakBytes: death.record.memoryPeakBytes }),
    lifetimeMs: death.lifetimeMs,
  }
  // A guest may outlive the kill of one of its children and end in its own way later: then that is the cause.
  if (death.record.oomKills > 0 && signal === 'SIGKILL') return { kind: 'oom', ...facts }
  const byUs = death.endRequested && (exitCode === 0 || signal === 'SIGTERM' || (signal === 'SIGKILL' && death.killSent))
  if (byUs) return { kind: 'requested', ...facts }
  return { kind: signal === undefined ? 'exit' : 'signal', ...facts }
}

function guestStatus(status: WaitStatus): WaitStatus {
  const code = status.exitCode
  if (code !== undefined && code > SIGNAL_BASE && code <= SIGNAL_BASE + constants.signals.SIGSYS) return { signal: signalName(code - SIGNAL_BASE) }
  return status
}
