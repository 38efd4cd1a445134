/** The words of the domain as types, shared by control and gateway. */
import type { MemoryClassMiB } from '../limits.ts'
import type { Contract } from '../sandbox/protocol.ts'

/** A version's configuration: with the code digest, all that makes it what it is. */
export interface VersionConfig {
  runtime: string
  /** `file` or `file:export`, relative to the code's root. */
  handler: string
  memoryMiB: MemoryClassMiB
  timeoutMs: number
  /** Requests that one sandbox may have in hand at once. */
  concurrency: number
  /** Who may call it: left out, anyone; `token`, whoever has a token with the scope `invoke` for its tenant. */
  auth?: 'token'
  env: Record<string, string>
  /** What its proxy door lets through, as `host:port` entries in their kept form (`egress/rules.ts`); none, and there is no proxy door. */
  egress: string[]
  /** Services it may reach by name, `NAME:PORT`, of those that the operator mapped. */
  services: string[]
  /** Environment variable → name of the tenant's secret that it gets the value of; left out when there are none. */
  secrets?: Record<string, string>
}

/** A version as the gateway needs it. Immutable. */
export interface RoutedVersion extends VersionConfig {
  tenant: string
  function: string
  /** 1, 2, 3 … within the function. */
  version: number
  /** SHA-256 of the unpacked code's canonical listing, lower-case hex; names its directory. */
  codeDigest: string
  /** Names the directory of code and installed dependencies together, where a build was needed: that is what its sandboxes get. */
  treeDigest?: string
  /** Known once it has been started for the first time. */
  contract: Contract | null
  /** For one with secrets: which values its `env` holds, so that a sandbox with others is known. Tells nothing about them. */
  secretsRevision?: string
}

/** A function as the gateway routes to it. */
export interface RoutedFunction {
  tenant: string
  name: string
  /** Alias name → version number. `live` is the default one. */
  aliases: Record<string, number>
  versions: RoutedVersion[]
}

/** What a token allows. `admin` is all of them, and `deploy` includes `read`. */
export type Scope = 'read' | 'deploy' | 'invoke' | 'admin'

/** What a tenant may have at most; null: no bound of its own. */
export interface Quotas {
  functions: number | null
  sandboxes: number | null
  /** Sum of the memory that its sandboxes may use. */
  memoryMiB: number | null
  requestsPerSecond: number | null
}

export interface TenantQuotas {
  tenant: string
  quotas: Quotas
}

/** A token that may call functions, as the gateway needs it. */
export interface InvokeToken {
  /** SHA-256 of the token, lower-case hex. */
  hash: string
  /** Null: all tenants. */
  tenant: string | null
  /** Null: never. */
  expiresAtMs: number | null
}

/** How a sandbox for an invocation was come by. */
export type StartKind = 'warm' | 'spare' | 'boot'

/** The record of one invocation, written once it has ended. Times in epoch milliseconds, durations in milliseconds with fractions. */
export interface InvocationRecord {
  /** UUIDv7. */
  id: string
  tenant: string
  function: string
  version: number
  /** Keeper's id of the sandbox; null when none was reached. */
  sandbox: number | null
  method: string
  /** Path and query as the function saw them, cut at 1,024 characters. */
  path: string
  /** Status the client got; 499 when it went away. */
  status: number
  /** `ok`, or the code from `errors.ts`. */
  outcome: string
  start: StartKind | null
  startedAtMs: number
  /** From admission to a free place in a sandbox. */
  acquireMs: number
  /** From there to the end of the answer. */
  forwardMs: number
  totalMs: number
  requestBytes: number
  responseBytes: number
  /** What explains an outcome other than `ok`: exit, limits, the function's error with file and line … */
  detail: Record<string, unknown> | null
}

/** One line of a function's log. */
export interface LogLine {
  tenant: string
  function: string
  version: number
  sandbox: number
  /** Null for lines written outside an invocation, or by a child process while several were running. */
  invocation: string | null
  /** Rises by one within a sandbox: order, and proof that nothing is missing. */
  sequence: number
  atMs: number
  /** `gap`: lines were dropped here; `system`: Hostel's own word on what happened to the sandbox. */
  level: 'stdout' | 'stderr' | 'debug' | 'info' | 'warn' | 'error' | 'gap' | 'system'
  text: string
}

/** One attempt to leave a sandbox through a door. */
export interface EgressRecord {
  /** UUIDv7. */
  id: string
  tenant: string
  function: string
  version: number
  sandbox: number
  /** The invocation, if only one was in the sandbox when it began. */
  invocation: string | null
  door: 'proxy' | 'service'
  /** `host:port` as it was asked for, cut at 300 characters. */
  target: string
  /** The address that was connected to or refused; null when none was found. */
  address: string | null
  /** `allowed`: a connection was made. `refused`: a rule or a limit said no. `failed`: it was not to be reached. */
  verdict: 'allowed' | 'refused' | 'failed'
  /** In words, for all but an allowed one that ended well. */
  reason: string | null
  startedAtMs: number
  /** Until connected; all of it when it never was. */
  connectMs: number
  /** Null while it is open: a connection that lasts is written once when it stands, and again when it is over. */
  totalMs: number | null
  /** From the guest, and to it. */
  sentBytes: number
  receivedBytes: number
}

/** A sandbox as `hostel sandboxes ls` shows it. */
export interface SandboxInfo {
  sandbox: number
  state: 'booting' | 'spare' | 'specialising' | 'busy' | 'idle' | 'frozen' | 'ending'
  runtime: string
  memoryMiB: number
  isolation: string
  tenant: string | null
  function: string | null
  version: number | null
  inFlight: number
  invocations: number
  startedAtMs: number
  memoryBytes: number | null
}
