import { apiOption, examples, jsonOption, newCommand, tenantOption, tokenOption } from '../command.ts'
import { canAsk, confirm } from '../confirm.ts'
import { connect } from '../connect.ts'
import { CliFailure, usageFailure } from '../failure.ts'
import { print, printJson } from '../output.ts'
import { withSuggestion } from '../suggest.ts'

export const command = () =>
  newCommand('rm')
    .description('Remove a function with all its versions. Asks first on a terminal; elsewhere --yes is needed. There is no way back.')
    .argument('<function>', 'the function')
    .option('-y, --yes', 'do not ask')
    .addOption(tenantOption())
    .addOption(apiOption())
    .addOption(tokenOption())
    .addOption(jsonOption())
    .addHelpText('after', examples('rm hello', 'rm hello --yes'))
    .action(async (name, options) => {
      const { client } = connect(options)
      if (!options.yes) {
        if (!canAsk()) throw usageFailure(`rm removes "${name}" for good, and there is no terminal to ask on`, 'Add --yes.')
        const found = await withSuggestion(client, options.tenant, name, () => client.function(options.tenant, name))
        const versions = found.versions.length
        if (!(await confirm(`Remove function "${name}" of tenant "${options.tenant}" with its ${versions} version${versions === 1 ? '' : 's'}?`, 'no'))) {
          throw new CliFailure('failure', `"${name}" was not removed`, { why: 'the answer was not yes' })
        }
      }
      await withSuggestion(client, options.tenant, name, () => client.removeFunction(options.tenant, name))
      if (options.json) return printJson({ removed: { tenant: options.tenant, name } })
      print(`Removed ${name}.`)
    })
