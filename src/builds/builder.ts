/**
 * The builders: code of ours that runs in a sandbox like any function, of a tenant that no token, URL or route can name. Each build
 * is a version of its own, so that no sandbox ever serves two of them.
 */
import { existsSync, readFileSync } from 'node:fs'
import { Readable } from 'node:stream'

import type { CodeStore } from '../functions/code/store.ts'
import { SYSTEM_TENANT } from '../functions/names.ts'
import type { RoutedVersion } from '../functions/types.ts'
import { limits } from '../limits.ts'
import type { MemoryClassMiB } from '../limits.ts'
import type { Need } from './need.ts'
import { packFiles } from './source.ts'

/** Where packages come from, as the operator set it. */
export interface Registries {
  npm: string
  pip: string
}

export interface Builders {
  /** Changes with what builders are. */
  digest(): Promise<string>
  /** The version that makes one build. */
  versionOf(build: string, need: Need, runtime: string): Promise<RoutedVersion>
  /** Where the packages of a tool come from. */
  registryOf(tool: Need['tool']): string
}

/** What the host trusts, builders trust: a registry may stand behind a company's own authority. */
const HOST_CERTIFICATES = '/etc/ssl/certs/ca-certificates.crt'
const SOURCES = { 'npm.mjs': '../../guest/build/npm.mjs', 'pip.py': '../../guest/build/pip.py' }
/** Where the public index keeps its files. */
const PYPI = { index: 'pypi.org', files: 'files.pythonhosted.org:443' }

const HANDLERS = { npm: 'npm.mjs', pip: 'pip.py:handler' } as const

/** @param budgetMiB memory of all sandboxes together. */
export function createBuilders(code: CodeStore, registries: Registries, budgetMiB: number): Builders {
  // Half of a server may be builds; below 512 MiB npm itself does not fit.
  const memoryMiB: MemoryClassMiB = ([2048, 1024] as const).find((one) => one * limits.buildsAtOnceMax <= budgetMiB) ?? 512
  let known: string | undefined

  /** Puts them where the keeper finds code; again when they were collected as unused. */
  async function digest(): Promise<string> {
    if (known !== undefined && code.has(known)) return known
    const files = new Map(Object.entries(SOURCES).map(([name, path]) => [name, readFileSync(new URL(path, import.meta.url))]))
    files.set('ca.pem', existsSync(HOST_CERTIFICATES) ? readFileSync(HOST_CERTIFICATES) : Buffer.from('\n'))
    known = (await code.receive(Readable.from([await packFiles(files)]))).digest
    return known
  }

  return {
    digest,
    registryOf: (tool) => registries[tool],
    async versionOf(build, need, runtime) {
      const registry = registries[need.tool]
      const env: Record<string, string> =
        need.tool === 'npm' ? { BUILD_COMMAND: need.command.replace('npm ', ''), BUILD_REGISTRY: registry } : { BUILD_INDEX: registry }
      return {
        tenant: SYSTEM_TENANT,
        function: `build-${build}`,
        version: 1,
        codeDigest: await digest(),
        contract: null,
        runtime,
        handler: HANDLERS[need.tool],
        memoryMiB,
        timeoutMs: limits.buildTimeoutMs,
        concurrency: 1,
        // An operator's registry on this machine is reached by the door like any other.
        env: { ...env, NO_PROXY: '', no_proxy: '' },
        egress: egressOf(registry),
        services: [],
      }
    },
  }
}

/** The doors that a registry needs. */
export function egressOf(registry: string): string[] {
  const { hostname, port, protocol } = new URL(registry)
  const rules = [`${hostname}:${port || (protocol === 'https:' ? '443' : '80')}`]
  if (hostname === PYPI.index) rules.push(PYPI.files)
  return rules
}
