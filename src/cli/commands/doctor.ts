import { existsSync } from 'node:fs'

import { findAccess } from '../../client/access.ts'
import { ApiError, ConnectionError, NoAccess } from '../../client/errors.ts'
import type { Check } from '../../doctor/check.ts'
import { asCalled } from '../called.ts'
import { apiOption, examples, jsonOption, newCommand, tokenOption } from '../command.ts'
import { CliFailure } from '../failure.ts'
import { harmless, print, printJson, styled } from '../output.ts'

export const command = () =>
  newCommand('doctor')
    .description('Check what this machine can and cannot do for Hostel, whether the server answers, and say which command mends what is amiss.')
    .addOption(apiOption())
    .addOption(tokenOption())
    .addOption(jsonOption())
    .addHelpText('after', examples('doctor'))
    .action(async (options) => {
      const { runChecks } = await import('../../doctor/checks.ts')
      const checks = [...(await runChecks()), await serverCheck(options)]
      const failed = checks.filter((check) => check.ok === false)
      if (options.json) printJson({ ok: failed.length === 0, checks })
      else for (const check of checks) show(check, Math.max(...checks.map((item) => item.name.length)))
      if (failed.length > 0) {
        throw new CliFailure('failure', `${failed.length} of ${checks.length} checks failed: ${failed.map((check) => check.name).join(', ')}`, {
          fix: 'Run the commands above, then `hostel doctor` again.',
        })
      }
    })

/** A server that is not running is no fault of the machine, so that is a warning. */
async function serverCheck(options: { api?: string; token?: string }): Promise<Check> {
  const name = 'server'
  try {
    const access = findAccess(options, process.env)
    const { createControlClient } = await import('../../client/control.ts')
    const system = await createControlClient(access).system()
    if (!system.gatewayConnected)
      return { name, ok: false, detail: `answers at ${access.api}, but its gateway is not there`, mend: 'restart the server and look at its log' }
    return { name, ok: true, detail: `version ${system.version} answers at ${access.api} (found through ${access.source}), gateway at ${system.gatewayUrl}` }
  } catch (error) {
    if (error instanceof NoAccess && existsSync(error.denied ?? ''))
      return { name, ok: 'warn', detail: `${error.denied} may not be read by this user`, mend: 'sudo hostel doctor' }
    if (error instanceof NoAccess) return { name, ok: 'warn', detail: error.message, mend: 'npm start' }
    if (error instanceof ConnectionError) return { name, ok: 'warn', detail: error.message, mend: 'npm start' }
    if (error instanceof ApiError)
      return { name, ok: false, detail: `the server answers, but refuses: ${error.message}`, mend: 'give the right --token or HOSTEL_TOKEN' }
    throw error
  }
}

function show(check: Check, width: number): void {
  const mark = check.ok === true ? styled('green', 'ok  ') : check.ok === 'warn' ? styled('yellow', 'warn') : styled('red', 'FAIL')
  print(`${mark}  ${check.name.padEnd(width)}  ${harmless(check.detail)}`)
  if (check.mend && check.ok !== true) print(`      ${styled('dim', 'mend:')} ${asCalled(check.mend)}`)
}
