/**
 * Every limit of Hostel in one place, each with where its number comes from.
 * Units stand last in the names. Nothing here is tuned at run time; what an
 * operator may change is in `settings.ts`, with these as defaults and bounds.
 */

const KiB = 1024
const MiB = 1024 * KiB

/** Memory classes in MiB: what a version may ask for, and part of the key of a pool of spares. */
export const MEMORY_CLASSES_MIB = [128, 256, 512, 1024, 2048, 4096] as const

/** A memory class, in MiB. */
export type MemoryClassMiB = (typeof MEMORY_CLASSES_MIB)[number]

export const limits = {
  // Names: DNS labels (RFC 1035), since each function is an origin of its own.
  nameMaxChars: 63,

  // HTTP edge.
  /** Bytes of request line and headers; above Node's 16 KiB default since large cookies are common. */
  requestHeadMaxBytes: 32 * KiB,
  /** Fields in a request head. */
  requestHeadMaxFields: 200,
  /** Bytes of a request target. */
  requestUrlMaxBytes: 8 * KiB,
  /** Bytes of a request body. */
  requestBodyMaxBytes: 1024 * MiB,
  /** Bytes of a response head as the guest sends it. */
  responseHeadMaxBytes: 64 * KiB,
  /** Fields in a response head. */
  responseHeadMaxFields: 200,
  /** Bytes of a response body. */
  responseBodyMaxBytes: 1024 * MiB,
  /** Client connections at once; half of the 20,000 open files that a process may have on the target machine, the rest being sandboxes' streams. */
  connectionsMax: 10_000,
  /** Requests in hand on one connection (pipelining). */
  pipelinedRequestsMax: 16,
  /** From a connection's first byte of a request to the end of its head: ends slow senders. */
  requestHeadTimeoutMs: 20_000,
  /** A connection without a request is closed after this long; above the 60 s that load balancers keep theirs, so that they close first. */
  connectionIdleTimeoutMs: 75_000,
  /** How long the rest of a request body is read and thrown away after an early answer, so that the client can read that answer. */
  lingerMs: 2_000,
  /** HTTP/2: streams of one session at once, memory of its queues, and streams that it may reset: so many at once, then so many a second. */
  http2StreamsMax: 100,
  http2SessionMaxMiB: 10,
  http2ResetsBurst: 200,
  http2ResetsPerSecond: 20,
  /** From a connection to the end of its TLS handshake. */
  tlsHandshakeTimeoutMs: 10_000,
  /** Clients whose request rates are kept in mind at once. */
  rateLimitClientsMax: 100_000,
  /** Bytes of the access log that wait for a slow disk before lines are dropped. */
  accessLogBufferBytes: 1 * MiB,
  /** A WebSocket connection over which nothing goes either way is closed after this long; the shims' own pings keep living ones. */
  webSocketIdleTimeoutMs: 300_000,
  /** However busy, a WebSocket connection is closed after this long: it holds a place in a sandbox, which could otherwise never be replaced. */
  webSocketMaxMs: 6 * 3_600_000,
  /** From our wish to close a WebSocket connection, or the client's end of it, to its end. */
  webSocketCloseGraceMs: 2_000,
  /** A gateway without a first routing table from control starts serving (and answers 503) after this long. */
  firstRoutesTimeoutMs: 5_000,

  /** Bytes of an event (a body that an event handler gets whole): six times AWS Lambda's 1 MiB asynchronous limit, its synchronous one. */
  eventMaxBytes: 6 * MiB,

  // Sandbox protocol (docs/reference/sandbox-protocol.md).
  /** Payload of one frame. */
  framePayloadMaxBytes: 64 * KiB,
  /** Body bytes a side may send on one stream before it is given more credit. */
  streamWindowBytes: 256 * KiB,
  /** Text of one log frame; longer lines are cut with a mark. */
  logLineMaxBytes: 16 * KiB,

  // Logs: what one sandbox may write before lines are dropped and a gap marker stands instead.
  logLinesPerSecond: 2_000,
  logBytesPerSecond: 1 * MiB,
  logLinesPerInvocation: 10_000,

  // Records and log lines on their way from gateway to control.
  /** Kept while control is away: about two minutes of a busy gateway, a few minutes of chatty functions. */
  reportsMaxRecords: 50_000,
  reportsMaxLogLines: 50_000,
  reportsMaxEgress: 20_000,
  reportsMaxLogBytes: 32 * MiB,
  /** In one batch, so that one answer (and one fsync) stays a matter of milliseconds. */
  batchMaxItems: 2_000,
  batchMaxLogBytes: 2 * MiB,
  /** From the first item to the batch it goes with. */
  batchDelayMs: 50,
  batchTimeoutMs: 10_000,
  /** After a batch that control did not take. */
  batchRetryMs: 1_000,

  // Functions.
  timeoutDefaultMs: 30_000,
  timeoutMaxMs: 900_000,
  concurrencyDefault: 10,
  concurrencyMax: 1_000,
  memoryDefaultMiB: 256,
  /** Entries of a version's environment, and bytes of names and values in all (the kernel's own bound for exec is 128 KiB a string). */
  envMaxEntries: 200,
  envMaxBytes: 32 * KiB,
  /** Uploaded archive, unpacked tree, and its entries. */
  codeArchiveMaxBytes: 64 * MiB,
  codeUnpackedMaxBytes: 256 * MiB,
  codeMaxEntries: 20_000,
  codePathMaxBytes: 1_024,
  /** Uploads at once, each up to the bounds above on disk; and how long one may take to unpack. */
  codeUploadsMax: 8,
  codeUnpackTimeoutMs: 60_000,

  /** Functions of one tenant, and versions of one function that are kept beyond those an alias needs: the gateway holds all in memory. */
  functionsPerTenantMax: 10_000,
  versionsPerFunctionMax: 50,
  /** Functions and bytes of one page of the routing table, on its way to the gateway: parsed in some ten milliseconds. */
  routesPageMaxFunctions: 500,
  routesPageMaxBytes: 1 * MiB,
  /** Steps that rollbacks of one function can go back: twice the versions that are kept, since each may have been live more than once. */
  liveHistoryMaxEntries: 100,
  /** Functions of one hostel.yaml, which are deployed one after the other. */
  manifestFunctionsMax: 1_000,

  // Tenants and tokens: the gateway holds quotas and hashes of all in memory.
  tenantsMax: 1_000,
  tokensPerTenantMax: 100,
  /** Longest life of a token that is to expire. */
  tokenLifeMaxMs: 10 * 365 * 24 * 3_600_000,
  // Secrets.
  secretsPerTenantMax: 1_000,
  /** Bytes of one value: a certificate chain with its key, and something left of an environment's bytes. */
  secretValueMaxBytes: 24 * KiB,

  // Backups.
  passphraseMaxChars: 1_024,

  // What control keeps.
  /** The audit log: kept this long, and never more entries; characters of what an entry tells of before and after. */
  auditKeepMs: 365 * 24 * 3_600_000,
  auditMaxEntries: 100_000,
  auditValueMaxChars: 8 * KiB,
  /** Invocation records and log lines are kept this long, unless the operator says otherwise. */
  recordsKeepMs: 7 * 24 * 3_600_000,
  /** They lie in segments of this size and age at most, since forgetting is deleting a segment. */
  segmentMaxBytes: 64 * MiB,
  segmentMaxMs: 6 * 3_600_000,
  /** Code that no version needs goes after this long: uploads wait for their deploy, sandboxes of deleted functions finish. */
  codeUnusedKeepMs: 3_600_000,
  /** Readers that follow logs at once, and bytes that wait for a slow one before lines are dropped for it. */
  logFollowersMax: 100,
  logFollowerBufferBytes: 1 * MiB,

  // Sandboxes.
  /** Slots of 65,536 user ids each from `uidBase` up: 0x70000000–0x7fffffff. */
  sandboxSlots: 4_096,
  uidBase: 0x7000_0000,
  uidsPerSlot: 65_536,
  /** Processes and threads in a sandbox; Node alone needs about 12. */
  pidsMax: 128,
  openFilesMax: 1_024,
  tmpInodesMax: 16_384,
  /** Of large memory classes more: builds install tens of thousands of files. Each takes about 1 KiB of that memory. */
  tmpInodesPerMiB: 32,
  /** From the start of boot to READY. */
  bootTimeoutMs: 10_000,
  /** From SPECIALISE to SPECIALISED. */
  initTimeoutMs: 30_000,
  /** SIGTERM to SIGKILL. */
  endGraceMs: 500,
  /** After CANCEL: how long a handler has to settle before the sandbox is suspected. */
  cancelGraceMs: 500,
  /** Unanswered PING after which an event loop counts as blocked. */
  pingTimeoutMs: 500,

  // Builds of dependencies.
  buildTimeoutMs: 600_000,
  /** Manifests, and the code where packages of its own are installed, packed: below what an event handler gets, which the builder for Python is. */
  buildSourceMaxBytes: 4 * MiB,
  /** Of one build's log, beyond which the rest is left out; and characters of a line. */
  buildLogMaxBytes: 1 * MiB,
  buildLogMaxLines: 10_000,
  buildLineMaxChars: 2_000,
  /** Each takes up to 2 GiB of the sandboxes' memory and a core or two; of one tenant one at a time. */
  buildsAtOnceMax: 2,
  buildsWaitingMax: 20,
  /** Installed dependencies that are kept for the next deploy; the least lately used go first. */
  buildCacheMaxBytes: 4_096 * MiB,
  buildCachePerTenantMaxBytes: 1_024 * MiB,

  // Egress doors.
  /** Entries of a version's egress list, and services that it may name: each service is a listening socket in every sandbox of it. */
  egressRulesMax: 100,
  servicesPerVersionMax: 16,
  /** Connections through doors at once: of one sandbox, of one function, and of the gateway, each costing it two descriptors. */
  egressConnectionsPerSandboxMax: 256,
  egressConnectionsPerFunctionMax: 1_000,
  egressConnectionsMax: 3_000,
  /** Connections that one sandbox opens within a second, beyond which it is ended: each costs the gateway time, however fast it is refused. */
  egressConnectionsPerSecondMax: 1_000,
  /** Attempts of one sandbox within a second that are recorded one by one; those beyond are counted in one record. */
  egressRecordsPerSecondMax: 200,
  /** Bytes of a request head to the proxy, and the time for it. */
  egressHeadMaxBytes: 16 * KiB,
  egressHeadTimeoutMs: 10_000,
  /** From a target to a connection: looking up its name and trying its addresses. */
  egressConnectTimeoutMs: 10_000,
  /** Nothing either way for so long ends a connection; as long as an invocation may take, so that pools of idle sandboxes live. */
  egressIdleTimeoutMs: 900_000,
  /** The same once one side has ended its half. */
  egressHalfClosedTimeoutMs: 60_000,
  /** However busy, a connection ends after this long, and after so many bytes both ways. */
  egressConnectionMaxMs: 6 * 3_600_000,
  egressConnectionMaxBytes: 16 * 1024 * MiB,

  // Figures.
  /** Functions that `/metrics` tells apart; the rest are counted together. Each costs about 20 series. */
  metricsFunctionsMax: 200,
  /** One that was called for so long no more makes room for another. */
  metricsFunctionSilentMs: 3_600_000,
  /** Traced invocations that wait to be sent, about 1 KiB each; how many go in one batch, how long they gather, and how long the collector has for them. */
  traceQueueMax: 5_000,
  traceBatchMax: 500,
  traceDelayMs: 1_000,
  traceTimeoutMs: 5_000,

  // Scheduler.
  /** Requests waiting for one version, beyond those running. */
  queueMaxRequests: 1_000,
  /** Longest wait in that queue. */
  queueMaxWaitMs: 10_000,
  /** Sandboxes of one version at once. */
  sandboxesPerVersionMax: 100,
  keepWarmDefaultMs: 600_000,
  /** Sandboxes in a row that a function's own process ended before their second request, beyond which the next start waits: 1 s, 2 s, … 60 s. */
  crashesInARowMax: 8,
  /** How often the machine's available memory is looked at, and how long it must be enough again before new sandboxes are started. */
  memoryWatchEveryMs: 500,
  memoryCalmMs: 3_000,
  /** Sandboxes ended at one look when the machine is short of memory. */
  memoryEvictionsAtOnceMax: 16,
  /** A warm sandbox without work is frozen after this long, so that nobody computes for free. */
  freezeAfterIdleMs: 200,
} as const
