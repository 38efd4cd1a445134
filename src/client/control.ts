/** Typed client of the control API: one method a route, errors as `ApiError` with the server's problem document. */
import type { Readable } from 'node:stream'
import type { Static } from 'typebox'

import type * as accessSchemas from '../api/access-schemas.ts'
import type { BuildLine } from '../api/build-schemas.ts'
import type * as schemas from '../api/schemas.ts'
import type { MemoryClassMiB } from '../limits.ts'
import { ApiError, ConnectionError, problemOf } from './errors.ts'
import { readBody, send } from './transport.ts'
import type { Answer, RequestOptions } from './transport.ts'

export type { BuildLine } from '../api/build-schemas.ts'
export { ApiError } from './errors.ts'

type Body<Name extends keyof typeof schemas> = (typeof schemas)[Name] extends infer Schema ? Static<Schema & import('typebox').TSchema> : never

type AccessBody<Name extends keyof typeof accessSchemas> = (typeof accessSchemas)[Name] extends infer Schema
  ? Static<Schema & import('typebox').TSchema>
  : never

export type Tenant = AccessBody<'Tenant'>
export type QuotaChanges = AccessBody<'QuotaChanges'>
export type NewToken = AccessBody<'NewToken'>
export type Token = AccessBody<'Token'>
export type CreatedToken = AccessBody<'CreatedToken'>
export type AuditEntry = AccessBody<'AuditEntry'>
export type System = Body<'System'>
export type Code = Body<'Code'>
/** The schema's union of memory classes is made from a list, which loses the literals. */
export type NewVersion = Omit<Body<'NewVersion'>, 'memoryMiB'> & { memoryMiB?: MemoryClassMiB }
export type Deployed = Body<'Deployed'>
export type Plan = Body<'Plan'>
export type FunctionSummary = Body<'FunctionSummary'>
export type FunctionDetail = Body<'FunctionDetail'>
export type Version = Body<'ListedVersion'>
export type RolledBack = Body<'RolledBack'>
export type Invocation = Body<'Invocation'>
export type InvocationDetail = Body<'InvocationDetail'>
export type LogLine = Body<'LogLine'>
export type EgressAttempts = Body<'EgressAttempts'>
export type Sandbox = Body<'Sandbox'>
export type Secret = Body<'Secret'>
export type RuntimeInfo = Body<'RuntimeInfo'>

/** Which log lines. */
export interface LogQuery {
  /** Epoch milliseconds. */
  since?: number
  invocation?: string
  /** Stay, and get lines as they come. */
  follow?: boolean
  /** How many lines from before now; the newest are given. */
  limit?: number
  /** Every line that is kept instead, before this time. */
  all?: boolean
  until?: number
}

/** Which entries of the audit log, the newest `limit`. */
export interface AuditQuery {
  tenant?: string
  /** Epoch milliseconds. */
  since?: number
  limit: number
}

/** Deadlines in milliseconds. A deploy waits for the function's first start; an upload for unpacking. */
const TIMEOUT_MS = 15_000
const UPLOAD_TIMEOUT_MS = 120_000
const DEPLOY_TIMEOUT_MS = 90_000
/** One that may have to build takes as long as builds may, and waits for its turn. */
const BUILD_TIMEOUT_MS = 1_800_000
/** To the first byte of a backup. */
const BACKUP_TIMEOUT_MS = 60_000

/** Longest JSON answer taken: 1,000 functions or 1,000 invocations with details, with room to spare. */
const ANSWER_LIMITS = { maxBytes: 64 * 1024 * 1024, timeoutMs: 60_000 }

export type ControlClient = ReturnType<typeof createControlClient>

/** A client for the API at this URL. All methods throw `ApiError` or `ConnectionError`. */
export function createControlClient(access: { api: string; token: string }) {
  const base = access.api.replace(/\/+$/, '')

  async function open(method: string, path: string, options: Partial<RequestOptions> = {}): Promise<Answer> {
    const headers = { accept: 'application/json', authorization: `Bearer ${access.token}`, ...options.headers }
    const answer = await send(base + path, { timeoutMs: TIMEOUT_MS, ...options, method, headers })
    if (answer.status < 400) return answer
    throw new ApiError(problemOf(answer.status, (await readBody(answer, base, ANSWER_LIMITS)).toString()))
  }

  async function json<T>(method: string, path: string, options: Partial<RequestOptions> = {}): Promise<T> {
    const answer = await open(method, path, options)
    const text = (await readBody(answer, base, ANSWER_LIMITS)).toString()
    if (text === '') return undefined as T
    try {
      return JSON.parse(text) as T
    } catch (error) {
      throw new ConnectionError(base, 'what answers there is not a Hostel API: its answer is not JSON', { cause: error })
    }
  }

  async function* jsonLines<T>(path: string, signal?: AbortSignal): AsyncGenerator<T> {
    const answer = await open('GET', path, { headers: { accept: 'application/x-ndjson' }, ...(signal && { signal }) })
    const decoder = new TextDecoder()
    let rest = ''
    try {
      // Leaving the loop, by whatever way, ends the request.
      for await (const chunk of answer.body as AsyncIterable<Buffer>) {
        const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
        rest = lines.pop() ?? ''
        for (const line of lines) if (line !== '') yield JSON.parse(line) as T
      }
    } catch (error) {
      throw new ConnectionError(base, `the log broke off: ${(error as Error).message}`, { cause: error })
    }
  }

  const functionPath = (tenant: string, name: string): string => `${tenantPath(tenant)}/functions/${encodeURIComponent(name)}`

  return {
    /** Base URL, without a slash at its end. */
    api: base,

    system: () => json<System>('GET', '/v1/system'),

    runtimes: async () => (await json<{ runtimes: RuntimeInfo[] }>('GET', '/v1/runtimes')).runtimes,

    /** Uploads a tar.gz of a function's directory. */
    uploadCode: (tenant: string, archive: Uint8Array) =>
      json<Code>('PUT', `${tenantPath(tenant)}/code`, { body: archive, headers: { 'content-type': 'application/gzip' }, timeoutMs: UPLOAD_TIMEOUT_MS }),

    /** What a deploy would change; the code need not be there yet. */
    planVersion: (tenant: string, name: string, version: NewVersion) =>
      json<Plan>('POST', `${functionPath(tenant, name)}/plan`, { body: Buffer.from(JSON.stringify(version)), headers: { 'content-type': 'application/json' } }),

    /** Makes a version of uploaded code, starts it once, and makes it live. */
    createVersion: (tenant: string, name: string, version: NewVersion, options: { build?: string | undefined } = {}) =>
      json<Deployed>('POST', `${functionPath(tenant, name)}/versions${options.build === undefined ? '' : `?build=${options.build}`}`, {
        ...jsonBody(version),
        timeoutMs: options.build === undefined ? DEPLOY_TIMEOUT_MS : BUILD_TIMEOUT_MS,
      }),

    /** Lines of the log of a build as they come, until it ends; none where there is no build. */
    buildLog: (tenant: string, build: string, signal: AbortSignal) =>
      jsonLines<BuildLine>(`${tenantPath(tenant)}/builds/${encodeURIComponent(build)}/log`, signal),

    /** All functions of a tenant, page by page. */
    async functions(tenant: string): Promise<FunctionSummary[]> {
      const all: FunctionSummary[] = []
      let after: string | null = ''
      do {
        const page: { functions: FunctionSummary[]; next: string | null } = await json(
          'GET',
          `${tenantPath(tenant)}/functions?limit=1000${after && `&after=${encodeURIComponent(after)}`}`,
        )
        all.push(...page.functions)
        after = page.next
      } while (after)
      return all
    },

    function: (tenant: string, name: string) => json<FunctionDetail>('GET', functionPath(tenant, name)),

    /** All versions of a function, newest first. */
    async versions(tenant: string, name: string): Promise<Version[]> {
      const all: Version[] = []
      let before: number | null = null
      do {
        const query: string = before === null ? '' : `&before=${before}`
        const page: { versions: Version[]; next: number | null } = await json('GET', `${functionPath(tenant, name)}/versions?limit=1000${query}`)
        all.push(...page.versions)
        before = page.next
      } while (before !== null)
      return all
    },

    version: (tenant: string, name: string, version: number) => json<Version>('GET', `${functionPath(tenant, name)}/versions/${version}`),

    removeVersion: (tenant: string, name: string, version: number) => json<void>('DELETE', `${functionPath(tenant, name)}/versions/${version}`),

    /** Makes the version that was live before live again, or the one given. */
    rollBack: (tenant: string, name: string, to?: number) =>
      json<RolledBack>('POST', `${functionPath(tenant, name)}/rollback`, {
        body: Buffer.from(JSON.stringify(to === undefined ? {} : { to })),
        headers: { 'content-type': 'application/json' },
        timeoutMs: DEPLOY_TIMEOUT_MS,
      }),

    removeFunction: (tenant: string, name: string) => json<void>('DELETE', functionPath(tenant, name)),

    /** The newest invocations of a tenant, or of one function of it; at most 1,000. */
    async invocations(tenant: string, query: { limit: number; function?: string }): Promise<Invocation[]> {
      const name = query.function === undefined ? '' : `&function=${encodeURIComponent(query.function)}`
      return (await json<{ invocations: Invocation[] }>('GET', `${tenantPath(tenant)}/invocations?limit=${query.limit}${name}`)).invocations
    },

    invocation: (tenant: string, id: string) => json<InvocationDetail>('GET', `${tenantPath(tenant)}/invocations/${encodeURIComponent(id)}`),

    /** Attempts of egress, newest first; `before` is the `next` of the page before. */
    egress: (tenant: string, name: string, page: { limit: number; before?: string }) =>
      json<EgressAttempts>('GET', `${functionPath(tenant, name)}/egress?limit=${page.limit}${page.before === undefined ? '' : `&before=${page.before}`}`),

    sandboxes: async (tenant: string) => (await json<{ sandboxes: Sandbox[] }>('GET', `${tenantPath(tenant)}/sandboxes`)).sandboxes,

    /** All tenants, page by page. */
    async tenants(): Promise<Tenant[]> {
      const all: Tenant[] = []
      let after: string | null = ''
      do {
        const page: { tenants: Tenant[]; next: string | null } = await json('GET', `/v1/tenants?limit=1000${after && `&after=${encodeURIComponent(after)}`}`)
        all.push(...page.tenants)
        after = page.next
      } while (after)
      return all
    },

    tenant: (name: string) => json<Tenant>('GET', tenantPath(name)),

    createTenant: (name: string, quotas: QuotaChanges) => json<Tenant>('POST', '/v1/tenants', jsonBody({ name, ...quotas })),

    setQuotas: (name: string, quotas: QuotaChanges) => json<Tenant>('PATCH', tenantPath(name), jsonBody(quotas)),

    removeTenant: (name: string, force: boolean) => json<void>('DELETE', `${tenantPath(name)}${force ? '?force=true' : ''}`, { timeoutMs: DEPLOY_TIMEOUT_MS }),

    /** Tokens of a tenant, or those of all tenants (null). */
    tokens: async (tenant: string | null) => (await json<{ tokens: Token[] }>('GET', `${tokensPath(tenant)}?limit=1000`)).tokens,

    createToken: (tenant: string | null, token: NewToken) => json<CreatedToken>('POST', tokensPath(tenant), jsonBody(token)),

    removeToken: (tenant: string | null, name: string) => json<void>('DELETE', `${tokensPath(tenant)}/${encodeURIComponent(name)}`),

    /** Entries of the audit log, newest first. */
    async audit(query: AuditQuery): Promise<AuditEntry[]> {
      const all: AuditEntry[] = []
      let before: number | null = null
      do {
        const { limit, ...fields } = query
        const parameters = new URLSearchParams(
          Object.entries({ ...fields, limit: Math.min(1_000, limit - all.length) }).map(([key, value]): [string, string] => [key, String(value)]),
        )
        if (before !== null) parameters.set('before', String(before))
        const page: { entries: AuditEntry[]; next: number | null } = await json('GET', `/v1/audit?${parameters.toString()}`)
        all.push(...page.entries)
        before = page.next
      } while (before !== null && all.length < query.limit)
      return all
    },
    secrets: async (tenant: string) => (await json<{ secrets: Secret[] }>('GET', `${tenantPath(tenant)}/secrets`)).secrets,

    setSecret: (tenant: string, name: string, value: string) =>
      json<Secret>('PUT', `${tenantPath(tenant)}/secrets/${encodeURIComponent(name)}`, {
        body: Buffer.from(JSON.stringify({ value })),
        headers: { 'content-type': 'application/json' },
      }),

    removeSecret: (tenant: string, name: string, options: { force: boolean }) =>
      json<{ usedBy: string[] }>('DELETE', `${tenantPath(tenant)}/secrets/${encodeURIComponent(name)}?force=${options.force}`),

    /** Seals all secrets of all tenants with a new key. Gives how many. */
    rotateSecretsKey: async () => (await json<{ secrets: number }>('POST', '/v1/secrets/rotate-key')).secrets,

    /** A backup as it is made: what comes is to be checked, since it may break off. */
    backup: async (options: { logs: boolean; passphrase?: string }, signal?: AbortSignal): Promise<Readable> => {
      const answer = await open('POST', '/v1/backup', {
        body: Buffer.from(JSON.stringify(options)),
        headers: { accept: 'application/gzip', 'content-type': 'application/json' },
        timeoutMs: BACKUP_TIMEOUT_MS,
        ...(signal && { signal }),
      })
      return answer.body
    },

    /** Log lines in order. With `follow` it ends when the signal fires or the server goes. */
    async *logs(tenant: string, name: string, query: LogQuery, signal?: AbortSignal): AsyncGenerator<LogLine> {
      const parameters = new URLSearchParams(Object.entries(query).map(([key, value]): [string, string] => [key, String(value)]))
      yield* jsonLines<LogLine>(`${functionPath(tenant, name)}/logs?${parameters.toString()}`, signal)
    },
  }
}

function jsonBody(value: object): Pick<RequestOptions, 'body' | 'headers'> {
  return { body: Buffer.from(JSON.stringify(value)), headers: { 'content-type': 'application/json' } }
}

function tokensPath(tenant: string | null): string {
  return tenant === null ? '/v1/tokens' : `${tenantPath(tenant)}/tokens`
}

function tenantPath(tenant: string): string {
  return `/v1/tenants/${encodeURIComponent(tenant)}`
}
