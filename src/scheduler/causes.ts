/** From what the kernel and the connection tell of a sandbox's end to the error that its requests get. */
import { HostelError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { SandboxExit } from '../keeper/messages.ts'
import type { ConnectionEnd } from '../sandbox/connection.ts'

/** Why we end a sandbox. `error` is for requests still in it, made once. */
export interface EndReason {
  /** For the operator, and for `SandboxEnd.reason`. */
  text: string
  error: HostelError
  /** The function is to blame, and starting the same elsewhere would end alike. */
  ownFault: boolean
}

export interface Cause {
  error: HostelError
  text: string
  ownFault: boolean
}

const neutral = (text: string): EndReason => ({ text, error: new HostelError('sandbox_lost', text), ownFault: false })

/** Reasons that are ours, made fresh for each use since errors carry stacks. */
export const endReasons = {
  idle: () => neutral('it was idle for longer than it is kept'),
  evicted: () => neutral('its memory was needed elsewhere'),
  surplus: () => neutral('there were more spares than needed'),
  retired: () => neutral('its version is no longer in use'),
  replaced: () => neutral('it has answered as many requests as it may'),
  unknown: () => neutral('no version that is known belongs to it'),
  keeper: (error: Error) => neutral(`it could not be made ready: ${error.message}`),
  frozen: (error: Error) => neutral(`it could not be thawed: ${error.message}`),
  stuck: () => neutral('a request in it did not end after its deadline, although its event loop answered'),
  blocked: (): EndReason => ({
    text: 'a request in it blocked its event loop beyond its deadline',
    error: new HostelError('sandbox_lost', 'another request in the same sandbox blocked it beyond its deadline'),
    ownFault: false,
  }),
  stopping: (): EndReason => ({ text: 'the server is stopping', error: new HostelError('shutting_down'), ownFault: false }),
  flooded: (): EndReason => ({
    text: `it opened more than ${limits.egressConnectionsPerSecondMax} connections a second`,
    error: new HostelError('sandbox_lost', `the sandbox opened more than ${limits.egressConnectionsPerSecondMax} connections a second and was ended`),
    ownFault: true,
  }),
  init: (error: HostelError): EndReason => ({
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
      error: new HostelError('protocol_violation', undefined, { facts: { rule: connection.rule } }),
      text: `it broke the sandbox protocol: ${connection.rule}`,
      ownFault: true,
    }
  }
  if (connection?.kind === 'fault') {
    return {
      error: new HostelError('internal', undefined, { cause: connection.error }),
      text: `a fault of Hostel's: ${connection.error.message}`,
      ownFault: false,
    }
  }
  const kernel = exit === null ? {} : { exit: { ...exit }, memoryMiB: facts.memoryMiB }
  switch (exit?.kind) {
    case 'oom': {
      const text = `it used more than its ${facts.memoryMiB} MiB of memory${facts.initialised ? '' : ' while the function was being started'}`
      return { error: new HostelError('out_of_memory', undefined, { facts: kernel }), text, ownFault: true }
    }
    case 'exit':
      return died('exited', `its process ended with code ${exit.exitCode ?? 'unknown'}`)
    case 'signal':
      return died('killed', `its process was ended by ${exit.signal ?? 'a signal'}`)
    default:
      return {
        error: new HostelError('sandbox_lost', undefined, { facts: kernel }),
        text: exit === null ? 'its stream closed; nothing more is known' : 'it was ended',
        ownFault: false,
      }
  }

  function died(code: 'exited' | 'killed', text: string): Cause {
    if (facts.initialised) return { error: new HostelError(code, undefined, { facts: kernel }), text, ownFault: true }
    return {
      error: new HostelError('init_failed', `${text} before the function was loaded`, { facts: kernel }),
      text: `${text} before the function was loaded`,
      ownFault: true,
    }
  }
}
