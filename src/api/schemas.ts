/**
 * The shapes of the control API: what requests take and answers give, as TypeBox schemas that also make the OpenAPI document.
 * Times are epoch milliseconds. A schema's `description` completes the sentence "FIELD takes …" in error messages.
 */
import { Type } from 'typebox'
import type { Static } from 'typebox'

import { EGRESS_TAKES } from '../egress/rules.ts'
import { errorKinds } from '../errors.ts'
import { NAME_PATTERN, NAME_TAKES } from '../functions/names.ts'
import { limits, MEMORY_CLASSES_MIB } from '../limits.ts'

export const exact = { additionalProperties: false } as const

/** How many items a list gives when `limit` is not set, and at most. */
export const pageDefault = 100
export const pageMax = 1_000
export const logPageDefault = 1_000
export const logPageMax = 10_000

// Pieces.
export const Name = Type.String({ pattern: NAME_PATTERN, description: NAME_TAKES })
export const Digest = Type.String({
  pattern: '^[0-9a-f]{64}$',
  description: 'a code digest as the upload of code answers it: 64 lower-case hexadecimal digits',
})
export const InvocationId = Type.String({
  pattern: '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$',
  description: 'an invocation id: a UUIDv7 in lower case',
})
const EgressId = Type.String({
  pattern: '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$',
  description: 'the id of an attempt: a UUIDv7 in lower case',
})
export const TimeMs = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER, description: 'a time in epoch milliseconds' })
export const Limit = (max: number, fallback: number) =>
  Type.Optional(Type.Integer({ minimum: 1, maximum: max, description: `a whole number from 1 to ${max}; ${fallback} when left out` }))

// Requests.
export const TenantParams = Type.Object({ tenant: Name }, exact)
export const FunctionParams = Type.Object({ tenant: Name, name: Name }, exact)
export const InvocationParams = Type.Object({ tenant: Name, id: InvocationId }, exact)

const SECRET_NAME_PATTERN = '^[A-Za-z_][A-Za-z0-9_]{0,127}$'
const SecretName = Type.String({
  pattern: SECRET_NAME_PATTERN,
  description: "a secret's name: up to 128 letters, digits and underscores that start with no digit, such as DATABASE_URL",
})
export const SecretParams = Type.Object({ tenant: Name, name: SecretName }, exact)
export const NewSecret = Type.Object(
  { value: Type.String({ writeOnly: true, description: `a text of 1 to ${limits.secretValueMaxBytes} bytes of UTF-8 without NUL characters` }) },
  exact,
)
export const NewBackup = Type.Object(
  {
    logs: Type.Optional(Type.Boolean({ description: 'true or false: whether invocation records and logs are part of it; true when left out' })),
    passphrase: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: limits.passphraseMaxChars,
        writeOnly: true,
        description: `a passphrase of at most ${limits.passphraseMaxChars} characters that seals the keys of secrets`,
      }),
    ),
  },
  exact,
)
export const RemoveSecretQuery = Type.Object({ force: Type.Optional(Type.Boolean({ description: 'true or false' })) }, exact)
const VersionNumber = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER, description: 'the number of a version: 1, 2, 3 …' })
export const VersionParams = Type.Object({ tenant: Name, name: Name, version: VersionNumber }, exact)
export const VersionsQuery = Type.Object({ limit: Limit(pageMax, pageDefault), before: Type.Optional(VersionNumber) }, exact)
export const Rollback = Type.Object({ to: Type.Optional(VersionNumber) }, exact)

export const NewVersion = Type.Object(
  {
    code: Digest,
    runtime: Type.Optional(
      Type.String({
        pattern: '^[a-z][a-z0-9.-]{0,63}$',
        description: 'the name of an installed runtime, such as nodejs24; found by the entry file when left out',
      }),
    ),
    handler: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: limits.codePathMaxBytes,
        description: "`file` or `file:export`, relative to the code's root, such as index.ts or main.py:handler; found by itself when left out",
      }),
    ),
    memoryMiB: Type.Optional(
      Type.Union(
        MEMORY_CLASSES_MIB.map((size) => Type.Literal(size)),
        { description: `one of ${MEMORY_CLASSES_MIB.join(', ')} (MiB)` },
      ),
    ),
    timeoutMs: Type.Optional(
      Type.Integer({ minimum: 1, maximum: limits.timeoutMaxMs, description: `a whole number of milliseconds from 1 to ${limits.timeoutMaxMs}` }),
    ),
    concurrency: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: limits.concurrencyMax,
        description: `a whole number of requests at once in one sandbox, from 1 to ${limits.concurrencyMax}`,
      }),
    ),
    auth: Type.Optional(
      Type.Union([Type.Literal('public'), Type.Literal('token')], {
        description: 'public (anyone may call it) or token (whoever has a token with the scope invoke for the tenant); public when left out',
      }),
    ),
    env: Type.Optional(
      Type.Record(Type.String(), Type.String(), {
        writeOnly: true,
        description: `an object of texts by name, at most ${limits.envMaxEntries} entries and ${limits.envMaxBytes} bytes`,
      }),
    ),
    egress: Type.Optional(
      Type.Array(Type.String({ maxLength: 300 }), { maxItems: limits.egressRulesMax, description: `at most ${limits.egressRulesMax} ${EGRESS_TAKES}` }),
    ),
    services: Type.Optional(
      Type.Array(Type.String({ maxLength: 300 }), {
        maxItems: limits.servicesPerVersionMax,
        description: `at most ${limits.servicesPerVersionMax} services as NAME:PORT, of those that the operator has mapped`,
      }),
    ),
    secrets: Type.Optional(
      Type.Union([Type.Array(SecretName, { maxItems: limits.envMaxEntries }), Type.Record(Type.String(), SecretName)], {
        description: `a list of names of secrets, each for the environment variable of the same name, or an object of names by variable; at most ${limits.envMaxEntries} together with env`,
      }),
    ),
  },
  exact,
)

export const ListQuery = Type.Object({ limit: Limit(pageMax, pageDefault), after: Type.Optional(Name) }, exact)
export const InvocationsQuery = Type.Object({ function: Type.Optional(Name), limit: Limit(pageMax, pageDefault), before: Type.Optional(InvocationId) }, exact)
export const LogsQuery = Type.Object(
  {
    since: Type.Optional(TimeMs),
    invocation: Type.Optional(InvocationId),
    follow: Type.Optional(Type.Boolean({ description: 'true or false' })),
    limit: Limit(logPageMax, logPageDefault),
    until: Type.Optional(TimeMs),
    all: Type.Optional(Type.Boolean({ description: 'true or false' })),
  },
  exact,
)

// Answers.
export const Readiness = Type.Object({
  status: Type.Enum(['ready', 'not_ready']),
  parts: Type.Object({ store: Type.Boolean(), gateway: Type.Boolean(), keeper: Type.Boolean() }),
})

export const Health = Type.Object({ status: Type.Literal('ok') })

/** RFC 9457, with a stable `code` and, where there are any, `facts`. */
export const Problem = Type.Object(
  {
    type: Type.String(),
    title: Type.String(),
    status: Type.Integer(),
    code: Type.Enum(Object.keys(errorKinds) as (keyof typeof errorKinds)[]),
    detail: Type.Optional(Type.String()),
    hint: Type.Optional(Type.String()),
    invocation: Type.Optional(Type.String()),
    facts: Type.Optional(
      Type.Record(Type.String(), Type.Unknown(), {
        description: 'what else is known; for a function that failed to start, `guest` is its error with file and line',
      }),
    ),
  },
  { description: 'application/problem+json (RFC 9457)' },
)

export const RuntimeInfo = Type.Object({ name: Type.String(), version: Type.String(), entryFiles: Type.Array(Type.String()) })
export const Runtimes = Type.Object({ runtimes: Type.Array(RuntimeInfo) })

export const System = Type.Object({
  version: Type.String(),
  gatewayUrl: Type.String(),
  apiUrl: Type.String(),
  domain: Type.String(),
  gatewayConnected: Type.Boolean({ description: 'whether the gateway is there to start and run functions' }),
  runtimes: Type.Array(RuntimeInfo),
  limits: Type.Object({
    codeArchiveMaxBytes: Type.Integer(),
    codeUnpackedMaxBytes: Type.Integer(),
    codeMaxEntries: Type.Integer(),
    memoryClassesMiB: Type.Array(Type.Integer()),
    memoryBudgetMiB: Type.Integer(),
    maxSandboxes: Type.Integer(),
    timeoutMaxMs: Type.Integer(),
    concurrencyMax: Type.Integer(),
    requestBodyMaxBytes: Type.Integer(),
  }),
})

export const Code = Type.Object({ digest: Type.String(), files: Type.Integer(), bytes: Type.Integer() })

export const Urls = Type.Object({
  path: Type.String({ description: 'works everywhere: http://GATEWAY/TENANT/FUNCTION/' }),
  host: Type.String({ description: 'an origin of its own: http://FUNCTION.TENANT.DOMAIN:PORT/' }),
})

const contract = Type.Union([Type.Literal('fetch'), Type.Literal('event')])
const versionFields = {
  version: Type.Integer(),
  codeDigest: Type.String(),
  runtime: Type.String(),
  handler: Type.String(),
  memoryMiB: Type.Integer(),
  timeoutMs: Type.Integer(),
  concurrency: Type.Integer(),
  auth: Type.Union([Type.Literal('public'), Type.Literal('token')]),
  envNames: Type.Array(Type.String(), { description: 'names only; values are not given back' }),
  egress: Type.Array(Type.String(), { description: 'what its proxy door lets through, as host:port' }),
  services: Type.Array(Type.String(), { description: 'services that it may reach by name, as NAME:PORT' }),
  secrets: Type.Optional(Type.Record(Type.String(), Type.String(), { description: 'environment variable → name of the secret' })),
  contract,
  createdAtMs: Type.Integer(),
}
export const Version = Type.Object(versionFields)
const aliasNames = Type.Array(Type.String(), { description: 'names that point at this version' })
export const ListedVersion = Type.Object({ ...versionFields, aliases: aliasNames })
export const Versions = Type.Object({
  versions: Type.Array(ListedVersion, { description: 'newest first' }),
  next: Type.Union([Type.Integer(), Type.Null()], { description: 'give it as `before` for the next page; null on the last' }),
})
export const RemovedVersion = Type.Object({ tenant: Type.String(), function: Type.String(), version: Type.Integer(), removed: Type.Literal(true) })
export const RolledBack = Type.Object({
  tenant: Type.String(),
  function: Type.String(),
  from: Type.Integer({ description: 'number of the version that was live' }),
  version: Type.Integer({ description: 'number of the version that is live now' }),
  unchanged: Type.Boolean({ description: 'true when it was live already; nothing was done then' }),
  totalMs: Type.Number(),
})

export const Deployed = Type.Object({
  tenant: Type.String(),
  function: Type.String(),
  unchanged: Type.Boolean({ description: 'true when the live version has this code and configuration already; nothing was done then' }),
  ...versionFields,
  urls: Urls,
  timings: Type.Object({ initMs: Type.Number({ description: 'from specialisation to ready; 0 when unchanged' }), totalMs: Type.Number() }),
})

/** What a deploy would change. */
export const Plan = Type.Object({
  live: Type.Union([Type.Integer(), Type.Null()], { description: 'number of the version that is live now; null when there is no such function' }),
  codeKnown: Type.Boolean({ description: 'whether the code is here already, so that it need not be uploaded' }),
  changes: Type.Array(
    Type.Object({
      field: Type.String({ description: '`code`, a field of the configuration, or `env.NAME`' }),
      kind: Type.Enum(['added', 'changed', 'removed']),
      from: Type.Optional(Type.Unknown({ description: 'left out for environment variables, whose values are not given back' })),
      to: Type.Optional(Type.Unknown()),
    }),
    { description: 'empty when a deploy would change nothing' },
  ),
})

export const FunctionSummary = Type.Object({
  tenant: Type.String(),
  name: Type.String(),
  live: Type.Integer({ description: 'number of the live version' }),
  runtime: Type.String(),
  memoryMiB: Type.Integer(),
  createdAtMs: Type.Integer(),
  deployedAtMs: Type.Integer(),
  urls: Urls,
})
export const Functions = Type.Object({
  functions: Type.Array(FunctionSummary),
  next: Type.Union([Type.String(), Type.Null()], { description: 'give it as `after` for the next page; null on the last' }),
})

export const FunctionDetail = Type.Object({
  tenant: Type.String(),
  name: Type.String(),
  createdAtMs: Type.Integer(),
  aliases: Type.Record(Type.String(), Type.Integer()),
  versions: Type.Array(Version, { description: 'newest first' }),
  urls: Urls,
  lastHour: Type.Object({ invocations: Type.Integer(), errors: Type.Integer() }),
})

export const Removed = Type.Object({ tenant: Type.String(), name: Type.String(), removed: Type.Literal(true) })

/** A secret without its value, which nothing gives back. */
export const Secret = Type.Object({
  name: Type.String(),
  createdAtMs: Type.Integer(),
  updatedAtMs: Type.Integer(),
  usedBy: Type.Array(Type.String(), { description: 'functions of which an alias, such as live, points at a version with it' }),
  readable: Type.Boolean({ description: 'false when its key is lost; set it anew then' }),
})
export const Secrets = Type.Object({ secrets: Type.Array(Secret, { description: 'by name' }) })
export const RemovedSecret = Type.Object({ tenant: Type.String(), name: Type.String(), removed: Type.Literal(true), usedBy: Type.Array(Type.String()) })
export const RotatedKey = Type.Object({ secrets: Type.Integer({ description: 'how many were sealed with the new key' }) })

const invocationFields = {
  id: Type.String(),
  tenant: Type.String(),
  function: Type.String(),
  version: Type.Integer(),
  sandbox: Type.Union([Type.Integer(), Type.Null()]),
  method: Type.String(),
  path: Type.String(),
  status: Type.Integer(),
  outcome: Type.String({ description: '`ok` or an error code' }),
  start: Type.Union([Type.Literal('warm'), Type.Literal('spare'), Type.Literal('boot'), Type.Null()]),
  startedAtMs: Type.Number(),
  acquireMs: Type.Number(),
  forwardMs: Type.Number(),
  totalMs: Type.Number(),
  requestBytes: Type.Integer(),
  responseBytes: Type.Integer(),
  detail: Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.Null()]),
}
export const Invocation = Type.Object(invocationFields)
export const Invocations = Type.Object({
  invocations: Type.Array(Invocation, { description: 'newest first' }),
  next: Type.Union([Type.String(), Type.Null()], { description: 'give it as `before` for the next page; null on the last' }),
})
export const InvocationDetail = Type.Object({
  ...invocationFields,
  explanation: Type.Object({ summary: Type.String(), hint: Type.Union([Type.String(), Type.Null()]) }),
  logLines: Type.Integer({ description: "lines of log this invocation wrote; see the function's logs with ?invocation=ID" }),
})

/** One line of the log stream (application/x-ndjson). */
export const LogLine = Type.Object({
  tenant: Type.String(),
  function: Type.String(),
  version: Type.Integer(),
  sandbox: Type.Integer(),
  invocation: Type.Union([Type.String(), Type.Null()]),
  sequence: Type.Integer(),
  atMs: Type.Number(),
  level: Type.Enum(['stdout', 'stderr', 'debug', 'info', 'warn', 'error', 'gap', 'system']),
  text: Type.String(),
})

export const EgressQuery = Type.Object({ limit: Limit(pageMax, pageDefault), before: Type.Optional(EgressId) }, exact)
const EgressAttempt = Type.Object({
  id: Type.String(),
  tenant: Type.String(),
  function: Type.String(),
  version: Type.Integer(),
  sandbox: Type.Integer(),
  invocation: Type.Union([Type.String(), Type.Null()], { description: 'null when several were in the sandbox, or none' }),
  door: Type.Enum(['proxy', 'service']),
  target: Type.String({ description: 'host:port as it was asked for' }),
  address: Type.Union([Type.String(), Type.Null()], { description: 'the address that was connected to or refused' }),
  verdict: Type.Enum(['allowed', 'refused', 'failed']),
  reason: Type.Union([Type.String(), Type.Null()], { description: 'null for an allowed one that ended well' }),
  startedAtMs: Type.Number(),
  connectMs: Type.Number(),
  totalMs: Type.Union([Type.Number(), Type.Null()], { description: 'null while the connection is open' }),
  sentBytes: Type.Integer(),
  receivedBytes: Type.Integer(),
})
export const EgressAttempts = Type.Object({
  attempts: Type.Array(EgressAttempt, { description: 'newest first; a connection is told when it has stood for half a second, and when it is over' }),
  next: Type.Union([Type.String(), Type.Null()], { description: 'give it as `before` for the next page; null on the last' }),
})

export const Sandbox = Type.Object({
  sandbox: Type.Integer(),
  state: Type.Enum(['booting', 'spare', 'specialising', 'busy', 'idle', 'frozen', 'ending']),
  runtime: Type.String(),
  memoryMiB: Type.Integer(),
  isolation: Type.String(),
  tenant: Type.Union([Type.String(), Type.Null()]),
  function: Type.Union([Type.String(), Type.Null()]),
  version: Type.Union([Type.Integer(), Type.Null()]),
  inFlight: Type.Integer(),
  invocations: Type.Integer(),
  startedAtMs: Type.Number(),
  memoryBytes: Type.Union([Type.Integer(), Type.Null()]),
})
export const Sandboxes = Type.Object({ sandboxes: Type.Array(Sandbox, { description: "this tenant's and, for tokens of all tenants, the spares" }) })

export type NewVersion = Static<typeof NewVersion>
export type Deployed = Static<typeof Deployed>
export type FunctionSummary = Static<typeof FunctionSummary>
export type FunctionDetail = Static<typeof FunctionDetail>
export type InvocationDetail = Static<typeof InvocationDetail>
export type System = Static<typeof System>
export type Code = Static<typeof Code>
export type Problem = Static<typeof Problem>
