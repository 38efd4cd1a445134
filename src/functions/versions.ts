/** Going back to a version, and taking one away. Each runs alone for its function. */
import { HostelError } from '../errors.ts'
import { limits } from '../limits.ts'
import { toRouted } from '../store/functions.ts'
import type { FunctionStore, StoredFunction, StoredVersion } from '../store/functions.ts'
import type { Gateway, RolledBack } from './deploy.ts'
import { LIVE_ALIAS } from './names.ts'
import { startFailure } from './start-failure.ts'

interface Parts {
  functions: FunctionStore
  gateway: Gateway
}

/** @throws HostelError when there is no version to go back to, or when it does not start. */
export async function rollBack({ functions, gateway }: Parts, wish: { tenant: string; name: string; to: number | undefined }): Promise<RolledBack> {
  const { tenant, name } = wish
  const present = await existing(functions, tenant, name)
  const from = present.aliases[LIVE_ALIAS]!
  const before = await functions.liveBefore(tenant, name)
  const to = wish.to ?? before
  if (to === undefined) {
    throw new HostelError('conflict', `no version of ${name} that is still kept was live before version ${from}; name one that is there with \`to\``)
  }
  const version = versionOf(present, to)
  if (to === from) return { from, version, unchanged: true }
  // As with a deploy: whoever calls the moment after finds a warm sandbox.
  const { createdAtMs: _, ...routed } = version
  const prepared = await gateway.prepare(routed)
  if ('error' in prepared) throw startFailure(prepared.error, to, from, 'did not become live')
  gateway.route(toRouted(await functions.moveLive(tenant, name, to, { back: wish.to === undefined })))
  return { from, version, unchanged: false }
}

/** @throws HostelError `not_found`, or `conflict` when an alias needs it. */
export async function removeVersion({ functions, gateway }: Parts, wish: { tenant: string; name: string; version: number }): Promise<StoredVersion> {
  const { tenant, name } = wish
  const version = versionOf(await existing(functions, tenant, name), wish.version)
  const result = await functions.removeVersion(tenant, name, wish.version)
  if ('neededBy' in result) {
    throw new HostelError('conflict', `version ${wish.version} of ${name} is needed by ${result.neededBy.join(', ')}; make another version that first`)
  }
  gateway.route(toRouted(result.left))
  return version
}

/** @throws HostelError `not_found` */
export function versionOf(present: StoredFunction, number: number): StoredVersion {
  const found = present.versions.find(({ version }) => version === number)
  if (found) return found
  const numbers = present.versions.slice(0, 10).map(({ version }) => version)
  const more = present.versions.length > numbers.length ? ' and older ones' : ''
  throw new HostelError(
    'not_found',
    `${present.name} has no version ${number}; it has ${numbers.join(', ')}${more}. The ${limits.versionsPerFunctionMax} newest are kept, and those an alias needs`,
  )
}

async function existing(functions: FunctionStore, tenant: string, name: string): Promise<StoredFunction> {
  const present = await functions.get(tenant, name)
  if (!present) throw unknownFunction(tenant, name)
  return present
}

/** The error for a function that is not there. */
export function unknownFunction(tenant: string, name: string): HostelError {
  return new HostelError('unknown_function', `tenant ${tenant} has no function ${name}`)
}
