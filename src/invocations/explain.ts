/** Why an invocation ended as it did, in a sentence for its owner. Facts come from the kernel and the shim; nothing is guessed. */
import type { ErrorCode, HostelError } from '../errors.ts'
import { errorKinds } from '../errors.ts'
import type { RoutedVersion } from '../functions/types.ts'
import type { SandboxExit } from '../keeper/messages.ts'
import type { GuestError } from '../sandbox/protocol.ts'

const MiB = 1024 * 1024

/** What a record's `detail` holds for an outcome other than `ok`: the facts, and what they mean as `explanation`. */
export function detailOf(error: HostelError, version: RoutedVersion, guest?: GuestError): Record<string, unknown> {
  const facts = guest ? { ...error.facts, guest } : error.facts
  return { explanation: explain(error, version, facts), ...facts }
}

function explain(error: HostelError, version: RoutedVersion, facts: Record<string, unknown>): string {
  const guest = facts['guest'] as GuestError | undefined
  const exit = facts['exit'] as SandboxExit | undefined
  if (guest) return `${whatGuest[error.code] ?? errorKinds[error.code].title}: ${describeGuestError(guest)}`
  if (error.code === 'deadline_exceeded')
    return `no answer within the timeout of ${version.timeoutMs} ms${facts['waitedFor'] === 'sandbox' ? ', all of it spent waiting for a sandbox' : ''}`
  if (exit) return explainExit(exit, version.memoryMiB)
  return typeof facts['rule'] === 'string' ? `${errorKinds[error.code].title.toLowerCase()}: ${facts['rule']}` : error.message
}

const whatGuest: { [K in ErrorCode]?: string } = {
  handler_error: 'the function threw',
  init_failed: 'the function failed to start',
  invalid_response: 'the function answered with something that is no HTTP answer',
}

/** `TypeError: x is not a function, at index.ts:3:7`. */
export function describeGuestError(guest: GuestError): string {
  const place = guest.file === undefined ? '' : `, at ${[guest.file, guest.line, guest.column].filter((part) => part !== undefined).join(':')}`
  return `${guest.name}: ${guest.message}${place}`
}

/** How a sandbox ended. */
export function explainExit(exit: SandboxExit, memoryMiB: number): string {
  const peak = exit.memoryPeakBytes === undefined ? '' : ` (highest use ${Math.round(exit.memoryPeakBytes / MiB)} MiB)`
  switch (exit.kind) {
    case 'oom':
      return `the sandbox needed more than its ${memoryMiB} MiB of memory${peak}, so the kernel ended it`
    case 'exit':
      return `the function's process ended with exit code ${exit.exitCode ?? 'unknown'}${peak}`
    case 'signal':
      return `the function's process was ended by ${exit.signal ?? 'a signal'}${peak}`
    case 'requested':
      return `Hostel ended the sandbox${peak}`
  }
}
