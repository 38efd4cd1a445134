/** The gateway's end of the channel to the keeper: typed requests and answers, and the three descriptors of a boot. */
import type { Socket } from 'node:net'

import type { FromKeeper, SandboxExit, SpareClass, ToKeeper } from '../keeper/messages.ts'

/** What a channel must do; `process` in the gateway. */
export interface KeeperChannel {
  send(message: ToKeeper): void
}

/** A sandbox with its three descriptors, all paused. */
export interface HandedSandbox {
  sandbox: number
  stream: Socket
  stdout: Socket
  stderr: Socket
}

/** A sandbox that outlived the gateway before. */
export interface AdoptedSandbox extends HandedSandbox {
  spareClass: SpareClass
  label: string | null
}

/** Calls fail with HostelError `unavailable`, `no_capacity`, `shutting_down` or `internal`; each has a deadline of its own. */
export interface KeeperClient {
  boot(spareClass: SpareClass): Promise<HandedSandbox>
  specialise(sandbox: number, codeDigest: string, label: string): Promise<void>
  freeze(sandbox: number): Promise<void>
  thaw(sandbox: number): Promise<void>
  end(sandbox: number, graceMs: number): void
  /** Bytes in use by sandbox. */
  usage(): Promise<Map<number, number>>
  /** Set by the scheduler. */
  onExited: (sandbox: number, exit: SandboxExit) => void
  /** Set by the scheduler; adopted sandboxes that arrive before are kept for it. */
  onAdopt: (adopted: AdoptedSandbox) => void
  /** Feed every message of the channel here; false: not one for this client (`start`, `link`, `stop` are the composition root's). */
  receive(message: FromKeeper, handle?: unknown): boolean
}
