import type { EgressAttempts } from '../../client/control.ts'
import { parseInteger } from '../../settings.ts'
import { apiOption, examples, jsonOption, newCommand, tenantOption, tokenOption } from '../command.ts'
import { connect } from '../connect.ts'
import { formatBytes, formatMs, formatTime, note, print, printJson, styled, table } from '../output.ts'
import { withSuggestion } from '../suggest.ts'

const SHOWN = 50

export const command = () =>
  newCommand('egress')
    .description('Show where a function went, or tried to go, through its doors: newest first, with the verdict and why.')
    .argument('<name>', 'the function')
    .option('-n, --limit <count>', `at most so many (default ${SHOWN})`)
    .addOption(tenantOption())
    .addOption(apiOption())
    .addOption(tokenOption())
    .addOption(jsonOption())
    .addHelpText('after', examples('egress hello', 'egress hello --limit 500 --json'))
    .action(async (name, options) => {
      const { client } = connect(options)
      const limit = options.limit === undefined ? SHOWN : parseInteger('--limit', options.limit, 1, 1_000)
      const { attempts } = await withSuggestion(client, options.tenant, name, () => client.egress(options.tenant, name, { limit }))
      if (options.json) return printJson(attempts)
      if (attempts.length === 0) return note(`${name} has not tried to reach anything.`)
      const columns = [
        { title: 'TIME' },
        { title: 'TARGET' },
        { title: 'ADDRESS' },
        { title: 'VERDICT' },
        { title: 'SENT', right: true },
        { title: 'RECEIVED', right: true },
        { title: 'TOOK', right: true },
        { title: 'WHY' },
      ]
      print(table(columns, attempts.map(rowOf)))
      if (attempts.some(({ verdict }) => verdict === 'refused'))
        note(styled('dim', 'What may be reached is set with `hostel deploy --egress HOST:PORT`; see docs/how-to/egress.md.'))
    })

function rowOf(attempt: EgressAttempts['attempts'][number]): string[] {
  const { startedAtMs, target, address, verdict, sentBytes, receivedBytes, totalMs, reason } = attempt
  return [
    formatTime(startedAtMs),
    target || '-',
    address ?? '-',
    verdict,
    formatBytes(sentBytes),
    formatBytes(receivedBytes),
    totalMs === null ? 'open' : formatMs(totalMs),
    reason ?? '',
  ]
}
