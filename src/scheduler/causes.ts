/** From what the kernel and the connection tell of a sandbox's end to the error that its requests get. */
import { HostelError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { SandboxExit } from '../keeper/messages.ts'
import type { ConnectionEnd } from '../sandbox/connection.ts'

/** In a word, for figures. */
export type EndKind = keyof typeof endReasons | 'protocol_violation' | 'fault' | 'out_of_memory' | 'exited' | 'killed' | 'lost'

/** Why we end a sandbox. `error` is for requests still in it, made once. */
export interface EndReason {
  kind: EndKind
  /** For the operator, and for `SandboxEnd.reason`. */
  text: string
  error: HostelError
  /** The function is to blame, and starting the same elsewhere would end alike. */
  ownFault: boolean
  /** The owner of the function in it is told, although it is not to blame. */
  tellOwner?: boolean
}

export interface Cause {
  kind: EndKind
  error: HostelError
  text: string
  ownFault: boolean
  tellOwner?: boolean
}

const neutral = (kind: EndKind, text: string): EndReason => ({ kind, text, error: new HostelError('sandbox_lost', text), ownFault: false })

/** Reasons that are ours, made fresh for each use since errors carry stacks. */
export const endReasons = {
  idle: (): EndReason => neutral('idle', 'it was idle for longer than it is kept'),
  evicted: (): EndReason => ({ ...neutral('evicted', 'it had nothing to do and its memory was needed elsewhere'), tellOwner: true }),
  pressed: (): EndReason => ({ ...neutral('pressed', 'it had nothing to do and the machine is short of memory'), tellOwner: true }),
  overQuota: (): EndReason => neutral('overQuota', "its tenant's quota left no room for it"),
  surplus: (): EndReason => neutral('surplus', 'there were more spares than needed'),
  retired: (): EndReason => neutral('retired', 'its version is no longer in use'),
  replaced: (): EndReason => neutral('replaced', 'it has answered as many requests as it may'),
  unknown: (): EndReason => neutral('unknown', 'no version that is known belongs to it'),
  keeper: (error: Error): EndReason => neutral('keeper', `it could not be made ready: ${error.message}`),
  frozen: (error: Error): EndReason => neutral('frozen', `it could not be thawed: ${error.message}`),
  stuck: (): EndReason => neutral('stuck', 'a request in it did not end after its deadline, although its event loop answered'),
  blocked: (): EndReason => ({
    kind: 'blocked',
    text: 'a request in it blocked its event loop beyond its deadline',
    error: new HostelError('sandbox_lost', 'another request in the same sandbox blocked it beyond its deadline'),
    ownFault: false,
  }),
  flooded: (): EndReason => ({
    kind: 'flooded',
    text: `it opened more than ${limits.egressConnectionsPerSecondMax} connections a second`,
    error: new HostelError('sandbox_lost', `the sandbox opened more than ${limits.egressConnectionsPerSecondMax} connections a second and was ended`),
    ownFault: true,
  }),
  stopping: (): EndReason => ({ kind: 'stopping', text: 'the server is stopping', error: new HostelError('shutting_down'), ownFault: false }),
  init: (error: HostelError): EndReason => ({
    kind: 'init',
    text: error.code === 'init_timeout' ? 'the function took too long to start' : 'the function failed to start',
    error,
    ownFault: true,
  }),
}

/** What ended it. `exit` is null when the keeper did not say in time; `initialised` is false while the function was being started. */
export function causeOf(facts: {
  reason: EndReason | null
  connection: ConnectionEnd | null
  exit: SandboxExit | null
  initialised: boolean
  memoryMiB: number
}): Cause {
  const { reason, connection, exit } = facts
  if (reason !== null) return reason
  if (connection?.kind === 'violation') {
    return {
      kind: 'protocol_violation',
      error: new HostelError('protocol_violation', undefined, { facts: { rule: connection.rule } }),
      text: `it broke the sandbox protocol: ${connection.rule}`,
      ownFault: true,
    }
  }
  if (connection?.kind === 'fault') {
    return {
      kind: 'fault',
      error: new HostelError('internal', undefined, { cause: connection.error }),
      text: `a fault of Hostel's: ${connection.error.message}`,
      ownFault: false,
    }
  }
  const kernel = exit === null ? {} : { exit: { ...exit }, memoryMiB: facts.memoryMiB }
  switch (exit?.kind) {
    case 'oom': {
      const text = `it used more than its ${facts.memoryMiB} MiB of memory${facts.initialised ? '' : ' while the function was being started'}`
      return { kind: 'out_of_memory', error: new HostelError('out_of_memory', undefined, { facts: kernel }), text, ownFault: true }
    }
    case 'exit':
      return died('exited', `its process ended with code ${exit.exitCode ?? 'unknown'}`)
    case 'signal':
      return died('killed', `its process was ended by ${exit.signal ?? 'a signal'}`)
    default:
      return {
        kind: 'lost',
        error: new HostelError('sandbox_lost', undefined, { facts: kernel }),
        text: exit === null ? 'its stream closed; nothing more is known' : 'it was ended',
        ownFault: false,
      }
  }

  function died(code: 'exited' | 'killed', text: string): Cause {
    if (facts.initialised) return { kind: code, error: new HostelError(code, undefined, { facts: kernel }), text, ownFault: true }
    return {
      kind: 'init',
      error: new HostelError('init_failed', `${text} before the function was loaded`, { facts: kernel }),
      text: `${text} before the function was loaded`,
      ownFault: true,
    }
  }
}
