/** Deploying: from uploaded code and wishes to a version that has started once and is live. */
import { isDeepStrictEqual } from 'node:util'

import { HostelError, errorKinds } from '../errors.ts'
import type { ErrorCode } from '../errors.ts'
import { describeGuestError } from '../invocations/explain.ts'
import type { RuntimeInfo } from '../keeper/messages.ts'
import { limits } from '../limits.ts'
import type { LinkCalls } from '../link/messages.ts'
import { toRouted } from '../store/functions.ts'
import type { FunctionStore, StoredVersion } from '../store/functions.ts'
import type { CodeStore } from './code/store.ts'
import { resolveConfig } from './config.ts'
import type { WantedConfig } from './config.ts'
import { LIVE_ALIAS } from './names.ts'
import { planVersion } from './plan.ts'
import type { VersionPlan } from './plan.ts'
import { serialised } from './serialised.ts'
import type { RoutedFunction, RoutedVersion, VersionConfig } from './types.ts'

/** What deploying needs of the data plane. */
export interface Gateway {
  /** @throws HostelError `unavailable` when it is away. */
  prepare(version: RoutedVersion): Promise<LinkCalls['prepare']['result']>
  /** Tells it how a function is now. */
  route(changed: RoutedFunction): void
  unroute(tenant: string, name: string): void
}

export interface Deployed {
  version: StoredVersion
  /** The live version was this already, and nothing was done. */
  unchanged: boolean
  /** From specialisation to ready. */
  initMs: number
}

export interface Deployer {
  /** @throws HostelError when the wishes do not fit, or when the function does not start; what was live before stays so then. */
  deploy(tenant: string, name: string, wanted: WantedConfig): Promise<Deployed>
  /** What a deploy would change; changes nothing. @throws HostelError when the wishes do not fit. */
  plan(tenant: string, name: string, wanted: WantedConfig): Promise<VersionPlan>
  /** False when there was no such function. */
  remove(tenant: string, name: string): Promise<boolean>
}

export function createDeployer(parts: { functions: FunctionStore; code: CodeStore; gateway: Gateway; runtimes: readonly RuntimeInfo[] }): Deployer {
  const { functions, code, gateway, runtimes } = parts
  /** One change of a function after the other, so that the last one asked for is the one that is live. */
  const inTurn = serialised()

  async function deploy(tenant: string, name: string, wanted: WantedConfig): Promise<Deployed> {
    const config = await resolveConfig(wanted, code, runtimes)
    const present = await functions.get(tenant, name)
    const live = present?.versions.find(({ version }) => version === present.aliases[LIVE_ALIAS])
    if (live && live.codeDigest === wanted.code && isDeepStrictEqual(configOf(live), config)) return { version: live, unchanged: true, initMs: 0 }
    if (!present && (await functions.count(tenant)) >= limits.functionsPerTenantMax) {
      throw new HostelError('conflict', `tenant ${tenant} has ${limits.functionsPerTenantMax} functions, which is the most it can have; remove one first`)
    }
    const number = await functions.takeVersionNumber(tenant, name)
    const version: RoutedVersion = { ...config, tenant, function: name, version: number, codeDigest: wanted.code, contract: null }
    const prepared = await gateway.prepare(version)
    if ('error' in prepared) throw startFailure(prepared.error, version, live?.version)
    const stored: StoredVersion = { ...version, contract: prepared.contract, createdAtMs: Date.now() }
    const changed = await functions.addVersion(stored, LIVE_ALIAS, () => {
      if (!code.has(wanted.code)) throw new HostelError('conflict', 'the code was removed in the meantime; upload it again')
    })
    gateway.route(toRouted(changed))
    return { version: stored, unchanged: false, initMs: prepared.initMs }
  }

  return {
    deploy(tenant, name, wanted) {
      return inTurn(`${tenant}/${name}`, () => deploy(tenant, name, wanted))
    },
    async plan(tenant, name, wanted) {
      const present = await functions.get(tenant, name)
      const live = present?.versions.find(({ version }) => version === present.aliases[LIVE_ALIAS])
      return planVersion(wanted, { live: live && { ...live, config: configOf(live) }, code, runtimes })
    },
    remove(tenant, name) {
      return inTurn(`${tenant}/${name}`, async () => {
        if (!(await functions.remove(tenant, name))) return false
        gateway.unroute(tenant, name)
        return true
      })
    },
  }
}

function configOf(version: VersionConfig): VersionConfig {
  const { runtime, handler, memoryMiB, timeoutMs, concurrency, env } = version
  return { runtime, handler, memoryMiB, timeoutMs, concurrency, env }
}

type PrepareError = Extract<LinkCalls['prepare']['result'], { error: unknown }>['error']

/** Why a version did not start, and what that means for the function. */
function startFailure(error: PrepareError, version: RoutedVersion, liveVersion: number | undefined): HostelError {
  const code: ErrorCode = Object.hasOwn(errorKinds, error.code) ? (error.code as ErrorCode) : 'init_failed'
  const guest = error.guest
  const reason = guest ? describeGuestError(guest) : error.message
  const consequence = liveVersion === undefined ? 'nothing is live' : `version ${liveVersion} stays live`
  return new HostelError(code, `version ${version.version} did not start and was not kept; ${consequence}. ${reason}`, {
    facts: { ...error.facts, version: version.version, liveVersion: liveVersion ?? null, ...(guest && { guest }) },
  })
}
