/** What a token looks like, and what is kept of it; for both planes. */
import { hash, randomBytes } from 'node:crypto'

import { TOKEN_PREFIX } from './names.ts'
import type { Scope } from './types.ts'

/** Longer ones than any we make are not worth hashing. */
const TOKEN_MAX_CHARS = 512
const SECRET_BYTES = 32

export function newToken(): string {
  return TOKEN_PREFIX + randomBytes(SECRET_BYTES).toString('base64url')
}

/** SHA-256 of a token: what is kept of it. A token has 256 random bits, so that nothing slower is needed. */
export function hashToken(token: string): Buffer {
  return hash('sha256', token, 'buffer')
}

/** The token of an Authorization header; undefined when it holds none that could be one. */
export function bearerToken(authorization: string): string | undefined {
  const match = /^Bearer +([\x21-\x7e]+) *$/i.exec(authorization)
  return match && match[1]!.length <= TOKEN_MAX_CHARS ? match[1] : undefined
}

/** Whether scopes allow what needs this one. */
export function allows(scopes: readonly Scope[], needed: Scope): boolean {
  return scopes.includes('admin') || scopes.includes(needed) || (needed === 'read' && scopes.includes('deploy'))
}
