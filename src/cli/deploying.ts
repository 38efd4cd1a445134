/** Deploying one directory of code: what it would change, and doing it. Shared by `deploy` and `dev`. */
import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'

import type { BuildLine, ControlClient, Deployed, NewVersion, Plan } from '../client/control.ts'
import { ApiError } from '../client/errors.ts'
import { formatBytes } from './output.ts'
import { digestDirectory, packDirectory } from './pack.ts'

/** For the end of a log after the deploy's own answer. */
const LAST_LINES_MS = 150

export interface Target {
  name: string
  /** Absolute path of its code. */
  directory: string
  wanted: Omit<NewVersion, 'code'>
}

/** Code that is known by its digest. */
export interface Applicable {
  target: Target
  digest: string
  /** Whether the server has it already. */
  codeKnown: boolean
}

export interface PlannedTarget extends Applicable {
  plan: Plan
}

/** Told after each step: what was done, with what, and how long it took. */
export type OnStep = (verb: string, text: string, ms: number) => void

/** Reads the code, and asks the server what a deploy would change. */
export async function planTarget(client: ControlClient, tenant: string, target: Target, onStep: OnStep): Promise<PlannedTarget> {
  const startedAt = performance.now()
  const { digest, files, bytes } = await digestDirectory(target.directory)
  onStep('read', `${files} file${files === 1 ? '' : 's'}, ${formatBytes(bytes)}, as ${digest.slice(0, 12)}`, performance.now() - startedAt)
  const plan = await client.planVersion(tenant, target.name, { ...target.wanted, code: digest })
  return { target, digest, codeKnown: plan.codeKnown, plan }
}

export interface ApplyOptions {
  /** How hard code is packed, from 1 to 9. */
  level?: number
  /** Told of each line of a build's log as it comes. */
  onBuildLine?: (line: BuildLine) => void
}

/** Uploads the code where it is not there yet, makes it a version, and makes that live. */
export async function applyTarget(client: ControlClient, tenant: string, what: Applicable, onStep: OnStep, options: ApplyOptions = {}): Promise<Deployed> {
  const { target } = what
  const { level = 6, onBuildLine } = options

  async function upload(): Promise<string> {
    const startedAt = performance.now()
    const { archive } = await packDirectory(target.directory, { level })
    // What is there now counts, should it have changed since it was read.
    const { digest } = await client.uploadCode(tenant, archive)
    onStep('uploaded', formatBytes(archive.length), performance.now() - startedAt)
    return digest
  }

  async function create(digest: string): Promise<Deployed> {
    const startedAt = performance.now()
    const build = mayNeedBuild(target.directory) ? randomUUID() : undefined
    const deploying = client.createVersion(tenant, target.name, { ...target.wanted, code: digest }, { build })
    if (build !== undefined && onBuildLine) await followBuild(client, tenant, build, deploying, onBuildLine)
    const deployed = await deploying
    const { runtime, handler, contract, memoryMiB, unchanged } = deployed
    onStep(unchanged ? 'checked' : 'started', `${runtime}, ${handler} (${contract}), ${memoryMiB} MiB`, performance.now() - startedAt)
    return deployed
  }

  if (!what.codeKnown) return create(await upload())
  try {
    return await create(what.digest)
  } catch (error) {
    // Code that no version needs is let go of after a while, which may be now.
    if (!(error instanceof ApiError && error.problem.facts?.['field'] === 'code')) throw error
    return create(await upload())
  }
}

/** Whether dependencies may have to be installed, which the server decides; without manifests there is no log worth asking for. */
function mayNeedBuild(directory: string): boolean {
  const has = (name: string): boolean => existsSync(join(directory, name))
  return (has('package.json') && !has('node_modules')) || has('requirements.txt') || has('pyproject.toml')
}

/** Until the build or the deploy is over. That the log can't be read is no reason for a deploy to fail. */
async function followBuild(
  client: ControlClient,
  tenant: string,
  build: string,
  deploying: Promise<unknown>,
  onLine: (line: BuildLine) => void,
): Promise<void> {
  const over = new AbortController()
  const timers: NodeJS.Timeout[] = []
  // The last lines may still be under way when the answer is here.
  const end = (): void => void timers.push(setTimeout(() => over.abort(), LAST_LINES_MS))
  deploying.then(end, end)
  try {
    for await (const line of client.buildLog(tenant, build, over.signal)) onLine(line)
  } catch {
    // The deploy itself tells what is wrong, if anything is.
  } finally {
    for (const timer of timers) clearTimeout(timer)
  }
}

/** For the terminal: when, and what. */
export function buildLineText({ afterMs, text }: BuildLine): string {
  return `${`${(afterMs / 1_000).toFixed(1)} s`.padStart(9)} ${text}`
}
