import type { InvocationDetail } from '../../client/control.ts'
import { called } from '../called.ts'
import { apiOption, examples, jsonOption, newCommand, tenantOption, tokenOption } from '../command.ts'
import { connect } from '../connect.ts'
import { formatBytes, formatMs, formatTime, harmless, pairs, print, printJson, styled } from '../output.ts'
import { recordedInvocation } from '../recorded.ts'

const show = () =>
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

export const command = () => newCommand('invocations').description('Explain single runs of functions.').addCommand(show())

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
