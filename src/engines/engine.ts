/**
 * What makes sandboxes. One interface for every engine; `test/conformance/engine/` is its specification in tests.
 * An engine is used by the keeper alone and trusts its caller; what comes from the gateway has been checked before.
 */
import type { Doors, SandboxExit } from '../keeper/messages.ts'
import type { MemoryClassMiB } from '../limits.ts'

/** The host's ends of a booted sandbox as raw descriptors, close-on-exec. Whoever gets them closes them. */
export interface SandboxEnds {
  /** The guest's fd 3: the sandbox protocol. */
  stream: number
  /** The guest's fd 4: a second stream, for when the holder of the first has died. */
  secondStream: number
  /** Read ends of what bypasses the shim. */
  stdout: number
  stderr: number
}

export interface BootRequest {
  /** The caller's number for the sandbox, never used twice in the engine's life. */
  sandbox: number
  runtime: string
  memoryMiB: MemoryClassMiB
}

/** Why an engine could not do what was asked. */
export type EngineFailure = 'unknown_runtime' | 'unknown_sandbox' | 'unknown_code' | 'no_slot' | 'boot_failed' | 'stopping' | 'system'

/** An expected failure; `message` is for the operator. */
export class EngineError extends Error {
  readonly failure: EngineFailure
  constructor(failure: EngineFailure, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'EngineError'
    this.failure = failure
  }
}

export interface Engine extends AsyncDisposable {
  /**
   * Boots a spare at low CPU weight: all that needs no version is there when it resolves, the shim may still be starting.
   * @throws EngineError; nothing is left behind then.
   */
  boot(request: BootRequest): Promise<SandboxEnds>
  /** Mounts the code at /code and a fresh /tmp, and raises the CPU weight. Once in a sandbox's life. */
  specialise(sandbox: number, codeDigest: string): Promise<void>
  /**
   * Opens listening sockets inside its network, and gives the services' names addresses there; before any of its code runs.
   * Raw descriptors, close-on-exec, the caller's: the proxy's first, then the services' in order.
   */
  openDoors(sandbox: number, doors: Doors): Promise<number[]>
  /** Stops all its processes; resolves when they stand still. Idempotent. */
  freeze(sandbox: number): Promise<void>
  thaw(sandbox: number): Promise<void>
  /** SIGTERM, `graceMs`, SIGKILL; 0 kills at once. Resolves when nothing of it is left. An unknown one is no error. */
  end(sandbox: number, graceMs: number): Promise<void>
  /** Memory charged to each sandbox now, in bytes. */
  usage(): Promise<{ sandbox: number; memoryBytes: number }[]>
  /** Called once for each booted sandbox, as soon as its cause is known; all its processes are gone by then. */
  onExit: (sandbox: number, exit: SandboxExit) => void
}
