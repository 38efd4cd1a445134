import { apiOption, examples, jsonOption, newCommand, tenantOption, tokenOption } from '../command.ts'
import { connect } from '../connect.ts'
import { formatMs, note, print, printJson, styled, styledError } from '../output.ts'
import { withSuggestion } from '../suggest.ts'
import { versionNumber } from './versions.ts'

export const command = () =>
  newCommand('rollback')
    .description(
      'Make the version that was live before live again, or the one given. Without --to it goes back by what was live, not by number, and ' +
        'the next rollback goes further back. Answers once that version has a warm sandbox; requests on the other one finish there.',
    )
    .argument('<function>', 'the function')
    .option('--to <version>', 'number of the version to make live')
    .addOption(tenantOption())
    .addOption(apiOption())
    .addOption(tokenOption())
    .addOption(jsonOption())
    .addHelpText('after', examples('rollback hello', 'rollback hello --to 3'))
    .action(async (name, options) => {
      const { client } = connect(options)
      const to = options.to === undefined ? undefined : versionNumber(options.to, '--to')
      const done = await withSuggestion(client, options.tenant, name, () => client.rollBack(options.tenant, name, to))
      if (options.json) return printJson(done)
      if (done.unchanged) return note(`Version ${done.version} of ${name} is live already.`)
      print(`${styled('green', `${name} is live as version ${done.version}`)}, instead of ${done.from}.`)
      note(styledError('dim', formatMs(done.totalMs)))
    })
