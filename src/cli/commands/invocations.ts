import type { Invocation, InvocationDetail } from '../../client/control.ts'
import { parseInteger } from '../../settings.ts'
import { called } from '../called.ts'
import { apiOption, examples, jsonOption, newCommand, tenantOption, tokenOption } from '../command.ts'
import { connect } from '../connect.ts'
import { formatBytes, formatMs, formatTime, harmless, pairs, print, printJson, styled, table } from '../output.ts'
import { recordedInvocation } from '../recorded.ts'
import { withSuggestion } from '../suggest.ts'
import { show, watchOption } from '../watching.ts'

const showOne = () =>
  newCommand('show')
    .summary('explain one invocation')
    .description('Explain one invocation in sentences: what was called, how it ended and why, and where the time went.')
    .argument('<id>', 'its id, from an error, a log line or `hostel invoke`')
    .addOption(tenantOption())
    .addOption(apiOption())
    .addOption(tokenOption())
    .addOption(jsonOption())
    .addHelpText('after', examples('invocations show 0199c0de-0000-7000-8000-000000000000'))
    .action(async (id, options) => {
      const invocation = await recordedInvocation(connect(options).client, options.tenant, id)
      if (options.json) return printJson(invocation)
      explain(invocation)
    })

/** How many are listed when nothing is said. */
const LISTED = 20

const ls = () =>
  newCommand('ls')
    .summary('list the newest invocations')
    .description('List the newest invocations of a tenant, or of one function: when, what was called, how it ended and how long it took.')
    .argument('[function]', 'only of this function')
    .option('--failed', 'only those that failed, of the newest 1,000')
    .option('-n, --limit <count>', `at most so many (default ${LISTED})`)
    .addOption(tenantOption())
    .addOption(apiOption())
    .addOption(tokenOption())
    .addOption(watchOption())
    .addOption(jsonOption())
    .addHelpText('after', examples('invocations ls', 'invocations ls hello --failed', 'invocations ls --watch'))
    .action(async (name, options) => {
      const limit = options.limit === undefined ? LISTED : parseInteger('--limit', options.limit, 1, 1_000)
      const { client } = connect(options)
      const list = async (): Promise<Invocation[]> => {
        const found = await client.invocations(options.tenant, { limit: options.failed ? 1_000 : limit, ...(name !== undefined && { function: name }) })
        return found.filter((item) => !options.failed || item.outcome !== 'ok').slice(0, limit)
      }
      if (name !== undefined) await withSuggestion(client, options.tenant, name, () => client.function(options.tenant, name))
      if (options.json && !options.watch) return printJson({ invocations: await list() })
      await show(async () => listed(await list()), options)
    })

export const command = () => newCommand('invocations').description('See and explain single runs of functions.').addCommand(ls()).addCommand(showOne())

function listed(invocations: Invocation[]): string {
  if (invocations.length === 0) return 'There are no such invocations.'
  const columns = [
    { title: 'STARTED' },
    { title: 'FUNCTION' },
    { title: 'STATUS', right: true },
    { title: 'OUTCOME' },
    { title: 'TOTAL', right: true },
    { title: 'SANDBOX' },
    { title: 'ID' },
    { title: 'REQUEST' },
  ]
  const rows = invocations.map((item) => [
    formatTime(item.startedAtMs),
    `${item.function}:${item.version}`,
    String(item.status),
    item.outcome,
    formatMs(item.totalMs),
    item.start ?? '-',
    item.id,
    `${item.method} ${item.path.length > 60 ? `${item.path.slice(0, 59)}…` : item.path}`,
  ])
  return table(columns, rows)
}

/** Lines of a function's stack trace shown to people. */
const STACK_LINES = 12

/** How a sandbox was come by, as half a sentence. */
const starts = {
  warm: 'a warm sandbox was there',
  spare: 'a spare was made its sandbox',
  boot: 'a new sandbox was booted, as no spare was there',
}

function explain(item: InvocationDetail): void {
  const ok = item.outcome === 'ok'
  print(`${styled(ok ? 'green' : 'red', ok ? 'ok' : item.outcome)}  ${styled('bold', harmless(item.explanation.summary))}`)
  if (item.explanation.hint) print(`${styled('dim', 'fix:')} ${harmless(item.explanation.hint)}`)
  const stack = (item.detail?.['guest'] as { stack?: unknown } | undefined)?.stack
  if (typeof stack === 'string') {
    print()
    for (const line of stack.split('\n').slice(0, STACK_LINES)) print(`  ${harmless(line.trimEnd())}`)
  }
  print()
  print(
    pairs([
      ['invocation', item.id],
      ['function', `${item.function} version ${item.version} of tenant ${item.tenant}`],
      ['request', `${item.method} ${item.path}, ${formatBytes(item.requestBytes)}`],
      ['answer', `status ${item.status}, ${formatBytes(item.responseBytes)}`],
      ['started', formatTime(item.startedAtMs)],
      [
        'acquire',
        `${formatMs(item.acquireMs)}  ${item.start ? starts[item.start] : 'no sandbox was reached'}${item.sandbox === null ? '' : ` (sandbox ${item.sandbox})`}`,
      ],
      ['forward', `${formatMs(item.forwardMs)}  from there to the end of the answer`],
      ['total', formatMs(item.totalMs)],
      [
        'log',
        item.logLines === 0
          ? 'it wrote nothing'
          : `${item.logLines} line${item.logLines === 1 ? '' : 's'}: ${called} logs ${item.function} --invocation ${item.id}`,
      ],
    ]),
  )
}
