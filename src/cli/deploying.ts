/** Deploying one directory of code: what it would change, and doing it. Shared by `deploy` and `dev`. */
import type { ControlClient, Deployed, NewVersion, Plan } from '../client/control.ts'
import { ApiError } from '../client/errors.ts'
import { formatBytes } from './output.ts'
import { digestDirectory, packDirectory } from './pack.ts'

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

/** Uploads the code where it is not there yet, makes it a version, and makes that live. `level` is how hard it is packed, from 1 to 9. */
export async function applyTarget(client: ControlClient, tenant: string, what: Applicable, onStep: OnStep, level = 6): Promise<Deployed> {
  const { target } = what

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
    const deployed = await client.createVersion(tenant, target.name, { ...target.wanted, code: digest })
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
