/**
 * What gateway and control may say to the keeper, and what it answers: ids and bounded numbers, never a path, an argv or
 * an OCI document. Sent as JSON over what is Node's IPC channel at the child's end (`channel.native.ts`). The keeper checks every field with `parseGatewayMessage` before use;
 * a message that does not fit is answered with `failed` (when it has a usable `req`) and logged.
 */
import type { MemoryClassMiB } from '../limits.ts'
import type { MetricSample } from '../telemetry/catalogue.ts'

/** How strong a sandbox's wall is. */
export type Isolation = 'namespace'

/** What must be right before a sandbox boots; the key of a pool of spares is `spareClassKey`. */
export interface SpareClass {
  /** Name of an installed runtime. */
  runtime: string
  memoryMiB: MemoryClassMiB
  isolation: Isolation
}

/** Why a sandbox is no more, read from the kernel, never guessed. */
export interface SandboxExit {
  /** `requested`: we ended it. `oom`: the kernel counted an out-of-memory kill in its cgroup. */
  kind: 'exit' | 'signal' | 'oom' | 'requested'
  exitCode?: number
  /** Name, such as `SIGSEGV`. */
  signal?: string
  oomKills: number
  /** Highest memory use of the sandbox, in bytes; undefined where the kernel does not tell. */
  memoryPeakBytes?: number
  lifetimeMs: number
}

/** The doors of one sandbox. Where they lead is not the keeper's to know. */
export interface Doors {
  /** A listener for the egress proxy. */
  proxy: boolean
  /** Listeners for named services: a DNS name in lower case and a port; at most `limits.servicesPerVersionMax`. */
  services: { name: string; port: number }[]
}

export type ToKeeper =
  /** Boot a spare. Answer: three `handed` (with handles), then `done`; or `failed`. */
  | { type: 'boot'; req: number; spareClass: SpareClass }
  /**
   * Make a spare a version's: mount that code (`sha256` in lower-case hex, in control's part of the data directory)
   * at /code and a fresh /tmp, and raise its CPU weight. Once in a sandbox's life. `label` comes back in `adopt`
   * (at most 400 printable ASCII characters). `doors` are opened too: a `handed` with a listener for each, the proxy's first,
   * then the services' in order. Answer: `done` or `failed`.
   */
  | { type: 'specialise'; req: number; sandbox: number; codeDigest: string; label: string; doors?: Doors }
  /** Stop or resume all its processes. Answer: `done` or `failed`. Idempotent. */
  | { type: 'freeze'; req: number; sandbox: number }
  | { type: 'thaw'; req: number; sandbox: number }
  /** End it: SIGTERM, grace, kill. `exited` follows when it is gone. Ending an unknown or ending sandbox is no error. */
  | { type: 'end'; sandbox: number; graceMs: number }
  /** Memory use now of every sandbox. Answer: `usage`. */
  | { type: 'usage'; req: number }
  /** Once, from gateway and control: it serves now. */
  | { type: 'ready' }

export type FromKeeper =
  /** First message to a child. */
  | { type: 'start'; settings: ChildSettings }
  /** One descriptor of a booting sandbox, as an IPC handle (a paused net.Socket). stdout and stderr carry what bypasses the shim. */
  | { type: 'handed'; req: number; sandbox: number; part: 'stream' | 'stdout' | 'stderr' }
  /** A listening socket of a sandbox's doors, as an IPC handle (a net.Server). */
  | { type: 'handed'; req: number; sandbox: number; part: 'door' }
  | { type: 'done'; req: number; sandbox?: number }
  | {
      type: 'failed'
      req: number
      code: 'invalid' | 'unknown_sandbox' | 'unknown_runtime' | 'unknown_code' | 'no_slot' | 'boot_failed' | 'stopping' | 'system'
      message: string
    }
  | { type: 'exited'; sandbox: number; exit: SandboxExit }
  | { type: 'usage'; req: number; sandboxes: { sandbox: number; memoryBytes: number }[] }
  /** To a new gateway: an idle sandbox that outlived the one before; handles follow as `handed` with req 0, its stream being the second one. */
  | { type: 'adopt'; sandbox: number; spareClass: SpareClass; label: string | null; handles: number }
  /** With a handle: the stream between gateway and control. Again whenever the other side is new. */
  | { type: 'link' }
  /** To control, every few seconds: the keeper's own figures. */
  | { type: 'metrics'; samples: MetricSample[] }
  /** To the gateway, after `start` and whenever the files have changed: certificates with their keys, as PEM. */
  | { type: 'certificates'; pairs: CertificatePair[] }
  /** Drain and exit within so many milliseconds. */
  | { type: 'stop'; withinMs: number }

/** A service that functions may name, and where it is. */
export interface ServiceMapping {
  /** A DNS name in lower case, and the port at which functions find it. */
  name: string
  port: number
  target: { host: string; port: number }
}

/** PEM texts; the certificate with its chain. */
export interface CertificatePair {
  certificate: string
  key: string
}

/** For the gateway: its edge towards the internet. */
export interface EdgeSettings {
  /** For display; the listening socket is inherited as fd 5. Null for no TLS. */
  tlsAddress: string | null
  trustedProxies: string[]
  clientRequestsPerSecond: number | null
  /** Inherited as fd 6, if there is one. */
  accessLog: 'combined' | 'json' | null
}

/** What gateway and control get at start. Addresses are only for display: the listening socket is inherited as fd 4. */
export interface ChildSettings {
  /** Its own part of the data directory, as it sees it. */
  dataDir: string
  runtimes: RuntimeInfo[]
  gatewayAddress: string
  apiAddress: string
  domain: string
  keepWarmMs: number
  /** Memory that sandboxes may use in all. */
  memoryBudgetMiB: number
  maxSandboxes: number
  /** Services that versions may name. */
  services: ServiceMapping[]
  /** For the gateway: what egress may reach beside public addresses, and whom it asks for names. */
  egressAllow: string[]
  egressDns: string[]
  /** Memory of the machine that is to stay available. */
  memoryReserveMiB: number
  /** Where traces go; null: nowhere. And what share of invocations begins one. */
  otlp: string | null
  traceRatio: number
  edge?: EdgeSettings
  /** Control only: what is kept of records and log lines; bytes in all and of one tenant. */
  retention: { keepMs: number; maxBytes: number; tenantMaxBytes: number }
  /** For control: URLs of the package registries that builds install from. */
  registries: { npm: string; pip: string }
  /** Control only: the administrator's token in clear, of which it stores the hash. */
  adminToken?: string
}

export interface RuntimeInfo {
  name: string
  /** Language version, e.g. `24.21.0`. */
  version: string
  /** Changes with how it is made. */
  digest?: string
  /** File extensions and file names looked for when no handler is given, best first, e.g. `index.ts`. */
  entryFiles: string[]
}
