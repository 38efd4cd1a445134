import { parseDurationMs, parseInteger } from '../../settings.ts'
import { apiOption, examples, jsonOption, newCommand, tenantOption, tokenOption } from '../command.ts'
import { connect } from '../connect.ts'
import { formatLine } from '../log-line.ts'
import { note } from '../output.ts'
import { withSuggestion } from '../suggest.ts'

export const command = () =>
  newCommand('logs')
    .description('Show what a function wrote, oldest first: time, invocation, level, text. --json prints one JSON object a line.')
    .argument('<function>', 'the function')
    .option('--since <time>', 'only lines younger than this: 30s, 10m, 2h')
    .option('--invocation <id>', 'only lines of this invocation')
    .option('-f, --follow', 'stay and show lines as they come; Ctrl-C ends it')
    .option('--all', 'every line that is kept, however many: for export, with --json as JSON lines')
    .option('--until <time>', 'with --all: only lines older than this: 30s, 10m, 2h')
    .option('-n, --limit <lines>', 'at most so many lines from before now, the newest')
    .addOption(tenantOption())
    .addOption(apiOption())
    .addOption(tokenOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples('logs hello --since 10m', 'logs hello --follow', 'logs hello --json | jq -r .text', 'logs hello --all --since 24h --json > hello.jsonl'),
    )
    .action(async (name, options) => {
      const { client } = connect(options)
      const query = {
        ...(options.since && { since: Date.now() - parseDurationMs('--since', options.since) }),
        ...(options.invocation && { invocation: options.invocation }),
        ...(options.all && { all: true }),
        ...(options.until && { until: Date.now() - parseDurationMs('--until', options.until) }),
        ...(options.follow && { follow: true }),
        ...(options.limit && { limit: parseInteger('--limit', options.limit, 1, 10_000) }),
      }
      let lines = 0
      await withSuggestion(client, options.tenant, name, async () => {
        for await (const line of client.logs(options.tenant, name, query)) {
          lines++
          const text = options.json ? JSON.stringify(line) : formatLine(line)
          // A slow reader slows us, and the server through us.
          if (!process.stdout.write(`${text}\n`)) await new Promise((resolve) => process.stdout.once('drain', resolve))
        }
      })
      if (lines === 0 && !options.json) note(options.since || options.invocation ? 'No such lines.' : `${name} has written nothing yet.`)
    })
