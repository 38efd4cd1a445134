/** One value, sealed: AES-256-GCM with a nonce of its own, bound to whose it is, what it is called and which key it is under. */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import type { KeyObject } from 'node:crypto'

/** What a sealed value is bound to: in another place of the database it does not open. */
export interface Place {
  tenant: string
  name: string
  keyId: string
}

export interface Sealed {
  nonce: Uint8Array
  /** Ciphertext, then the tag. */
  box: Uint8Array
}

const ALGORITHM = 'aes-256-gcm'
/** 96 bits, random: safe for 2^32 values under one key (NIST SP 800-38D, 8.3), far beyond what fits in here. */
const NONCE_BYTES = 12
const TAG_BYTES = 16

export function seal(value: string, key: KeyObject, place: Place): Sealed {
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv(ALGORITHM, key, nonce, { authTagLength: TAG_BYTES }).setAAD(boundTo(place))
  return { nonce, box: Buffer.concat([cipher.update(value, 'utf8'), cipher.final(), cipher.getAuthTag()]) }
}

/** @throws Error when it was changed, belongs elsewhere, or was sealed with another key. */
export function unseal(sealed: Sealed, key: KeyObject, place: Place): string {
  const { nonce, box } = sealed
  const tag = box.subarray(box.length - TAG_BYTES)
  const decipher = createDecipheriv(ALGORITHM, key, nonce, { authTagLength: TAG_BYTES }).setAAD(boundTo(place)).setAuthTag(tag)
  return Buffer.concat([decipher.update(box.subarray(0, box.length - TAG_BYTES)), decipher.final()]).toString('utf8')
}

/** Names hold no NUL, so that no two places read alike. */
function boundTo(place: Place): Buffer {
  return Buffer.from(`hostel secret 1\0${place.tenant}\0${place.name}\0${place.keyId}`)
}
