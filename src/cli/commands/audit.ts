import { parseDurationMs, parseInteger } from '../../settings.ts'
import { apiOption, examples, jsonOption, newCommand, tokenOption } from '../command.ts'
import { connect } from '../connect.ts'
import { formatTime, note, print, printJson, table } from '../output.ts'

/** Entries shown when --limit is not given. */
const LIMIT = 100

export const command = () =>
  newCommand('audit')
    .description(
      'Show what was changed through the control API, newest first: when, by which token, from where, and what it was before and after. ' +
        'A token of one tenant sees what was changed in that tenant. --json tells all of it.',
    )
    .option('--tenant <tenant>', 'only changes in this tenant (default: all that the token may see)')
    .option('--since <time>', 'only changes younger than this: 30m, 12h, 7d')
    .option('-n, --limit <entries>', `at most so many, the newest (default ${LIMIT})`)
    .addOption(apiOption())
    .addOption(tokenOption())
    .addOption(jsonOption())
    .addHelpText('after', examples('audit --since 1d', 'audit --tenant shop --json'))
    .action(async (options) => {
      const entries = await connect(options).client.audit({
        ...(options.tenant !== undefined && { tenant: options.tenant }),
        ...(options.since !== undefined && { since: Date.now() - parseDurationMs('--since', options.since) }),
        limit: options.limit === undefined ? LIMIT : parseInteger('--limit', options.limit, 1, 100_000),
      })
      if (options.json) return printJson({ entries })
      if (entries.length === 0) return note('No such changes.')
      const rows = entries.map((entry) => [
        formatTime(entry.atMs).slice(0, 19),
        entry.tokenName,
        entry.address,
        entry.tenant ?? '-',
        entry.action,
        entry.target,
        changeOf(entry.before, entry.after),
      ])
      print(
        table(
          [{ title: 'TIME' }, { title: 'TOKEN' }, { title: 'FROM' }, { title: 'TENANT' }, { title: 'ACTION' }, { title: 'TARGET' }, { title: 'CHANGE' }],
          rows,
        ),
      )
    })

/** The fields that differ, as far as a line holds them. */
function changeOf(before: Record<string, unknown> | null, after: Record<string, unknown> | null): string {
  const fields = [...new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])]
  const told = fields.flatMap((field) => {
    const [from, to] = [JSON.stringify(before?.[field]), JSON.stringify(after?.[field])]
    if (from === to) return []
    return [before === null ? `${field}=${to}` : after === null ? `${field}=${from}` : `${field}: ${from ?? '-'} → ${to ?? '-'}`]
  })
  const text = told.join(', ')
  return text.length > 80 ? `${text.slice(0, 79)}…` : text
}
