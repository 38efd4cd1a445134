/** Setting, listing and removing a tenant's secrets, and changing the key they are sealed with. What a change means for functions that run is here. */
import { HostelError } from '../errors.ts'
import type { RoutedFunction } from '../functions/types.ts'
import { limits } from '../limits.ts'
import type { SecretStore } from '../store/secrets.ts'
import { environmentBytes } from './vault.ts'
import type { Vault } from './vault.ts'

/** What a change of a secret needs of the data plane. */
export interface SecretsGateway {
  /** The functions of a tenant of which some version names this secret. */
  namingSecret(tenant: string, name: string): RoutedFunction[]
  /** Sends these functions anew, with their secrets as they are now; resolves once new calls get them, or when the gateway is away. */
  resend(functions: readonly RoutedFunction[]): Promise<void>
}

export interface SecretInfo {
  name: string
  createdAtMs: number
  updatedAtMs: number
  /** Functions that call for it through an alias, `live` among them. */
  usedBy: string[]
  /** False when its key is lost: set it anew. */
  readable: boolean
}

export interface Secrets {
  list(tenant: string): Promise<SecretInfo[]>
  /** Sandboxes with the old value get no new requests, and end when theirs have. @throws HostelError `invalid_input`, `conflict` */
  set(tenant: string, name: string, value: string): Promise<SecretInfo>
  /** @throws HostelError `not_found`, and `conflict` when functions use it and `force` is not set. */
  remove(tenant: string, name: string, options: { force: boolean }): Promise<{ usedBy: string[] }>
  /** Gives how many secrets were sealed anew. */
  rotateKey(): Promise<number>
}

export function createSecrets(parts: { vault: Vault; store: SecretStore; gateway: SecretsGateway }): Secrets {
  const { vault, store, gateway } = parts

  function usedBy(tenant: string, name: string): string[] {
    return gateway
      .namingSecret(tenant, name)
      .filter((one) => versionsInUse(one).some(({ secrets }) => Object.values(secrets ?? {}).includes(name)))
      .map((one) => one.name)
      .sort()
  }

  /** @throws HostelError when a function would get more than an environment may hold */
  function checkRoom(tenant: string, name: string, value: string): void {
    const functions = gateway.namingSecret(tenant, name)
    for (const [index, filled] of vault.filled(functions).entries()) {
      const inUse = new Set(versionsInUse(functions[index]!))
      for (const [at, version] of functions[index]!.versions.entries()) {
        const variables = Object.entries(version.secrets ?? {}).filter(([, secret]) => secret === name)
        if (!inUse.has(version) || variables.length === 0) continue
        const env = { ...filled.versions[at]!.env, ...Object.fromEntries(variables.map(([variable]) => [variable, value])) }
        if (environmentBytes(env) > limits.envMaxBytes)
          throw new HostelError('invalid_input', `value takes a text with which the environment of ${filled.name} has at most ${limits.envMaxBytes} bytes`, {
            facts: { field: 'value', function: filled.name },
          })
      }
    }
  }

  return {
    async list(tenant) {
      const all = await store.all()
      return all
        .filter((secret) => secret.tenant === tenant)
        .map(({ name, createdAtMs, updatedAtMs }) => ({
          name,
          createdAtMs,
          updatedAtMs,
          usedBy: usedBy(tenant, name),
          readable: vault.isReadable(tenant, name),
        }))
    },

    async set(tenant, name, value) {
      const bytes = Buffer.byteLength(value)
      if (bytes === 0 || bytes > limits.secretValueMaxBytes || value.includes('\0') || !value.isWellFormed())
        throw new HostelError('invalid_input', `value takes a text of 1 to ${limits.secretValueMaxBytes} bytes of UTF-8 without NUL characters`, {
          facts: { field: 'value', bytes },
        })
      if (!vault.has(tenant, name) && vault.count(tenant) >= limits.secretsPerTenantMax)
        throw new HostelError('conflict', `tenant ${tenant} has ${limits.secretsPerTenantMax} secrets, which is the most it can have; remove one first`)
      checkRoom(tenant, name, value)
      const { createdAtMs, updatedAtMs } = await vault.set(tenant, name, value)
      await gateway.resend(gateway.namingSecret(tenant, name))
      return { name, createdAtMs, updatedAtMs, usedBy: usedBy(tenant, name), readable: true }
    },

    async remove(tenant, name, { force }) {
      if (!vault.has(tenant, name)) throw new HostelError('not_found', `tenant ${tenant} has no secret ${name}`)
      const users = usedBy(tenant, name)
      if (users.length > 0 && !force)
        throw new HostelError('conflict', `secret ${name} is used by ${list(users)}; deploy without it first, or remove it by force`, {
          facts: { usedBy: users },
        })
      await vault.remove(tenant, name)
      await gateway.resend(gateway.namingSecret(tenant, name))
      return { usedBy: users }
    },

    rotateKey() {
      return vault.rotateKey()
    },
  }
}

/** Versions that an alias points at. */
function versionsInUse(one: RoutedFunction) {
  const numbers = Object.values(one.aliases)
  return one.versions.filter(({ version }) => numbers.includes(version))
}

function list(names: string[]): string {
  return names.length <= 10 ? names.join(', ') : `${names.slice(0, 10).join(', ')} and ${names.length - 10} more`
}
