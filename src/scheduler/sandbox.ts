/**
 * One sandbox from the moment the keeper has handed it over to its last word: its connection, its output, its state, and the
 * gathering of what is known when it dies. Who may use it is decided elsewhere.
 */
import type { Server, Socket } from 'node:net'

import type { HostelError } from '../errors.ts'
import type { LogLine, RoutedVersion, SandboxInfo, StartKind } from '../functions/types.ts'
import type { SandboxExit, SpareClass } from '../keeper/messages.ts'
import { Connection } from '../sandbox/connection.ts'
import type { Abandoned, ConnectionEnd } from '../sandbox/connection.ts'
import { createLineSplitter } from '../sandbox/lines.ts'
import { createLogIntake, FLOOD_PAUSE_MS } from '../sandbox/log-intake.ts'
import type { LogIntake } from '../sandbox/log-intake.ts'
import type { Contract, GuestError } from '../sandbox/protocol.ts'
import { steadyNowMs } from '../telemetry/clock.ts'
import { causeOf } from './causes.ts'
import type { Cause, EndReason } from './causes.ts'
import type { HandedSandbox } from './keeper.ts'
import type { VersionPool } from './pool.ts'

export interface SandboxHandlers {
  onLog(line: LogLine, dropped: number): void
  /** Output of a sandbox that is no version's: for the server's own log. */
  onSpareOutput(sandbox: Sandbox, text: string): void
  specialised(sandbox: Sandbox): void
  initFailed(sandbox: Sandbox, error: GuestError): void
  /** It can take no more requests. Exactly once, first. */
  leaving(sandbox: Sandbox): void
  /** What was running in it is lost, and why is known. Exactly once. */
  lost(sandbox: Sandbox, cause: Cause, abandoned: Abandoned[]): void
  /** All is known that will be. Exactly once, last. */
  dead(sandbox: Sandbox, cause: Cause): void
}

/** From the first sign of an end: how long the kernel's account, last output and last frames are waited for. */
const ACCOUNT_TIMEOUT_MS = 1_000

export class Sandbox {
  readonly id: number
  readonly spareClass: SpareClass
  readonly startedAtMs = Date.now()
  readonly connection: Connection
  readonly logs: LogIntake
  state: 'booting' | 'spare' | 'specialising' | 'warm' | 'ending' = 'booting'
  version: RoutedVersion | null = null
  pool: VersionPool | null = null
  contract: Contract | null = null
  start: StartKind = 'spare'
  /** When SPECIALISE was sent (by `performance.now()`), and how long the function took to start. */
  specialiseAtMs = 0
  specialisedAtEpochMs = 0
  initMs = 0
  /** Places that were given back by a request that had settled. */
  settled = 0
  /** Places taken, and invocations that are over. */
  inFlight = 0
  invocations = 0
  idleSinceMs = steadyNowMs()
  frozen = false
  /** A thaw on its way; places may be taken, but are used only after it. */
  thawing: Promise<void> | null = null
  /** A freeze that the keeper has not answered yet. */
  freezing: Promise<void> | null = null
  /** Takes no more requests, and ends when those in it have. */
  draining: EndReason | null = null
  /** Requests in it that did not settle after their deadline. */
  stuck = 0
  memoryBytes: number | null = null
  /** Listeners of its doors as the gateway before left them, and its doors once they are served. */
  listeners: Server[] = []
  doors: { close(): void } | null = null
  /** What the budget counts for it. */
  chargedMiB = 0
  exit: SandboxExit | null = null
  /** Epoch milliseconds since when it has been ending. */
  endingSinceMs = 0
  private reason: EndReason | null = null
  private connectionEnd: ConnectionEnd | null = null
  /** Called once when it has been started, or with the error when it will never be. */
  readonly initWaiters: ((error: HostelError | null) => void)[] = []
  private readonly pipes: Socket[] = []
  private openPipes = 0
  private accountTimer: NodeJS.Timeout | null = null
  private isLost = false
  private isDead = false
  private readonly handlers: SandboxHandlers

  constructor(handed: HandedSandbox, spareClass: SpareClass, handlers: SandboxHandlers, options: { adopted?: boolean } = {}) {
    this.id = handed.sandbox
    this.spareClass = spareClass
    this.handlers = handlers
    this.logs = createLogIntake((line, dropped) => {
      const { version } = this
      if (version === null) handlers.onSpareOutput(this, line.text)
      else handlers.onLog({ tenant: version.tenant, function: version.function, version: version.version, sandbox: this.id, ...line }, dropped)
    })
    this.connection = new Connection(
      handed.stream,
      {
        specialised: (contract) => {
          this.contract = contract
          this.initMs = performance.now() - this.specialiseAtMs
          if (this.state === 'specialising') this.state = 'warm'
          handlers.specialised(this)
          this.tellInit(null)
        },
        initFailed: (error) => handlers.initFailed(this, error),
        log: (level, owner, text) => this.logs.add(level, owner, text),
        settled: (owner) => this.logs.ownerDone(owner),
        closed: (end) => {
          this.connectionEnd = end
          this.leave()
          // What is known is told at once; only an unexplained end waits for the kernel's account.
          if (end.kind === 'violation' || end.kind === 'fault') this.lose()
          this.dieIfAccounted()
        },
      },
      options,
    )
    this.collect(handed.stdout, 'stdout')
    this.collect(handed.stderr, 'stderr')
  }

  /** Whether it was started: whatever comes now is not the start's fault. */
  get initialised(): boolean {
    return this.contract !== null
  }

  /** No request holds a place in it. */
  get isIdle(): boolean {
    return this.state === 'warm' && this.inFlight === 0 && this.draining === null
  }

  /** Notes why it is being ended, once; the requests in it get that reason's error at once. The caller tells the keeper. */
  leaveFor(reason: EndReason): void {
    if (this.state !== 'ending') this.reason = reason
    this.leave()
    if (this.reason !== null) this.lose()
  }

  /** What ended it, as far as it is known. */
  get broken(): boolean {
    return this.connectionEnd?.kind === 'violation' || this.connectionEnd?.kind === 'fault'
  }

  /** The keeper's account of its end. */
  exited(exit: SandboxExit): void {
    this.exit = exit
    this.leave()
    this.dieIfAccounted()
  }

  info(): SandboxInfo {
    const { version } = this
    return {
      sandbox: this.id,
      state: this.visibleState,
      runtime: this.spareClass.runtime,
      memoryMiB: this.spareClass.memoryMiB,
      isolation: this.spareClass.isolation,
      tenant: version?.tenant ?? null,
      function: version?.function ?? null,
      version: version?.version ?? null,
      inFlight: this.inFlight,
      invocations: this.invocations,
      startedAtMs: this.startedAtMs,
      memoryBytes: this.memoryBytes,
    }
  }

  get visibleState(): SandboxInfo['state'] {
    if (this.state !== 'warm') return this.state
    if (this.inFlight > 0) return 'busy'
    return this.frozen ? 'frozen' : 'idle'
  }

  private leave(): void {
    if (this.state === 'ending') return
    this.state = 'ending'
    this.endingSinceMs = steadyNowMs()
    this.accountTimer = setTimeout(() => this.die(), ACCOUNT_TIMEOUT_MS)
    this.handlers.leaving(this)
  }

  private dieIfAccounted(): void {
    if (this.exit !== null && this.connectionEnd !== null && this.openPipes === 0) this.die()
  }

  private cause(): Cause {
    const { reason, exit, initialised } = this
    return causeOf({ reason, connection: this.connectionEnd, exit, initialised, memoryMiB: this.spareClass.memoryMiB })
  }

  private lose(): void {
    if (this.isLost) return
    this.isLost = true
    const cause = this.cause()
    this.connection.close()
    if ((cause.ownFault || cause.tellOwner) && this.version !== null) this.logs.system(`The sandbox ended: ${cause.text}`)
    this.tellInit(cause.error)
    this.handlers.lost(this, cause, this.connection.abandon())
  }

  private die(): void {
    if (this.isDead) return
    this.isDead = true
    clearTimeout(this.accountTimer ?? undefined)
    const cause = this.cause()
    this.lose()
    for (const pipe of this.pipes) pipe.destroy()
    this.logs.close()
    this.doors?.close()
    for (const listener of this.listeners) listener.close()
    this.handlers.dead(this, cause)
  }

  private tellInit(error: HostelError | null): void {
    for (const tell of this.initWaiters.splice(0)) tell(error)
  }

  /** Reads what bypasses the shim, line by line; a line belongs to the request that runs, if it is the only one. */
  private collect(pipe: Socket, level: 'stdout' | 'stderr'): void {
    let reading = true
    const splitter = createLineSplitter(
      (line) => {
        if (!this.logs.add(level, this.connection.soleRunning, line)) reading = false
      },
      (bytes) => {
        if (!this.logs.passOver(bytes)) reading = false
      },
    )
    this.openPipes++
    this.pipes.push(pipe)
    pipe.on('data', (chunk: Buffer) => {
      reading = true
      splitter.push(chunk)
      if (reading) return
      pipe.pause()
      setTimeout(() => pipe.resume(), FLOOD_PAUSE_MS)
    })
    pipe.on('error', () => {})
    pipe.on('end', () => pipe.destroy())
    pipe.once('close', () => {
      splitter.end()
      this.openPipes--
      if (this.state === 'ending') this.dieIfAccounted()
    })
    pipe.resume()
  }
}
