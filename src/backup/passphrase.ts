/** Seals the keys of secrets in a backup with a passphrase, so that the archive alone opens none. */
import { createCipheriv, createDecipheriv, randomBytes, scrypt } from 'node:crypto'
import { promisify } from 'node:util'

import { HostelError } from '../errors.ts'

/** About half a second and 128 MiB (RFC 7914); fixed, so that an archive can't ask for more. */
const COST = { N: 2 ** 17, r: 8, p: 1, maxmem: 256 * 1024 * 1024 }
const ALGORITHM = 'aes-256-gcm'
const TAG_BYTES = 16

const derive = promisify<string, Buffer, number, typeof COST, Buffer>(scrypt)

interface SealedKey {
  salt: string
  nonce: string
  box: string
}

/** The content of a `.sealed` entry. `id` is bound to it. */
export async function sealKey(id: string, key: Buffer, passphrase: string): Promise<string> {
  const salt = randomBytes(16)
  const nonce = randomBytes(12)
  const cipher = createCipheriv(ALGORITHM, await derive(passphrase, salt, 32, COST), nonce, { authTagLength: TAG_BYTES }).setAAD(boundTo(id))
  const box = Buffer.concat([cipher.update(key), cipher.final(), cipher.getAuthTag()])
  const sealed: SealedKey = { salt: salt.toString('hex'), nonce: nonce.toString('hex'), box: box.toString('hex') }
  return `${JSON.stringify(sealed)}\n`
}

/** @throws HostelError `invalid_input` when the passphrase is another one, or the entry is damaged. */
export async function openKey(id: string, text: string, passphrase: string): Promise<Buffer> {
  try {
    const { salt, nonce, box } = JSON.parse(text) as SealedKey
    const bytes = Buffer.from(box, 'hex')
    const key = await derive(passphrase, Buffer.from(salt, 'hex'), 32, COST)
    const decipher = createDecipheriv(ALGORITHM, key, Buffer.from(nonce, 'hex'), { authTagLength: TAG_BYTES })
      .setAAD(boundTo(id))
      .setAuthTag(bytes.subarray(bytes.length - TAG_BYTES))
    return Buffer.concat([decipher.update(bytes.subarray(0, bytes.length - TAG_BYTES)), decipher.final()])
  } catch (error) {
    throw new HostelError('invalid_input', 'this passphrase does not open the keys in the backup', { cause: error })
  }
}

function boundTo(id: string): Buffer {
  return Buffer.from(`hostel backup key 1\0${id}`)
}
