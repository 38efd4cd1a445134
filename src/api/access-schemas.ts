/** The shapes of the control API for tenants, tokens and the audit log; rules as in schemas.ts. */
import { Type } from 'typebox'

import { limits } from '../limits.ts'
import { exact, Limit, Name, pageDefault, pageMax, TimeMs } from './schemas.ts'

const quota = (max: number, what: string) =>
  Type.Optional(
    Type.Union([Type.Integer({ minimum: 0, maximum: max }), Type.Null()], { description: `${what}: a whole number from 0 to ${max}, or null for no bound` }),
  )
const quotas = {
  functions: quota(limits.functionsPerTenantMax, 'functions at most'),
  sandboxes: quota(limits.sandboxSlots, 'sandboxes at once'),
  memoryMiB: quota(64 * 1024 * 1024, 'sum of the memory that its sandboxes may use, in MiB'),
  requestsPerSecond: quota(1_000_000, 'requests per second'),
}

const Scope = Type.Union([Type.Literal('read'), Type.Literal('deploy'), Type.Literal('invoke'), Type.Literal('admin')])

// Requests.
export const NewTenant = Type.Object({ name: Name, ...quotas }, exact)
export const QuotaChanges = Type.Object(quotas, exact)
export const RemoveTenantQuery = Type.Object({ force: Type.Optional(Type.Boolean({ description: 'true or false' })) }, exact)
export const NewToken = Type.Object(
  {
    name: Name,
    scopes: Type.Array(Scope, { minItems: 1, maxItems: 4, description: 'a list of one or more of read, deploy, invoke and admin' }),
    expiresAtMs: Type.Optional(TimeMs),
  },
  exact,
)
export const TokenParams = Type.Object({ tenant: Name, token: Name }, exact)
export const ServerTokenParams = Type.Object({ token: Name }, exact)
export const AuditQuery = Type.Object(
  {
    tenant: Type.Optional(Name),
    since: Type.Optional(TimeMs),
    limit: Limit(pageMax, pageDefault),
    before: Type.Optional(Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER, description: 'the id of an entry' })),
  },
  exact,
)

// Answers.
const bound = Type.Union([Type.Integer(), Type.Null()], { description: 'null: no bound of its own' })
export const Tenant = Type.Object({
  name: Type.String(),
  createdAtMs: Type.Integer(),
  quotas: Type.Object({ functions: bound, sandboxes: bound, memoryMiB: bound, requestsPerSecond: bound }),
  functions: Type.Integer({ description: 'how many it has' }),
  tokens: Type.Integer({ description: 'how many it has' }),
})
export const Tenants = Type.Object({
  tenants: Type.Array(Tenant),
  next: Type.Union([Type.String(), Type.Null()], { description: 'give it as `after` for the next page; null on the last' }),
})
export const RemovedTenant = Type.Object({ tenant: Type.String(), removed: Type.Literal(true) })

const tokenFields = {
  id: Type.String(),
  name: Type.String(),
  scopes: Type.Array(Scope),
  tenant: Type.Union([Type.String(), Type.Null()], { description: 'null: all tenants' }),
  createdAtMs: Type.Integer(),
  expiresAtMs: Type.Union([Type.Integer(), Type.Null()], { description: 'null: never' }),
  lastUsedAtMs: Type.Union([Type.Integer(), Type.Null()], { description: 'noted at most once a minute' }),
}
export const Token = Type.Object(tokenFields)
export const Tokens = Type.Object({
  tokens: Type.Array(Token),
  next: Type.Union([Type.String(), Type.Null()], { description: 'give it as `after` for the next page; null on the last' }),
})
export const CreatedToken = Type.Object({ ...tokenFields, token: Type.String({ description: 'the token itself, told this once' }) })
export const RemovedToken = Type.Object({ tenant: Type.Union([Type.String(), Type.Null()]), name: Type.String(), removed: Type.Literal(true) })

const told = Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.Null()])
export const AuditEntry = Type.Object({
  id: Type.Integer(),
  atMs: Type.Integer(),
  token: Type.String({ description: 'id of the token that was used' }),
  tokenName: Type.String(),
  address: Type.String({ description: 'where the request came from' }),
  tenant: Type.Union([Type.String(), Type.Null()]),
  action: Type.String({ description: 'the operation, by its operationId' }),
  target: Type.String({ description: 'what it was done to, within the tenant' }),
  before: told,
  after: told,
})
export const Audit = Type.Object({
  entries: Type.Array(AuditEntry, { description: 'newest first' }),
  next: Type.Union([Type.Integer(), Type.Null()], { description: 'give it as `before` for the next page; null on the last' }),
})
