/** Making tokens and taking them back; the gateway is told of those that may call functions. */
import { HostelError } from '../errors.ts'
import { limits } from '../limits.ts'
import { SERVER_TOKEN_NAME } from '../store/access.ts'
import type { AccessStore, TokenInfo } from '../store/access.ts'
import { hashToken, newToken } from './token.ts'
import type { InvokeToken, Scope } from './types.ts'

export interface NewToken {
  /** Null: all tenants. */
  tenant: string | null
  name: string
  scopes: Scope[]
  expiresAtMs: number | null
}

export interface Tokens {
  /** The token itself is told this once. @throws HostelError `invalid_input`, `conflict` */
  create(wanted: NewToken): Promise<{ token: string; info: TokenInfo }>
  /** @throws HostelError `not_found`, `conflict` for the server's own */
  remove(tenant: string | null, name: string): Promise<TokenInfo>
  /** Tells the gateway once more, after tokens went by other ways. */
  push(): Promise<void>
}

/** In this order they are kept and shown. */
const SCOPES: readonly Scope[] = ['read', 'deploy', 'invoke', 'admin']

export function createTokens(access: AccessStore, gateway: { tokens(tokens: InvokeToken[]): Promise<void> }): Tokens {
  async function push(): Promise<void> {
    await gateway.tokens(await access.invokeTokens())
  }

  return {
    push,

    async create({ tenant, name, scopes, expiresAtMs }) {
      checkExpiry(expiresAtMs)
      if ((await access.count(tenant)) >= limits.tokensPerTenantMax)
        throw new HostelError('conflict', `${ownerOf(tenant)} has ${limits.tokensPerTenantMax} tokens, which is the most there can be; remove one first`)
      const token = newToken()
      const info = await access.addToken({ tenant, name, scopes: SCOPES.filter((scope) => scopes.includes(scope)), expiresAtMs }, hashToken(token))
      if (!info) throw new HostelError('conflict', `${ownerOf(tenant)} has a token ${name} already; remove it first, or take another name`)
      await push()
      return { token, info }
    },

    async remove(tenant, name) {
      if (tenant === null && name === SERVER_TOKEN_NAME)
        throw new HostelError(
          'conflict',
          `${name} is the server's own token, which the CLI on its machine uses; to change it, remove cli.json and restart the server`,
        )
      const removed = await access.removeToken(tenant, name)
      if (!removed) throw new HostelError('not_found', `${ownerOf(tenant)} has no token ${name}`)
      await push()
      return removed
    },
  }
}

function checkExpiry(expiresAtMs: number | null): void {
  if (expiresAtMs === null) return
  const lifeMs = expiresAtMs - Date.now()
  if (lifeMs <= 0 || lifeMs > limits.tokenLifeMaxMs)
    throw new HostelError('invalid_input', 'expiresAtMs takes a time from now to ten years from now, in epoch milliseconds', {
      facts: { field: 'expiresAtMs' },
    })
}

function ownerOf(tenant: string | null): string {
  return tenant === null ? 'the server' : `tenant ${tenant}`
}
