/** The routing table, held in memory: pushed by control, read for every request. */
import type { RoutedFunction, RoutedVersion } from '../functions/types.ts'
import { DEFAULT_TENANT, LIVE_ALIAS } from '../functions/names.ts'
import { HostelError } from '../errors.ts'
import type { Address } from './address.ts'

/** There are many, so that nothing is kept twice: what is asked for seldom is searched among a function's few versions. */
interface Entry {
  function: RoutedFunction
  live: RoutedVersion | undefined
}

/** Functions of a table that comes in pages; between `first` and `last` single changes may come. */
interface RoutesPage {
  functions: RoutedFunction[]
  first: boolean
  last: boolean
}

export interface RoutingTable {
  /** The version meant. @throws HostelError `unknown_function` */
  find(address: Address): RoutedVersion
  /** Replaces everything. */
  replaceAll(functions: RoutedFunction[]): void
  /** A page of a whole table: what none of its pages had is gone after the last. */
  take(page: RoutesPage): void
  replace(fn: RoutedFunction): void
  remove(tenant: string, name: string): void
  /** Whether control has sent a table yet. */
  readonly filled: boolean
  versions(): Iterable<RoutedVersion>
}

export interface RoutingTableEvents {
  /** After every change, with what changed: sandboxes of this function's other versions are wanted no more. */
  onRetire(tenant: string, name: string, keep: readonly RoutedVersion[]): void
  /** After every change, with all there are; may be gone through at any time until the next change. */
  onVersions(versions: Iterable<RoutedVersion>): void
}

export function createRoutingTable(events: RoutingTableEvents): RoutingTable {
  const entries = new Map<string, Entry>()
  let filled = false
  /** Keys of a table that is coming in. */
  let arriving: Set<string> | null = null

  const put = (fn: RoutedFunction): void => {
    const key = keyOf(fn.tenant, fn.name)
    entries.set(key, { function: fn, live: aliased(fn, LIVE_ALIAS) })
    arriving?.add(key)
    // Older versions can still be called by number, but a sandbox kept warm for that is memory badly spent.
    const wanted = new Set(Object.values(fn.aliases))
    events.onRetire(
      fn.tenant,
      fn.name,
      fn.versions.filter(({ version }) => wanted.has(version)),
    )
  }
  const drop = (entry: Entry): void => {
    const key = keyOf(entry.function.tenant, entry.function.name)
    entries.delete(key)
    arriving?.delete(key)
    events.onRetire(entry.function.tenant, entry.function.name, [])
  }
  function* versions(): Iterable<RoutedVersion> {
    for (const entry of entries.values()) yield* entry.function.versions
  }
  const noteVersions = (): void => events.onVersions({ [Symbol.iterator]: () => versions()[Symbol.iterator]() })

  function take({ functions, first, last }: RoutesPage): void {
    if (first) arriving = new Set()
    for (const fn of functions) put(fn)
    if (!last) return
    const present = arriving
    arriving = null
    for (const [key, entry] of entries) if (present && !present.has(key)) drop(entry)
    filled = true
    noteVersions()
  }

  return {
    find(address) {
      const entry = entries.get(keyOf(address.tenant, address.function))
      // Only what the client itself wrote is repeated, so the detail tells nobody what else is there.
      if (!entry) throw new HostelError('unknown_function', `there is no function ${address.function} in tenant ${address.tenant}${nearMiss(address)}`)
      const { qualifier } = address
      const version = qualifier === null ? entry.live : (numbered(entry.function, qualifier) ?? aliased(entry.function, qualifier))
      if (!version)
        throw new HostelError(
          'unknown_function',
          `${address.tenant}/${address.function} has no ${qualifier === null ? 'live version' : `alias or version ${qualifier}`}`,
        )
      return version
    },
    replaceAll(functions) {
      take({ functions, first: true, last: true })
    },
    take,
    replace(fn) {
      put(fn)
      noteVersions()
    },
    remove(tenant, name) {
      const entry = entries.get(keyOf(tenant, name))
      if (!entry) return
      drop(entry)
      noteVersions()
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

function numbered(fn: RoutedFunction, number: string): RoutedVersion | undefined {
  return fn.versions.find(({ version }) => String(version) === number)
}

function aliased(fn: RoutedFunction, alias: string): RoutedVersion | undefined {
  const number = Object.hasOwn(fn.aliases, alias) ? fn.aliases[alias] : undefined
  return fn.versions.find(({ version }) => version === number)
}

/** Forgetting the tenant is the commonest slip with the path form. */
function nearMiss(address: Address): string {
  return address.prefix !== null && address.tenant !== DEFAULT_TENANT ? `; the path form is /TENANT/FUNCTION/…, and the usual tenant is ${DEFAULT_TENANT}` : ''
}
