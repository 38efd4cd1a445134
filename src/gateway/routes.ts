/** The routing table, held in memory: pushed by control, read for every request. */
import type { RoutedFunction, RoutedVersion } from '../functions/types.ts'
import { DEFAULT_TENANT, LIVE_ALIAS } from '../functions/names.ts'
import { HostelError } from '../errors.ts'
import type { Address } from './address.ts'

interface Entry {
  function: RoutedFunction
  aliases: Map<string, RoutedVersion>
  versions: Map<string, RoutedVersion>
}

export interface RoutingTable {
  /** The version meant. @throws HostelError `unknown_function` */
  find(address: Address): RoutedVersion
  /** Replaces everything. */
  replaceAll(functions: RoutedFunction[]): void
  replace(fn: RoutedFunction): void
  remove(tenant: string, name: string): void
  /** Whether control has sent a table yet. */
  readonly filled: boolean
  versions(): Iterable<RoutedVersion>
}

export interface RoutingTableEvents {
  /** After every change, with what changed: sandboxes of this function's other versions are wanted no more. */
  onRetire(tenant: string, name: string, keepVersions: number[]): void
  /** After every change. */
  onVersions(versions: Iterable<RoutedVersion>): void
}

export function createRoutingTable(events: RoutingTableEvents): RoutingTable {
  const entries = new Map<string, Entry>()
  let filled = false

  const put = (fn: RoutedFunction): void => {
    entries.set(keyOf(fn.tenant, fn.name), entryOf(fn))
    // Older versions can still be called by number, but a sandbox kept warm for that is memory badly spent.
    events.onRetire(fn.tenant, fn.name, [...new Set(Object.values(fn.aliases))])
  }
  const drop = (entry: Entry): void => {
    entries.delete(keyOf(entry.function.tenant, entry.function.name))
    events.onRetire(entry.function.tenant, entry.function.name, [])
  }
  function* versions(): Iterable<RoutedVersion> {
    for (const entry of entries.values()) yield* entry.versions.values()
  }

  return {
    find(address) {
      const entry = entries.get(keyOf(address.tenant, address.function))
      // Only what the client itself wrote is repeated, so the detail tells nobody what else is there.
      if (!entry) throw new HostelError('unknown_function', `there is no function ${address.function} in tenant ${address.tenant}${nearMiss(address)}`)
      const { qualifier } = address
      const version = qualifier === null ? entry.aliases.get(LIVE_ALIAS) : (entry.versions.get(qualifier) ?? entry.aliases.get(qualifier))
      if (!version)
        throw new HostelError(
          'unknown_function',
          `${address.tenant}/${address.function} has no ${qualifier === null ? 'live version' : `alias or version ${qualifier}`}`,
        )
      return version
    },
    replaceAll(functions) {
      const names = new Set(functions.map((fn) => keyOf(fn.tenant, fn.name)))
      for (const [key, entry] of entries) if (!names.has(key)) drop(entry)
      for (const fn of functions) put(fn)
      filled = true
      events.onVersions(versions())
    },
    replace(fn) {
      put(fn)
      events.onVersions(versions())
    },
    remove(tenant, name) {
      const entry = entries.get(keyOf(tenant, name))
      if (!entry) return
      drop(entry)
      events.onVersions(versions())
    },
    get filled() {
      return filled
    },
    versions,
  }
}

function keyOf(tenant: string, name: string): string {
  return `${tenant}/${name}`
}

function entryOf(fn: RoutedFunction): Entry {
  const versions = new Map(fn.versions.map((version) => [String(version.version), version]))
  const aliases = new Map<string, RoutedVersion>()
  for (const [alias, number] of Object.entries(fn.aliases)) {
    const version = versions.get(String(number))
    if (version) aliases.set(alias, version)
  }
  return { function: fn, aliases, versions }
}

/** Forgetting the tenant is the commonest slip with the path form. */
function nearMiss(address: Address): string {
  return address.prefix !== null && address.tenant !== DEFAULT_TENANT ? `; the path form is /TENANT/FUNCTION/…, and the usual tenant is ${DEFAULT_TENANT}` : ''
}
