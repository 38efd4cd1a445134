import { apiOption, examples, jsonOption, newCommand, tenantOption, tokenOption } from '../command.ts'
import { canAsk, confirm } from '../confirm.ts'
import { connect } from '../connect.ts'
import { CliFailure, usageFailure } from '../failure.ts'
import { formatAge, formatMs, note, pairs, print, printJson, table } from '../output.ts'
import { withSuggestion } from '../suggest.ts'
import { limits } from '../../limits.ts'
import { parseInteger } from '../../settings.ts'

const ls = () =>
  newCommand('ls')
    .summary('list the versions of a function')
    .description(
      `List the versions of a function, newest first, with the aliases that point at them. The ${limits.versionsPerFunctionMax} newest are kept, and those that an alias needs.`,
    )
    .argument('<function>', 'the function')
    .addOption(tenantOption())
    .addOption(apiOption())
    .addOption(tokenOption())
    .addOption(jsonOption())
    .addHelpText('after', examples('versions ls hello'))
    .action(async (name, options) => {
      const { client } = connect(options)
      const versions = await withSuggestion(client, options.tenant, name, () => client.versions(options.tenant, name))
      if (options.json) return printJson({ versions })
      const columns = [
        { title: 'VERSION', right: true },
        { title: 'ALIASES' },
        { title: 'DEPLOYED' },
        { title: 'RUNTIME' },
        { title: 'HANDLER' },
        { title: 'MEMORY', right: true },
        { title: 'CODE' },
      ]
      const rows = versions.map((item) => [
        String(item.version),
        item.aliases.join(' '),
        formatAge(item.createdAtMs),
        item.runtime,
        item.handler,
        `${item.memoryMiB} MiB`,
        item.codeDigest.slice(0, 12),
      ])
      print(table(columns, rows))
    })

const show = () =>
  newCommand('show')
    .summary('show one version of a function')
    .description('Show the configuration of one version of a function. Values of environment variables are not given back.')
    .argument('<function>', 'the function')
    .argument('<version>', 'number of the version')
    .addOption(tenantOption())
    .addOption(apiOption())
    .addOption(tokenOption())
    .addOption(jsonOption())
    .addHelpText('after', examples('versions show hello 3'))
    .action(async (name, number, options) => {
      const { client } = connect(options)
      const version = versionNumber(number)
      const found = await withSuggestion(client, options.tenant, name, () => client.version(options.tenant, name, version))
      if (options.json) return printJson(found)
      print(
        pairs([
          ['version', String(found.version)],
          ['aliases', found.aliases.join(' ') || 'none'],
          ['deployed', formatAge(found.createdAtMs)],
          ['code', found.codeDigest],
          ['runtime', found.runtime],
          ['handler', `${found.handler} (${found.contract})`],
          ['memory', `${found.memoryMiB} MiB`],
          ['timeout', formatMs(found.timeoutMs)],
          ['concurrency', `${found.concurrency} at once in one sandbox`],
          ['callers', found.auth === 'token' ? 'need a token with the scope invoke' : 'anyone'],
          ['environment', found.envNames.join(', ') || 'none'],
        ]),
      )
    })

const rm = () =>
  newCommand('rm')
    .summary('remove a version that no alias needs')
    .description('Remove a version that no alias needs. Asks first on a terminal; elsewhere --yes is needed. There is no way back.')
    .argument('<function>', 'the function')
    .argument('<version>', 'number of the version')
    .option('-y, --yes', 'do not ask')
    .addOption(tenantOption())
    .addOption(apiOption())
    .addOption(tokenOption())
    .addOption(jsonOption())
    .addHelpText('after', examples('versions rm hello 3 --yes'))
    .action(async (name, number, options) => {
      const { client } = connect(options)
      const version = versionNumber(number)
      if (!options.yes) {
        if (!canAsk()) throw usageFailure(`versions rm removes version ${version} of "${name}" for good, and there is no terminal to ask on`, 'Add --yes.')
        if (!(await confirm(`Remove version ${version} of function "${name}" of tenant "${options.tenant}"?`, 'no')))
          throw new CliFailure('failure', `version ${version} of "${name}" was not removed`, { why: 'the answer was not yes' })
      }
      await withSuggestion(client, options.tenant, name, () => client.removeVersion(options.tenant, name, version))
      if (options.json) return printJson({ removed: { tenant: options.tenant, function: name, version } })
      note(`Removed version ${version} of ${name}.`)
    })

/** @throws HostelError `invalid_input` */
export function versionNumber(text: string, what = 'a version'): number {
  return parseInteger(what, text, 1, 999_999_999)
}

export const command = () =>
  newCommand('versions').description('See the versions of a function, and remove those no longer needed.').addCommand(ls()).addCommand(show()).addCommand(rm())
