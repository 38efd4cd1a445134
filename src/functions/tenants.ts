/** Making tenants, bounding them, and taking them away with all that is theirs. */
import { HostelError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { Store } from '../store/store.ts'
import type { StoredTenant } from '../store/tenants.ts'
import type { Deployer } from './deploy.ts'
import { DEFAULT_TENANT, LIVE_ALIAS, RESERVED_TENANTS } from './names.ts'
import type { Tokens } from './tokens.ts'
import type { Quotas, TenantQuotas } from './types.ts'

export interface Tenants {
  /** @throws HostelError `invalid_input` for a reserved name, `conflict` */
  create(name: string, quotas: Partial<Quotas>): Promise<StoredTenant>
  /** Changes the quotas given. @throws HostelError `not_found` */
  setQuotas(name: string, quotas: Partial<Quotas>): Promise<{ before: StoredTenant; after: StoredTenant }>
  /**
   * With `force`, its functions go first: their sandboxes take no more requests. Its tokens, logs and records go in any case.
   * @throws HostelError `not_found`, `conflict` while it has functions
   */
  remove(name: string, force: boolean): Promise<StoredTenant>
}

const UNBOUNDED: Quotas = { functions: null, sandboxes: null, memoryMiB: null, requestsPerSecond: null }
const PAGE = 100

export function createTenants(parts: {
  store: Pick<Store, 'tenants' | 'functions' | 'forgetRecordsOf'>
  deployer: Deployer
  tokens: Tokens
  gateway: { quotas(tenants: TenantQuotas[]): Promise<void> }
  /** Its secrets go with it. */
  vault: { forgetTenant(tenant: string): void }
}): Tenants {
  const { store, deployer, tokens, gateway, vault } = parts

  async function push(): Promise<void> {
    await gateway.quotas(await store.tenants.quotas())
  }

  async function existing(name: string): Promise<StoredTenant> {
    const found = await store.tenants.get(name)
    if (!found) throw new HostelError('not_found', `there is no tenant ${name}`)
    return found
  }

  async function removeFunctions(tenant: string): Promise<void> {
    for (;;) {
      const page = await store.functions.list(tenant, LIVE_ALIAS, { after: '', limit: PAGE })
      if (page.length === 0) return
      for (const { name } of page) await deployer.remove(tenant, name)
    }
  }

  return {
    async create(name, quotas) {
      if (RESERVED_TENANTS.includes(name))
        throw new HostelError('invalid_input', `name takes a name that is not reserved; ${name} is one of ${RESERVED_TENANTS.join(', ')}`)
      if ((await store.tenants.count()) >= limits.tenantsMax)
        throw new HostelError('conflict', `there are ${limits.tenantsMax} tenants, which is the most there can be; remove one first`)
      // What a tenant of this name left behind as it was removed, written by requests that were still running.
      await store.forgetRecordsOf(name)
      if (!(await store.tenants.add(name, { ...UNBOUNDED, ...quotas }))) throw new HostelError('conflict', `there is a tenant ${name} already`)
      await push()
      return existing(name)
    },

    async setQuotas(name, quotas) {
      const before = await existing(name)
      await store.tenants.setQuotas(name, { ...before.quotas, ...quotas })
      await push()
      return { before, after: await existing(name) }
    },

    async remove(name, force) {
      if (name === DEFAULT_TENANT) throw new HostelError('conflict', `${DEFAULT_TENANT} is always there; remove its functions instead`)
      const before = await existing(name)
      if (before.functions > 0 && !force) {
        const some = (await store.functions.list(name, LIVE_ALIAS, { after: '', limit: 5 })).map((one) => one.name)
        const more = before.functions > some.length ? ` and ${before.functions - some.length} more` : ''
        throw new HostelError('conflict', `tenant ${name} has functions: ${some.join(', ')}${more}; remove them first, or all of it with force`)
      }
      await removeFunctions(name)
      if (!(await store.tenants.remove(name))) throw new HostelError('conflict', `tenant ${name} got another function in the meantime; try again`)
      vault.forgetTenant(name)
      await Promise.all([push(), tokens.push(), store.forgetRecordsOf(name)])
      return before
    },
  }
}
