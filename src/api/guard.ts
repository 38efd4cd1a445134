/** Who may come in: the Host header against DNS rebinding, then the bearer token, then its tenant. */
import { createHash } from 'node:crypto'
import { isIP } from 'node:net'
import type { FastifyReply, FastifyRequest } from 'fastify'

import { HostelError } from '../errors.ts'
import type { AccessStore, TokenInfo } from '../store/access.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Answers without a token. */
    public?: boolean
  }
  interface FastifyRequest {
    /** Null on public routes only. */
    token: TokenInfo | null
  }
}

/** Longer tokens than any we make are not worth hashing. */
const TOKEN_MAX_CHARS = 512

/** SHA-256 of a token: what is kept of it. */
export function hashToken(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}

/**
 * A check for each request, before anything of it is read. A browser that was tricked into taking us for another site sends
 * that site's name as Host; addresses can't be rebound, so that names are all there is to check.
 * @param listenHost the host that the API listens on, whose name is allowed.
 */
export function createGuard(access: AccessStore, listenHost: string): (request: FastifyRequest, reply: FastifyReply) => Promise<void> {
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
    const token = await tokenOf(request, access)
    if (!token) {
      reply.header('www-authenticate', 'Bearer realm="hostel"')
      throw new HostelError('unauthenticated')
    }
    request.token = token
    const { tenant } = (request.params ?? {}) as { tenant?: string }
    if (tenant === undefined) return
    if (token.tenant !== null && token.tenant !== tenant) throw new HostelError('forbidden', `this token is for tenant ${token.tenant}`)
    if (!(await access.tenantExists(tenant))) throw new HostelError('not_found', `there is no tenant ${tenant.slice(0, 100)}`)
  }
}

async function tokenOf(request: FastifyRequest, access: AccessStore): Promise<TokenInfo | undefined> {
  const match = /^Bearer +([\x21-\x7e]+)$/i.exec(request.headers.authorization ?? '')
  if (!match || match[1]!.length > TOKEN_MAX_CHARS) return undefined
  return access.findToken(hashToken(match[1]!))
}

/** The name or address of a Host header, without port and brackets, in lower case. */
function hostName(header: string): string {
  return header
    .replace(/:\d*$/, '')
    .replace(/^\[(.*)\]$/, '$1')
    .toLowerCase()
}
