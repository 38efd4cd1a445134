import { basename, resolve } from 'node:path'
import { statSync } from 'node:fs'

import type { Deployed, NewVersion } from '../../client/control.ts'
import { ApiError } from '../../client/errors.ts'
import { isName, NAME_TAKES } from '../../functions/names.ts'
import { limits, MEMORY_CLASSES_MIB } from '../../limits.ts'
import { parseDurationMs, parseInteger, parseMemoryMiB } from '../../settings.ts'
import { apiFailure } from '../api-failure.ts'
import { apiOption, collect, examples, jsonOption, newCommand, tenantOption, tokenOption } from '../command.ts'
import { connect } from '../connect.ts'
import { applyTarget, planTarget } from '../deploying.ts'
import type { OnStep, Target } from '../deploying.ts'
import { CliFailure, exitCodes, usageFailure } from '../failure.ts'
import { findManifest } from '../manifest-file.ts'
import { formatMs, note, print, printJson, styled, styledError } from '../output.ts'

export const command = () =>
  newCommand('deploy')
    .description(
      'Make a directory of code a new version of a function, start it once to see that it works, and make it live. Where there is a ' +
        'hostel.yaml, deploy the functions that it names: the plan is shown first, and applied after a question.\n' +
        'Everything below a directory goes along, node_modules too; left out are .git, node_modules/.bin, hostel.yaml and what a .hostelignore ' +
        'file names (one pattern a line, as in .gitignore, without "!").',
    )
    .argument('[dir]', 'the directory with the code, or with hostel.yaml (default: ".")')
    .option('-f, --file <file>', 'a hostel.yaml somewhere else, or of another name')
    .option('--plan', 'show what would change, and change nothing; exit code 8 when something would')
    .option('-y, --yes', 'do not ask before the plan of a hostel.yaml is applied')
    .option('--only <function>', 'only this function of hostel.yaml; may be repeated', collect)
    .option('--prune', 'remove the functions of the tenant that hostel.yaml does not name')
    .option('--name <name>', "the function (default: the directory's name)")
    .option('--runtime <runtime>', 'runtime, see `hostel runtimes ls` (default: by the files that are there)')
    .option('--handler <handler>', 'file or file:export, such as index.ts or main.py:handler (default: the first of those the runtime looks for)')
    .option('--memory <size>', `memory of one sandbox: ${MEMORY_CLASSES_MIB.join(', ')} MiB, as 256MiB or 1GiB (default ${limits.memoryDefaultMiB}MiB)`)
    .option('--timeout <time>', `how long one invocation may take: 500ms, 30s, 5m (default ${limits.timeoutDefaultMs / 1_000}s)`)
    .option('--concurrency <count>', `requests at once in one sandbox (default ${limits.concurrencyDefault})`)
    .option('--env <name=value>', 'environment variable for the function; may be repeated', collect)
    .addOption(tenantOption())
    .addOption(apiOption())
    .addOption(tokenOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples('deploy my-function', 'deploy . --name hello --memory 512MiB --timeout 10s --env GREETING=hi', 'deploy --plan', 'deploy --yes'),
    )
    .action(async (dir, options) => {
      if (dir !== undefined && options.file !== undefined) throw usageFailure('a directory and --file cannot both say what to deploy')
      const manifest = options.file ?? findManifest(resolve(dir ?? '.'))
      if (manifest !== undefined) {
        refuseBeside(
          options,
          [...configFlags, 'name'],
          `${dir ?? options.file ?? 'this directory'} has a hostel.yaml, which says it`,
          'Write it there instead.',
        )
        const { deployManifest } = await import('../deploy-manifest.ts')
        return deployManifest(connect(options).client, manifest, options)
      }
      refuseBeside(options, ['only', 'prune'], 'there is no hostel.yaml', 'Name one with --file, or go to its directory.')
      await deployOne(dir ?? '.', options)
    })

const configFlags = ['runtime', 'handler', 'memory', 'timeout', 'concurrency', 'env'] as const

type Options = ConfigOptions & { name?: string; tenant: string; api?: string; token?: string; json?: true; plan?: true; only?: string[]; prune?: true }

/** @throws CliFailure (usage) when one of these options is given */
function refuseBeside(options: Options, flags: (keyof Options)[], why: string, fix: string): void {
  const given = flags.find((flag) => options[flag] !== undefined)
  if (given !== undefined) throw usageFailure(`--${given} cannot be used here: ${why}`, fix)
}

/** One directory, described by options. */
async function deployOne(dir: string, options: Options): Promise<void> {
  const directory = resolve(dir)
  const name = options.name ?? basename(directory)
  if (!isName(name)) throw badName(name, options.name !== undefined)
  const target: Target = { name, directory, wanted: readConfig(options) }
  if (!statSync(directory).isDirectory()) throw usageFailure(`${dir} is not a directory`, 'Name the directory that holds the code.')
  const { client } = connect(options)
  const onStep: OnStep = (verb, text, ms) => {
    if (!options.json && !options.plan) note(`${verb.padEnd(9)} ${text}  ${styledError('dim', formatMs(ms))}`)
  }
  try {
    const planned = await planTarget(client, options.tenant, target, onStep)
    if (options.plan) {
      const { actionOf, printPlanned } = await import('../plan.ts')
      if (options.json) printJson({ tenant: options.tenant, plan: [{ function: name, action: actionOf(planned), ...planned.plan }] })
      else printPlanned(planned, name.length)
      if (actionOf(planned) !== 'none') process.exitCode = exitCodes.changes.code
      return
    }
    const deployed = await applyTarget(client, options.tenant, planned, onStep)
    if (options.json) return printJson(deployed)
    printResult(deployed)
  } catch (error) {
    throw error instanceof ApiError ? apiFailure(error, directory) : error
  }
}

function printResult(deployed: Deployed): void {
  note(
    deployed.unchanged
      ? `${styledError('bold', deployed.function)} is live as version ${deployed.version} already: code and configuration are the same.`
      : styledError('green', `${deployed.function} is live as version ${deployed.version}.`),
  )
  print(`  ${styled('cyan', deployed.urls.path)}`)
  print(`  ${styled('cyan', deployed.urls.host)}`)
}

interface ConfigOptions {
  runtime?: string
  handler?: string
  memory?: string
  timeout?: string
  concurrency?: string
  env?: string[]
}

/** Checked here, so that a wrong flag is found before anything is sent. */
function readConfig(options: ConfigOptions): Omit<NewVersion, 'code'> {
  return {
    ...(options.runtime !== undefined && { runtime: options.runtime }),
    ...(options.handler !== undefined && { handler: options.handler }),
    ...(options.memory !== undefined && { memoryMiB: readMemory(options.memory) }),
    ...(options.timeout !== undefined && { timeoutMs: readTimeout(options.timeout) }),
    ...(options.concurrency !== undefined && { concurrency: parseInteger('--concurrency', options.concurrency, 1, limits.concurrencyMax) }),
    ...(options.env && { env: readEnv(options.env) }),
  }
}

function readMemory(text: string): (typeof MEMORY_CLASSES_MIB)[number] {
  const memoryMiB = parseMemoryMiB('--memory', text)
  const found = MEMORY_CLASSES_MIB.find((size) => size === memoryMiB)
  if (found === undefined)
    throw usageFailure(
      `--memory takes one of ${MEMORY_CLASSES_MIB.join(', ')} MiB; got "${text}"`,
      `The next that fits is ${MEMORY_CLASSES_MIB.find((size) => size > memoryMiB) ?? MEMORY_CLASSES_MIB.at(-1)}MiB.`,
    )
  return found
}

function readTimeout(text: string): number {
  const timeoutMs = parseDurationMs('--timeout', text)
  if (timeoutMs < 1 || timeoutMs > limits.timeoutMaxMs) throw usageFailure(`--timeout takes a time from 1ms to ${limits.timeoutMaxMs / 60_000}m; got "${text}"`)
  return timeoutMs
}

function readEnv(pairs: string[]): Record<string, string> {
  const env: Record<string, string> = {}
  for (const pair of pairs) {
    const match = /^([A-Za-z_][A-Za-z0-9_]*)=(.*)$/s.exec(pair)
    // The value may be a secret, so only the name is shown.
    if (!match)
      throw usageFailure(
        `--env takes NAME=VALUE with a name of letters, digits and _; got "${pair.split('=')[0]}${pair.includes('=') ? '=…' : ''}"`,
        'Example: --env GREETING=hi',
      )
    env[match[1]!] = match[2]!
  }
  return env
}

function badName(name: string, given: boolean): CliFailure {
  const better = name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^[-0-9]+|-+$/g, '')
    .slice(0, limits.nameMaxChars)
  return usageFailure(
    `"${name}"${given ? '' : ", the directory's name,"} cannot name a function: a name takes ${NAME_TAKES}`,
    isName(better) ? `Use --name ${better}.` : 'Give another --name.',
  )
}
