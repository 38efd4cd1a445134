/** What a deploy would change, found without the code when that is not there yet. */
import { isDeepStrictEqual } from 'node:util'

import { HostelError } from '../errors.ts'
import type { RuntimeInfo, ServiceMapping } from '../keeper/messages.ts'
import type { CodeStore } from './code/store.ts'
import { resolveConfig, resolveSettings } from './config.ts'
import type { WantedConfig } from './config.ts'
import type { VersionConfig } from './types.ts'

/** One field that a deploy would change. The values of environment variables are never told. */
export interface FieldChange {
  /** A field of the configuration, `env.NAME`, or `code`. */
  field: string
  kind: 'added' | 'changed' | 'removed'
  from?: unknown
  to?: unknown
}

export interface VersionPlan {
  /** The version that is live now; null when there is no such function yet. */
  live: number | null
  /** Whether the code is here already, so that it need not be uploaded. */
  codeKnown: boolean
  /** None when the live version is the one wished for. All fields are `added` for a function that is not there yet. */
  changes: FieldChange[]
}

interface Present {
  live: { version: number; codeDigest: string; config: VersionConfig } | undefined
  code: CodeStore
  runtimes: readonly RuntimeInfo[]
  services?: readonly ServiceMapping[]
}

/** @throws HostelError `invalid_input` naming the field and what it takes; runtime and handler are checked as soon as the code is known. */
export async function planVersion(wanted: WantedConfig, { live, code, runtimes, services }: Present): Promise<VersionPlan> {
  const codeKnown = code.has(wanted.code)
  if (!codeKnown && wanted.runtime !== undefined && !runtimes.some(({ name }) => name === wanted.runtime)) {
    throw new HostelError(
      'invalid_input',
      `runtime takes one of the installed runtimes (${runtimes.map(({ name }) => name).join(', ')}); got "${wanted.runtime}"`,
    )
  }
  const config: Partial<VersionConfig> = codeKnown
    ? await resolveConfig(wanted, code, runtimes, services)
    : { ...entryOf(wanted), ...resolveSettings(wanted, services) }
  const changes: FieldChange[] = []
  if (live?.codeDigest !== wanted.code) changes.push({ field: 'code', ...changeOf(live?.codeDigest, wanted.code) })
  const fields = new Set([...Object.keys(config), ...Object.keys(live?.config ?? {})]) as Set<keyof VersionConfig>
  for (const field of fields) {
    const [from, to] = [live?.config[field], config[field]]
    if (!codeKnown && (field === 'runtime' || field === 'handler') && to === undefined) continue
    if (field === 'env') changes.push(...envChanges(live?.config.env ?? {}, config.env ?? {}))
    else if (!isDeepStrictEqual(from, to)) changes.push({ field, ...changeOf(from, to) })
  }
  return { live: live?.version ?? null, codeKnown, changes }
}

/** Runtime and handler as far as they are said: what is left to be found in the code may turn out to be the same. */
function entryOf(wanted: WantedConfig): Partial<VersionConfig> {
  return { ...(wanted.runtime !== undefined && { runtime: wanted.runtime }), ...(wanted.handler !== undefined && { handler: wanted.handler }) }
}

function envChanges(from: Record<string, string>, to: Record<string, string>): FieldChange[] {
  return [...new Set([...Object.keys(from), ...Object.keys(to)])]
    .filter((name) => from[name] !== to[name])
    .sort()
    .map((name) => ({ field: `env.${name}`, kind: changeOf(from[name], to[name]).kind }))
}

function changeOf(from: unknown, to: unknown): Omit<FieldChange, 'field'> {
  return from === undefined ? { kind: 'added', to } : to === undefined ? { kind: 'removed', from } : { kind: 'changed', from, to }
}
