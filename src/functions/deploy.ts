/** Deploying: from uploaded code and wishes to a version that has started once and is live. */
import { isDeepStrictEqual } from 'node:util'

import { HostelError } from '../errors.ts'
import type { RuntimeInfo, ServiceMapping } from '../keeper/messages.ts'
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
import { startFailure } from './start-failure.ts'
import type { RoutedFunction, RoutedVersion, VersionConfig } from './types.ts'
import { removeVersion, rollBack } from './versions.ts'

/** What deploying needs of the data plane. */
export interface Gateway {
  /** @throws HostelError `unavailable` when it is away. */
  prepare(version: RoutedVersion): Promise<LinkCalls['prepare']['result']>
  /** Tells it how a function is now. */
  route(changed: RoutedFunction): void
  unroute(tenant: string, name: string): void
}

/** What installs what code depends on. */
export interface Dependencies {
  /**
   * The digest of a tree of code and its dependencies; undefined for code that needs no build. `build` names the log of it.
   * @throws HostelError `build_failed` with the reason
   */
  treeFor(wish: { tenant: string; code: string; runtime: RuntimeInfo; build: string | undefined }): Promise<string | undefined>
}

export interface Deployed {
  version: StoredVersion
  /** What was live before. */
  before: StoredVersion | null
  /** The live version was this already, and nothing was done. */
  unchanged: boolean
  /** From specialisation to ready. */
  initMs: number
}

export interface Deployer {
  /**
   * `build` names the log of a build, should one be needed.
   * @throws HostelError when the wishes do not fit, or when the function does not start; what was live before stays so then.
   */
  deploy(tenant: string, name: string, wanted: WantedConfig, options?: { build: string | undefined }): Promise<Deployed>
  /** What a deploy would change; changes nothing. @throws HostelError when the wishes do not fit. */
  plan(tenant: string, name: string, wanted: WantedConfig): Promise<VersionPlan>
  /**
   * Makes a version that is there live again once it has a warm sandbox: the one given, else the one that was live before.
   * @throws HostelError when there is none, or when it does not start; what is live stays so then.
   */
  rollBack(tenant: string, name: string, to?: number): Promise<RolledBack>
  /** What was taken away. @throws HostelError when there is no such version, or `conflict` when an alias needs it. */
  removeVersion(tenant: string, name: string, version: number): Promise<StoredVersion>
  /** False when there was no such function. */
  remove(tenant: string, name: string): Promise<boolean>
}

export interface RolledBack {
  from: number
  version: StoredVersion
  /** It was live already, and nothing was done. */
  unchanged: boolean
}

interface Parts {
  functions: FunctionStore
  code: CodeStore
  gateway: Gateway
  runtimes: readonly RuntimeInfo[]
  /** Services that versions may name. */
  services?: readonly ServiceMapping[]
  dependencies: Dependencies
}

export function createDeployer(parts: Parts): Deployer {
  const { functions, code, gateway, runtimes, services = [], dependencies } = parts
  /** One change of a function after the other, so that the last one asked for is the one that is live. */
  const inTurn = serialised()

  async function assertRoom(tenant: string): Promise<void> {
    const quota = (await functions.quota(tenant)) ?? limits.functionsPerTenantMax
    if ((await functions.count(tenant)) < quota) return
    throw new HostelError(
      'conflict',
      `tenant ${tenant} may have ${quota} function${quota === 1 ? '' : 's'}, and has as many; remove one first, or have its quota raised`,
    )
  }

  async function deploy(tenant: string, name: string, wanted: WantedConfig, build: string | undefined): Promise<Deployed> {
    const config = await resolveConfig(wanted, code, runtimes, services)
    const present = await functions.get(tenant, name)
    const live = present?.versions.find(({ version }) => version === present.aliases[LIVE_ALIAS])
    if (live && live.codeDigest === wanted.code && isDeepStrictEqual(configOf(live), config)) return { version: live, before: live, unchanged: true, initMs: 0 }
    if (!present) await assertRoom(tenant)
    const runtime = runtimes.find((one) => one.name === config.runtime)!
    const treeDigest = await dependencies.treeFor({ tenant, code: wanted.code, runtime, build })
    const number = await functions.takeVersionNumber(tenant, name)
    const version: RoutedVersion = {
      ...config,
      tenant,
      function: name,
      version: number,
      codeDigest: wanted.code,
      ...(treeDigest !== undefined && { treeDigest }),
      contract: null,
    }
    const prepared = await gateway.prepare(version)
    if ('error' in prepared) throw startFailure(prepared.error, version.version, live?.version, 'was not kept')
    const stored: StoredVersion = { ...version, contract: prepared.contract, createdAtMs: Date.now() }
    const changed = await functions.addVersion(stored, LIVE_ALIAS, () => {
      if (!code.has(wanted.code) || (treeDigest !== undefined && !code.has(treeDigest)))
        throw new HostelError('conflict', 'the code was removed in the meantime; upload it again')
    })
    gateway.route(toRouted(changed))
    return { version: stored, before: live ?? null, unchanged: false, initMs: prepared.initMs }
  }

  return {
    deploy(tenant, name, wanted, options) {
      return inTurn(`${tenant}/${name}`, () => deploy(tenant, name, wanted, options?.build))
    },
    async plan(tenant, name, wanted) {
      const present = await functions.get(tenant, name)
      const live = present?.versions.find(({ version }) => version === present.aliases[LIVE_ALIAS])
      return planVersion(wanted, { live: live && { ...live, config: configOf(live) }, code, runtimes, services })
    },
    rollBack(tenant, name, to) {
      return inTurn(`${tenant}/${name}`, () => rollBack({ functions, gateway }, { tenant, name, to }))
    },
    removeVersion(tenant, name, version) {
      return inTurn(`${tenant}/${name}`, () => removeVersion({ functions, gateway }, { tenant, name, version }))
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
  const { runtime, handler, memoryMiB, timeoutMs, concurrency, auth, env, secrets, egress, services } = version
  return { runtime, handler, memoryMiB, timeoutMs, concurrency, ...(auth && { auth }), env, ...(secrets && { secrets }), egress, services }
}
