/** The tenants' secrets, sealed; opened only to seal them anew and to fill in the environment of versions on their way to the gateway. */
import { createHash } from 'node:crypto'

import { HostelError } from '../errors.ts'
import type { RoutedFunction, RoutedVersion } from '../functions/types.ts'
import { limits } from '../limits.ts'
import type { SecretStore, StoredSecret } from '../store/secrets.ts'
import type { KeyRing } from './keys.ts'
import { seal, unseal } from './seal.ts'

export interface Vault {
  /** Keeps a value, in place of the one before. */
  set(tenant: string, name: string, value: string): Promise<StoredSecret>
  has(tenant: string, name: string): boolean
  count(tenant: string): number
  /** Whether the value can be opened: not when its key is lost. */
  isReadable(tenant: string, name: string): boolean
  /** To be called when a tenant was removed, and its secrets with it: one of the same name later gets none of them. */
  forgetTenant(tenant: string): void
  /** Nothing happens when it is not there. */
  remove(tenant: string, name: string): Promise<void>
  /** Seals every value anew with a new key, all or none, and removes the old key. Gives how many there are. @throws HostelError `conflict` */
  rotateKey(): Promise<number>
  /** Values that can't be opened, as `tenant/name`. */
  unreadable(): string[]
  /** These functions with the secrets of their versions in their environment; those that are not there or can't be opened are left out. */
  filled(functions: readonly RoutedFunction[]): RoutedFunction[]
  /** The same for one version that is about to start. @throws HostelError `invalid_input` when a secret is missing or there is too much. */
  fillVersion(version: RoutedVersion): RoutedVersion
}

/** Opens what is there, and ends what a crash left of a change of keys: keys that nothing is sealed with are removed. */
export async function openVault(store: SecretStore, keys: KeyRing): Promise<Vault> {
  const rows = new Map((await store.all()).map((row) => [idOf(row.tenant, row.name), row]))
  let currentKey = await store.currentKey()
  keys.keepOnly(keyIdsInUse())

  function keyIdsInUse(): string[] {
    return [...new Set([...(currentKey === undefined ? [] : [currentKey]), ...[...rows.values()].map(({ keyId }) => keyId)])]
  }

  /** The key that new values are sealed with, made when there is none. */
  function sealingKey(): string {
    return currentKey !== undefined && keys.get(currentKey) ? currentKey : keys.create()
  }

  function sealed(tenant: string, name: string, value: string, keyId: string): Pick<StoredSecret, 'keyId' | 'nonce' | 'box'> {
    return { keyId, ...seal(value, keys.get(keyId)!, { tenant, name, keyId }) }
  }

  function open(row: StoredSecret): string | undefined {
    const key = keys.get(row.keyId)
    if (!key) return undefined
    try {
      return unseal(row, key, row)
    } catch {
      return undefined
    }
  }

  function unreadable(): string[] {
    return [...rows.values()].filter((row) => open(row) === undefined).map(({ tenant, name }) => `${tenant}/${name}`)
  }

  /** Opens each secret once, however many versions it goes to. */
  function filler(): (version: RoutedVersion, onMissing: (name: string, why: string) => void) => RoutedVersion {
    const opened = new Map<string, string | undefined>()
    return (version, onMissing) => {
      const { secrets, ...rest } = version
      if (!secrets) return version
      const env = { ...version.env }
      const revisions = createHash('sha256')
      for (const [variable, name] of Object.entries(secrets)) {
        const id = idOf(version.tenant, name)
        const row = rows.get(id)
        if (row && !opened.has(id)) opened.set(id, open(row))
        const value = opened.get(id)
        if (value !== undefined) env[variable] = value
        else onMissing(name, row ? 'can not be opened, since its key is lost; set it anew' : `is not set; set it with \`hostel secrets set ${name}\``)
        revisions.update(`${variable}\0${value === undefined ? '' : row!.revision}\0`)
      }
      return { ...rest, env, secretsRevision: revisions.digest('hex').slice(0, 16) }
    }
  }

  return {
    async set(tenant, name, value) {
      const keyId = sealingKey()
      const row = await store.put({ tenant, name, ...sealed(tenant, name, value, keyId) })
      currentKey = keyId
      rows.set(idOf(tenant, name), row)
      return row
    },

    has(tenant, name) {
      return rows.has(idOf(tenant, name))
    },

    count(tenant) {
      return [...rows.values()].filter((row) => row.tenant === tenant).length
    },

    isReadable(tenant, name) {
      const row = rows.get(idOf(tenant, name))
      return row !== undefined && open(row) !== undefined
    },

    forgetTenant(tenant) {
      for (const [id, row] of rows) if (row.tenant === tenant) rows.delete(id)
    },

    async remove(tenant, name) {
      await store.remove(tenant, name)
      rows.delete(idOf(tenant, name))
    },

    async rotateKey() {
      const lost = unreadable()
      if (lost.length > 0)
        throw new HostelError(
          'conflict',
          `the key can't be changed while ${lost.length} secrets can't be opened, among them ${lost.slice(0, 5).join(', ')}; set them anew or remove them first`,
        )
      // 1. The new key is on disk. 2. All values change to it in one transaction. 3. The old key goes. A crash in between is tidied up at the next start.
      const keyId = keys.create()
      const changed = await store.resealAll(keyId, (row) => sealed(row.tenant, row.name, open(row)!, keyId))
      currentKey = keyId
      for (const row of changed) rows.set(idOf(row.tenant, row.name), row)
      keys.keepOnly(keyIdsInUse())
      return changed.length
    },

    unreadable,

    filled(functions) {
      const fillOne = filler()
      return functions.map((one) =>
        one.versions.some(({ secrets }) => secrets) ? { ...one, versions: one.versions.map((version) => fillOne(version, () => {})) } : one,
      )
    },

    fillVersion(version) {
      const filled = filler()(version, (name, why) => {
        throw new HostelError('invalid_input', `secrets takes names of secrets that are set; tenant ${version.tenant}'s secret ${name} ${why}`, {
          facts: { field: 'secrets', secret: name },
        })
      })
      if (filled !== version && environmentBytes(filled.env) > limits.envMaxBytes)
        throw new HostelError('invalid_input', `secrets takes values that fit into ${limits.envMaxBytes} bytes together with the environment`, {
          facts: { field: 'secrets' },
        })
      return filled
    },
  }
}

/** Bytes of names and values. */
export function environmentBytes(env: Record<string, string>): number {
  return Object.entries(env).reduce((sum, [name, value]) => sum + Buffer.byteLength(name) + Buffer.byteLength(value), 0)
}

function idOf(tenant: string, name: string): string {
  return `${tenant}/${name}`
}
