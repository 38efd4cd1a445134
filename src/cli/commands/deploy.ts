import type { Deployed } from '../../client/control.ts'
import { ApiError } from '../../client/errors.ts'
import { apiFailure } from '../api-failure.ts'
import { apiOption, examples, jsonOption, tenantOption, tokenOption } from '../command.ts'
import { connect } from '../connect.ts'
import { applyTarget, buildLineText, planTarget } from '../deploying.ts'
import type { OnStep, Target } from '../deploying.ts'
import { exitCodes, usageFailure } from '../failure.ts'
import { formatMs, note, print, printJson, styled, styledError } from '../output.ts'
import { manifestOf, newTargetCommand, targetOf } from '../targets.ts'

export const command = () =>
  newTargetCommand('deploy')
    .description(
      'Make a directory of code a new version of a function, start it once to see that it works, and make it live. Where there is a ' +
        'hostel.yaml, deploy the functions that it names: the plan is shown first, and applied after a question.\n' +
        'Everything below a directory goes along, node_modules too; left out are .git, node_modules/.bin, __pycache__, swap files of editors, ' +
        'hostel.yaml and what a .hostelignore file names (one pattern a line, as in .gitignore, without "!").',
    )
    .option('--plan', 'show what would change, and change nothing; exit code 8 when something would')
    .option('-y, --yes', 'do not ask before the plan of a hostel.yaml is applied')
    .option('--prune', 'remove the functions of the tenant that hostel.yaml does not name')
    .addOption(tenantOption())
    .addOption(apiOption())
    .addOption(tokenOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples('deploy my-function', 'deploy . --name hello --memory 512MiB --timeout 10s --env GREETING=hi', 'deploy --plan', 'deploy --yes'),
    )
    .action(async (dir, options) => {
      const manifest = manifestOf(dir, options)
      if (manifest !== undefined) {
        const { deployManifest } = await import('../deploy-manifest.ts')
        return deployManifest(connect(options).client, manifest, options)
      }
      if (options.prune) throw usageFailure('--prune needs a hostel.yaml', 'Name one with --file, or go to its directory.')
      await deployOne(targetOf(dir ?? '.', options), options)
    })

interface Options {
  tenant: string
  api?: string | undefined
  token?: string | undefined
  json?: boolean | undefined
  plan?: boolean | undefined
}

async function deployOne(target: Target, options: Options): Promise<void> {
  const { client } = connect(options)
  const onStep: OnStep = (verb, text, ms) => {
    if (!options.json && !options.plan) note(`${verb.padEnd(9)} ${text}  ${styledError('dim', formatMs(ms))}`)
  }
  try {
    const planned = await planTarget(client, options.tenant, target, onStep)
    if (options.plan) {
      const { actionOf, printPlanned } = await import('../plan.ts')
      if (options.json) printJson({ tenant: options.tenant, plan: [{ function: target.name, action: actionOf(planned), ...planned.plan }] })
      else printPlanned(planned, target.name.length)
      if (actionOf(planned) !== 'none') process.exitCode = exitCodes.changes.code
      return
    }
    const deployed = await applyTarget(client, options.tenant, planned, onStep, {
      onBuildLine: (line) => options.json || note(styledError('dim', buildLineText(line))),
    })
    if (options.json) return printJson(deployed)
    printResult(deployed)
  } catch (error) {
    throw error instanceof ApiError ? apiFailure(error, target.directory) : error
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
