/** Who may call what, as far as it is not for the function to say: tokens of functions with `auth: token`, and tenants' budgets of requests. */
import { timingSafeEqual } from 'node:crypto'

import { HostelError } from '../errors.ts'
import { TOKEN_PREFIX } from '../functions/names.ts'
import { bearerToken, hashToken } from '../functions/token.ts'
import type { InvokeToken, RoutedVersion, TenantQuotas } from '../functions/types.ts'
import type { FlatHeaders } from '../sandbox/protocol.ts'
import type { RequestFields } from './headers.ts'

export interface Access {
  /** All tokens that may call functions. */
  setTokens(tokens: readonly InvokeToken[]): void
  /** All tenants with quotas. */
  setQuotas(tenants: readonly TenantQuotas[]): void
  /**
   * Whether this request may call this version. Takes tokens of ours off its fields: a function that gets one could use it.
   * @throws HostelError `unauthenticated`, `too_many_requests`
   */
  admit(version: RoutedVersion, fields: RequestFields): void
  /** Hashes of the tokens used since this was asked last. */
  takeUsed(): string[]
}

interface KnownToken extends InvokeToken {
  bytes: Buffer
}

/** Tokens for requests, refilled all the time; a second's worth can be saved up. */
interface Bucket {
  perSecond: number
  left: number
  filledAtMs: number
}

/** Until a tenant without any requests may be asked again: its quota has to be changed by hand first. */
const CLOSED_RETRY_SECONDS = 60
const ours = new RegExp(`^Bearer +${TOKEN_PREFIX}`, 'i')

/** `nowMs` is a clock that never goes back. */
export function createAccess(nowMs: () => number = () => performance.now()): Access {
  let tokens = new Map<string, KnownToken>()
  let buckets = new Map<string, Bucket>()
  const used = new Set<string>()

  function admitToken(version: RoutedVersion, authorization: string | null): void {
    const text = authorization === null ? undefined : bearerToken(authorization)
    if (text === undefined) throw new HostelError('unauthenticated', 'this function answers only to requests with a token')
    const bytes = hashToken(text)
    const known = tokens.get(bytes.toString('hex'))
    const fits =
      known !== undefined &&
      timingSafeEqual(known.bytes, bytes) &&
      (known.tenant === null || known.tenant === version.tenant) &&
      (known.expiresAtMs === null || known.expiresAtMs > Date.now())
    // One answer for all that is wrong with it: what there is elsewhere is not for everyone to know.
    if (!fits) throw new HostelError('unauthenticated', 'this token does not open this function')
    used.add(known.hash)
  }

  function takeFromBudget(tenant: string): void {
    const bucket = buckets.get(tenant)
    if (bucket === undefined) return
    const { perSecond } = bucket
    const now = nowMs()
    bucket.left = Math.min(Math.max(1, perSecond), bucket.left + ((now - bucket.filledAtMs) / 1_000) * perSecond)
    bucket.filledAtMs = now
    if (perSecond > 0 && bucket.left >= 1) {
      bucket.left -= 1
      return
    }
    throw new HostelError('too_many_requests', `tenant ${tenant} is over its quota of ${perSecond} request${perSecond === 1 ? '' : 's'} per second`, {
      retryAfterSeconds: perSecond > 0 ? Math.ceil((1 - bucket.left) / perSecond) : CLOSED_RETRY_SECONDS,
    })
  }

  return {
    setTokens(all) {
      tokens = new Map(all.map((token) => [token.hash, { ...token, bytes: Buffer.from(token.hash, 'hex') }]))
    },

    setQuotas(tenants) {
      const before = buckets
      buckets = new Map()
      for (const { tenant, quotas } of tenants) {
        const perSecond = quotas.requestsPerSecond
        if (perSecond === null) continue
        const present = before.get(tenant)
        // Another tenant's change gives nobody a full bucket.
        buckets.set(tenant, present?.perSecond === perSecond ? present : { perSecond, left: Math.max(1, perSecond), filledAtMs: nowMs() })
      }
    },

    admit(version, fields) {
      const { authorization } = fields
      if (version.auth === 'token') {
        admitToken(version, authorization)
        fields.headers = withoutAuthorization(fields.headers)
      } else if (authorization !== null && ours.test(authorization)) fields.headers = withoutAuthorization(fields.headers)
      takeFromBudget(version.tenant)
    },

    takeUsed() {
      const hashes = [...used]
      used.clear()
      return hashes
    },
  }
}

function withoutAuthorization(headers: FlatHeaders): FlatHeaders {
  const kept: FlatHeaders = []
  for (let i = 0; i < headers.length; i += 2) if (headers[i] !== 'authorization') kept.push(headers[i]!, headers[i + 1]!)
  return kept
}
