/** The scheduler as its callers see it. */
import type { LogLine, RoutedVersion, SandboxInfo, StartKind, TenantQuotas } from '../functions/types.ts'
import type { SandboxExit } from '../keeper/messages.ts'
import type { Exchange, ExchangeSink, RequestHead } from '../sandbox/exchange.ts'
import type { Contract } from '../sandbox/protocol.ts'

/**
 * A place for one request in a sandbox. The scheduler takes it back by itself when the exchange has settled; only a caller
 * that starts no exchange gives it back, with `release`.
 */
export interface Lease {
  /** Keeper's id. May change until the answer's head, since what has not begun in a dying sandbox is started in another, once. */
  readonly sandbox: number
  /** How the sandbox was come by; may change likewise. */
  readonly start: StartKind
  /** Starts the exchange; once. */
  exchange(head: RequestHead, sink: ExchangeSink): Exchange
  /** The invocation has another deadline from here on: it has become a connection of its own, or that has ended. */
  extend(deadlineAtMs: number): void
  /** Writes Hostel's own word on this invocation into its log (`system`), also after its end. */
  note(text: string): void
  /** Gives an unused place back. Does nothing once an exchange has been started, or the second time. */
  release(): void
  [Symbol.dispose](): void
}

export interface AcquireOptions {
  /** Aborted when the client goes away while waiting. */
  signal: AbortSignal | undefined
  /** Time (`steadyNowMs`) at which the invocation is over, the wait included. */
  deadlineAtMs: number
}

export interface Scheduler {
  /**
   * A place in a sandbox of that version. Synchronous when a warm place is free: the hot path has no await.
   * @throws HostelError (also as a rejection) `too_many_requests` and `no_capacity` with retryAfterSeconds, `init_failed`,
   *   `init_timeout`, `deadline_exceeded`, `cancelled`, `shutting_down`, `unavailable`, `out_of_memory`, `exited`, `killed`, `protocol_violation`.
   */
  acquire(version: RoutedVersion, options: AcquireOptions): Lease | Promise<Lease>
  /**
   * Starts the version once, if it has no warm sandbox yet, to learn its contract; the sandbox stays warm.
   * @throws HostelError as `acquire`; `init_failed` has the guest's error as `facts.guest`.
   */
  prepare(version: RoutedVersion): Promise<{ contract: Contract; initMs: number }>
  /** The versions there are now, from the routing table, to be gone through more than once: decides which spares are kept ready, and which adopted sandboxes are known. */
  noteVersions(versions: Iterable<RoutedVersion>): void
  /** Sandboxes of this function get no new requests and end when their requests have, except those of the versions kept, with the secrets that these have. */
  retire(tenant: string, name: string, keep: readonly RoutedVersion[]): void
  /** All tenants with quotas; those for sandboxes and memory hold from now on. */
  setQuotas(tenants: readonly TenantQuotas[]): void
  /** Every sandbox, with memory as measured now. */
  list(): Promise<SandboxInfo[]>
  /** Whether a function could be started now: a sandbox is there, or the last attempt at booting one did not fail. */
  canServe(): boolean
  /** Refuses new requests, and ends every sandbox once its requests have ended or the time is up. */
  stop(withinMs: number): Promise<void>
}

/** What the scheduler tells of a sandbox that is gone. */
export interface SandboxEnd {
  info: SandboxInfo
  /** Null when the keeper did not say within its second. */
  exit: SandboxExit | null
  /** In words: why it ended, or why we ended it. */
  reason: string
}

export interface SchedulerEvents {
  /** Every line a function writes, gap markers (with how many lines they stand for) and Hostel's own words (`system`) included. Must not throw. */
  onLog(line: LogLine, dropped: number): void
  /** A sandbox is gone, spares included. Must not throw. */
  onSandboxEnd(end: SandboxEnd): void
}
