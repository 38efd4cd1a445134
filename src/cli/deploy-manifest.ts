/** `hostel deploy` with a hostel.yaml: the plan, a question, and its functions one after the other. */
import type { ControlClient, Deployed } from '../client/control.ts'
import { closest } from '../manifest/closest.ts'
import { canAsk, confirm } from './confirm.ts'
import { applyTarget, buildLineText, planTarget } from './deploying.ts'
import type { PlannedTarget, Target } from './deploying.ts'
import { CliFailure, exitCodes, usageFailure } from './failure.ts'
import { assertSecrets, loadManifest, locatedFailure, secretsOf } from './manifest-file.ts'
import type { LoadedManifest } from './manifest-file.ts'
import type { ManifestFunction } from '../manifest/parse.ts'
import { formatMs, note, print, printJson, styled, styledError } from './output.ts'
import { actionOf, printOther, printPlanned } from './plan.ts'

export interface ManifestOptions {
  tenant: string
  plan?: boolean | undefined
  yes?: boolean | undefined
  prune?: boolean | undefined
  only?: string[] | undefined
  json?: boolean | undefined
}

/** @throws CliFailure with file and line for what is wrong in the manifest, before anything is changed */
export async function deployManifest(client: ControlClient, path: string, options: ManifestOptions): Promise<void> {
  if (options.only && options.prune) throw usageFailure('--only and --prune do not go together', 'Take one away: --prune looks at all functions.')
  const manifest = await loadManifest(path)
  const items = choose(manifest, options.only)
  if (items.some((item) => secretsOf(item).length > 0)) {
    assertSecrets(manifest, items, options.tenant, new Set((await client.secrets(options.tenant)).map(({ name }) => name)))
  }
  const planned: PlannedTarget[] = []
  for (const item of items) {
    planned.push(await located(manifest, item, () => planTarget(client, options.tenant, manifestTarget(item), () => {})))
  }
  const names = new Set(manifest.functions.map(({ name }) => name))
  const others = options.only ? [] : (await client.functions(options.tenant)).map(({ name }) => name).filter((name) => !names.has(name))
  const removals = options.prune ? others : []
  const todo = planned.filter((item) => actionOf(item) !== 'none')

  if (!options.json) showPlan(manifest, options, planned, others)
  const changes = todo.length + removals.length
  if (options.plan || changes === 0) {
    if (options.json) printJson(document(manifest, options, planned, others, [], []))
    else if (changes === 0) note('Nothing to do.')
    if (options.plan && changes > 0) process.exitCode = exitCodes.changes.code
    return
  }
  await agree(options, todo.length, removals.length)

  const deployed: Deployed[] = []
  for (const item of todo) {
    const source = items.find(({ name }) => name === item.target.name)!
    deployed.push(
      await located(
        manifest,
        source,
        () => apply(client, options, item),
        () => leftNote(todo.slice(deployed.length + 1), removals),
      ),
    )
  }
  for (const name of removals) {
    await client.removeFunction(options.tenant, name)
    if (!options.json) print(`Removed ${name}.`)
  }
  if (options.json) printJson(document(manifest, options, planned, others, deployed, removals))
}

export function manifestTarget({ name, source, wanted }: ManifestFunction): Target {
  return { name, directory: source, wanted }
}

/** The functions asked for, all without a choice. @throws CliFailure (usage) */
export function choose(manifest: LoadedManifest, only: string[] | undefined): ManifestFunction[] {
  const names = manifest.functions.map(({ name }) => name)
  for (const name of only ?? []) {
    if (names.includes(name)) continue
    const close = closest(name, names)
    throw usageFailure(`${manifest.shown} has no function "${name}"`, close ? `Did you mean "${close}"?` : `It has ${names.join(', ')}.`)
  }
  return manifest.functions.filter(({ name }) => !only || only.includes(name))
}

async function apply(client: ControlClient, options: ManifestOptions, item: PlannedTarget): Promise<Deployed> {
  const startedAt = performance.now()
  const deployed = await applyTarget(client, options.tenant, item, () => {}, {
    onBuildLine: (line) => options.json || note(styledError('dim', buildLineText(line))),
  })
  if (options.json) return deployed
  note(
    `${styledError('green', `${deployed.function} is live as version ${deployed.version}.`)}  ${styledError('dim', formatMs(performance.now() - startedAt))}`,
  )
  print(`  ${styled('cyan', deployed.urls.path)}`)
  return deployed
}

/** Runs what is about one function; its failure tells the line, or the function. */
async function located<T>(manifest: LoadedManifest, item: ManifestFunction, work: () => Promise<T>, onFailure?: () => void): Promise<T> {
  try {
    return await work()
  } catch (error) {
    onFailure?.()
    throw locatedFailure(error, manifest, item)
  }
}

function showPlan(manifest: LoadedManifest, options: ManifestOptions, planned: PlannedTarget[], others: string[]): void {
  const count = manifest.functions.length
  print(`${styled('bold', manifest.shown)}: ${count} function${count === 1 ? '' : 's'}, tenant ${options.tenant}`)
  const width = Math.max(...[...planned.map(({ target }) => target.name), ...others].map((name) => name.length))
  for (const item of planned) printPlanned(item, width)
  for (const name of others) printOther(name, options.prune === true, width)
}

/** @throws CliFailure when the answer is no, or when there is nobody to ask */
async function agree(options: ManifestOptions, deploys: number, removals: number): Promise<void> {
  if (options.yes) return
  if (options.json || !canAsk()) {
    throw usageFailure('nothing was changed: there is no terminal to ask on', 'Add --yes to deploy without a question, or --plan to see what would change.')
  }
  const parts = [
    ...(deploys > 0 ? [`Deploy ${deploys} function${deploys === 1 ? '' : 's'}`] : []),
    ...(removals > 0 ? [`${deploys > 0 ? 'remove' : 'Remove'} ${removals} for good`] : []),
  ]
  if (!(await confirm(`${parts.join(' and ')}?`, removals > 0 ? 'no' : 'yes'))) {
    throw new CliFailure('failure', 'nothing was changed', { why: 'the answer was not yes' })
  }
}

function leftNote(left: PlannedTarget[], removals: string[]): void {
  const names = [...left.map(({ target }) => target.name), ...removals]
  if (names.length > 0) note(`Not done any more: ${names.join(', ')}. The next deploy goes on there.`)
}

function document(manifest: LoadedManifest, options: ManifestOptions, planned: PlannedTarget[], others: string[], deployed: Deployed[], removed: string[]) {
  return {
    file: manifest.file,
    tenant: options.tenant,
    plan: [
      ...planned.map((item) => ({ function: item.target.name, action: actionOf(item), live: item.plan.live, changes: item.plan.changes })),
      ...others.map((name) => ({ function: name, action: options.prune ? 'remove' : 'leave' })),
    ],
    deployed,
    removed,
  }
}
