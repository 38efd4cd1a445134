/** Takes in the sandboxes that outlived the gateway before, once it is known which versions there are. */
import type { RoutedVersion } from '../functions/types.ts'
import type { Logger } from '../telemetry/logger.ts'
import { endReasons } from './causes.ts'
import type { Fleet } from './fleet.ts'
import type { AdoptedSandbox, KeeperClient } from './keeper.ts'
import { versionKey } from './pool.ts'
import { doorCount } from './doors.ts'
import type { Sandbox } from './sandbox.ts'
import { classOfVersion, spareClassKey } from './spares.ts'

/** Routes come within a second of a start; a sandbox that nobody claims in this time is ended. */
const CLAIM_TIMEOUT_MS = 30_000

export interface AdoptionOptions {
  keeper: KeeperClient
  fleet: Fleet
  logger: Logger
  asSpare(sandbox: Sandbox): void
  asWarm(sandbox: Sandbox, version: RoutedVersion): void
}

export function takeInAdopted(options: AdoptionOptions): { noteVersions(versions: Iterable<RoutedVersion>): void } {
  const { keeper, fleet, logger } = options
  let versions: Iterable<RoutedVersion> | null = null
  const unclaimed = new Map<Sandbox, string>()

  /** Seldom asked, and then of few sandboxes: not worth an index of all versions that there are. */
  function versionOf(label: string): RoutedVersion | undefined {
    for (const version of versions ?? []) if (versionKey(version) === label) return version
    return undefined
  }

  function claim(sandbox: Sandbox, label: string): void {
    const version = versionOf(label)
    // Without a known contract the gateway could not tell how to call it.
    const fits = version !== undefined && version.contract !== null && spareClassKey(classOfVersion(version)) === spareClassKey(sandbox.spareClass)
    if (sandbox.state === 'ending') return
    if (fits && sandbox.listeners.length === doorCount(version)) options.asWarm(sandbox, version)
    else fleet.end(sandbox, endReasons.unknown(), 0)
  }

  async function takeIn(adopted: AdoptedSandbox): Promise<void> {
    const { label } = adopted
    const sandbox = await fleet.adopt(adopted)
    if (label === null) options.asSpare(sandbox)
    else if (versions !== null) claim(sandbox, label)
    else {
      unclaimed.set(sandbox, label)
      setTimeout(() => {
        if (unclaimed.delete(sandbox)) fleet.end(sandbox, endReasons.unknown(), 0)
      }, CLAIM_TIMEOUT_MS).unref()
    }
  }

  keeper.onAdopt = (adopted) => {
    takeIn(adopted).catch((error: Error) => logger.warn({ sandbox: adopted.sandbox, error: error.message }, 'could not take in a sandbox'))
  }

  return {
    noteVersions(all) {
      versions = all
      for (const [sandbox, label] of unclaimed) claim(sandbox, label)
      unclaimed.clear()
    },
  }
}
