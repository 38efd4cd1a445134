/**
 * What tenants may have at once in sandboxes and memory. Each sandbox of a tenant counts with all the memory it may use, from its
 * specialisation until it is gone, so that what a quota allows can be told in advance.
 */
import { HostelError } from '../errors.ts'
import type { Quotas, RoutedVersion, TenantQuotas } from '../functions/types.ts'
import type { VersionPool } from './pool.ts'
import type { Sandbox } from './sandbox.ts'

export interface TenantBounds {
  /** All tenants with quotas. Idle sandboxes that are too many now are ended. */
  set(tenants: readonly TenantQuotas[]): void
  /** Sandboxes of this version that its tenant may have more now. */
  roomFor(version: RoutedVersion): number
  /** For a pool that needs more than the quota leaves it: ends idle sandboxes of its tenant's other versions, the longest idle first. */
  attend(pool: VersionPool): void
  /** @throws HostelError `no_capacity` when its tenant can't have even one. */
  assertPossible(version: RoutedVersion): void
}

export function createTenantBounds(sandboxes: ReadonlyMap<number, Sandbox>, end: (sandbox: Sandbox) => void): TenantBounds {
  let bounds = new Map<string, Quotas>()

  /** How many of such a size are too many when one more is wanted (`more`), or fit: negative then. */
  function excess(tenant: string, quotas: Quotas, size: { memoryMiB: number; more: number }, withEnding: boolean): number {
    let count = size.more
    let memoryMiB = size.more * size.memoryMiB
    for (const sandbox of sandboxes.values()) {
      if (sandbox.version?.tenant !== tenant || (!withEnding && sandbox.state === 'ending')) continue
      count++
      memoryMiB += sandbox.spareClass.memoryMiB
    }
    const tooMany = quotas.sandboxes === null ? Number.NEGATIVE_INFINITY : count - quotas.sandboxes
    const tooLarge = quotas.memoryMiB === null ? Number.NEGATIVE_INFINITY : Math.ceil((memoryMiB - quotas.memoryMiB) / size.memoryMiB)
    return Math.max(tooMany, tooLarge)
  }

  function endIdle(tenant: string, isOver: () => boolean, except?: VersionPool): void {
    const idle = [...sandboxes.values()].filter((one) => one.isIdle && one.version!.tenant === tenant && (except === undefined || one.pool !== except))
    idle.sort((a, b) => a.idleSinceMs - b.idleSinceMs)
    for (const sandbox of idle) {
      if (!isOver()) return
      end(sandbox)
    }
  }

  /** The quota in words, for whoever waited in vain. */
  function describe(tenant: string): string {
    const quotas = bounds.get(tenant)
    const parts = [
      ...(quotas?.sandboxes === null || quotas === undefined ? [] : [`${quotas.sandboxes} sandbox${quotas.sandboxes === 1 ? '' : 'es'}`]),
      ...(quotas?.memoryMiB === null || quotas === undefined ? [] : [`${quotas.memoryMiB} MiB`]),
    ]
    return `tenant ${tenant} is at its quota of ${parts.join(' and ')}`
  }

  return {
    set(tenants) {
      bounds = new Map(tenants.map(({ tenant, quotas }) => [tenant, quotas]))
      for (const [tenant, quotas] of bounds) endIdle(tenant, () => excess(tenant, quotas, { memoryMiB: 1, more: 0 }, false) > 0)
    },

    roomFor(version) {
      const quotas = bounds.get(version.tenant)
      return quotas === undefined ? Number.POSITIVE_INFINITY : Math.max(0, -excess(version.tenant, quotas, { memoryMiB: version.memoryMiB, more: 0 }, true))
    },

    attend(pool) {
      const { version } = pool
      pool.quota = null
      if (pool.needed <= pool.wanted) return
      pool.quota = describe(version.tenant)
      const quotas = bounds.get(version.tenant)
      if (quotas === undefined) return
      // Those that are ending make room already.
      endIdle(version.tenant, () => excess(version.tenant, quotas, { memoryMiB: version.memoryMiB, more: 1 }, false) > 0, pool)
    },

    assertPossible({ tenant, memoryMiB }) {
      const quotas = bounds.get(tenant)
      if (quotas === undefined) return
      if (quotas.sandboxes === 0) throw new HostelError('no_capacity', `tenant ${tenant} may have no sandboxes at the moment`)
      if (quotas.memoryMiB !== null && memoryMiB > quotas.memoryMiB)
        throw new HostelError('no_capacity', `a sandbox of ${memoryMiB} MiB is more than the ${quotas.memoryMiB} MiB that tenant ${tenant} may use in all`)
    },
  }
}
