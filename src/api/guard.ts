/** Who may come in: the Host header against DNS rebinding, then the bearer token, then its tenant, then its scopes. */
import { isIP } from 'node:net'
import type { FastifyReply, FastifyRequest } from 'fastify'

import { HostelError } from '../errors.ts'
import { allows, bearerToken, hashToken } from '../functions/token.ts'
import type { Scope } from '../functions/types.ts'
import type { TokenInfo } from '../store/access.ts'
import type { Store } from '../store/store.ts'

/** What a route needs: a scope in its tenant, any token at all, or `server`: the scope admin for all tenants. */
export type Needs = Scope | 'any' | 'server'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Answers without a token. */
    public?: boolean
    /** `admin` in a tenant and `server` elsewhere when left out, so that nobody gets in by a slip. */
    needs?: Needs
  }
  interface FastifyRequest {
    /** Null on public routes only. */
    token: TokenInfo | null
  }
}

/**
 * A check for each request, before anything of it is read. A browser that was tricked into taking us for another site sends
 * that site's name as Host; addresses can't be rebound, so that names are all there is to check.
 * @param listenHost the host that the API listens on, whose name is allowed.
 */
export function createGuard(store: Pick<Store, 'access' | 'tenants'>, listenHost: string): (request: FastifyRequest, reply: FastifyReply) => Promise<void> {
  const allowedNames = new Set(['localhost', listenHost.toLowerCase()])
  return async (request, reply) => {
    const host = hostName(request.headers.host ?? '')
    if (isIP(host) === 0 && !allowedNames.has(host)) {
      throw new HostelError(
        'malformed_request',
        `the control API does not answer to the Host ${JSON.stringify(host.slice(0, 100))}; call it as localhost or by its address`,
      )
    }
    if (request.routeOptions.config.public) return
    const bearer = bearerToken(request.headers.authorization ?? '')
    const token = bearer === undefined ? undefined : await store.access.findToken(hashToken(bearer))
    const expired = token !== undefined && token.expiresAtMs !== null && token.expiresAtMs <= Date.now()
    if (!token || expired) {
      reply.header('www-authenticate', 'Bearer realm="hostel"')
      throw new HostelError('unauthenticated', expired ? `the token ${token.name} has expired` : undefined)
    }
    request.token = token
    const { tenant } = (request.params ?? {}) as { tenant?: string }
    // Another's name gets the answer of one that nobody has: whether it is there is not for everyone to know.
    if (tenant !== undefined && ((token.tenant !== null && token.tenant !== tenant) || !(await store.tenants.exists(tenant))))
      throw new HostelError('not_found', `there is no tenant ${tenant.slice(0, 100)}`)
    const needs = request.is404 ? 'any' : (request.routeOptions.config.needs ?? (tenant === undefined ? 'server' : 'admin'))
    if (!mayDo(token, needs)) throw new HostelError('forbidden', refusalOf(token, needs))
  }
}

function mayDo(token: TokenInfo, needs: Needs): boolean {
  if (needs === 'any') return true
  if (needs === 'server') return token.tenant === null && token.scopes.includes('admin')
  return allows(token.scopes, needs)
}

function refusalOf(token: TokenInfo, needs: Needs): string {
  const has = `the token ${token.name} has the scope${token.scopes.length === 1 ? '' : 's'} ${token.scopes.join(', ')}`
  if (needs !== 'server') return `${has}; this takes ${needs}`
  return token.tenant === null
    ? `${has}; this takes admin`
    : `the token ${token.name} is for tenant ${token.tenant}; this takes one for all tenants, with the scope admin`
}

/** The name or address of a Host header, without port and brackets, in lower case. */
function hostName(header: string): string {
  return header
    .replace(/:\d*$/, '')
    .replace(/^\[(.*)\]$/, '$1')
    .toLowerCase()
}
