import { apiOption, examples, jsonOption, newCommand, tenantOption, tokenOption } from '../command.ts'
import { connect } from '../connect.ts'
import { CliFailure, usageFailure } from '../failure.ts'
import { print, printJson } from '../output.ts'
import { withSuggestion } from '../suggest.ts'

export const command = () =>
  newCommand('rm')
    .description('Remove a function with all its versions. Asks first on a terminal; elsewhere --yes is needed. There is no way back.')
    .argument('<name>', 'the function')
    .option('-y, --yes', 'do not ask')
    .addOption(tenantOption())
    .addOption(apiOption())
    .addOption(tokenOption())
    .addOption(jsonOption())
    .addHelpText('after', examples('rm hello', 'rm hello --yes'))
    .action(async (name, options) => {
      const { client } = connect(options)
      if (!options.yes) {
        if (!process.stdin.isTTY || !process.stderr.isTTY) throw usageFailure(`rm removes "${name}" for good, and there is no terminal to ask on`, 'Add --yes.')
        const found = await withSuggestion(client, options.tenant, name, () => client.function(options.tenant, name))
        const versions = found.versions.length
        if (!(await confirm(`Remove function "${name}" of tenant "${options.tenant}" with its ${versions} version${versions === 1 ? '' : 's'}? [y/N] `))) {
          throw new CliFailure('failure', `"${name}" was not removed`, { why: 'the answer was not yes' })
        }
      }
      await withSuggestion(client, options.tenant, name, () => client.removeFunction(options.tenant, name))
      if (options.json) return printJson({ removed: { tenant: options.tenant, name } })
      print(`Removed ${name}.`)
    })

async function confirm(question: string): Promise<boolean> {
  const { createInterface } = await import('node:readline')
  const prompt = createInterface({ input: process.stdin, output: process.stderr })
  try {
    return await new Promise((resolve, reject) => {
      prompt.once('SIGINT', () => {
        process.stderr.write('\n')
        reject(new CliFailure('interrupted', 'nothing was removed'))
      })
      // Ctrl-D
      prompt.once('close', () => resolve(false))
      prompt.question(question, (answer) => resolve(/^y(es)?$/i.test(answer.trim())))
    })
  } finally {
    prompt.close()
  }
}
