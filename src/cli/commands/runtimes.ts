import { apiOption, examples, jsonOption, newCommand, tokenOption } from '../command.ts'
import { connect } from '../connect.ts'
import { print, printJson, table } from '../output.ts'

const ls = () =>
  newCommand('ls')
    .summary('list the runtimes of the server')
    .description('List the runtimes of the server, and the files in which each looks for a handler when none is named.')
    .addOption(apiOption())
    .addOption(tokenOption())
    .addOption(jsonOption())
    .addHelpText('after', examples('runtimes ls'))
    .action(async (options) => {
      const runtimes = await connect(options).client.runtimes()
      if (options.json) return printJson({ runtimes })
      print(
        table(
          [{ title: 'NAME' }, { title: 'VERSION' }, { title: 'LOOKS FOR' }],
          runtimes.map((item) => [item.name, item.version, item.entryFiles.join(' ')]),
        ),
      )
    })

export const command = () => newCommand('runtimes').description('See the language environments in which functions run.').addCommand(ls())
