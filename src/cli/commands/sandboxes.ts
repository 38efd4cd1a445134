import type { Sandbox } from '../../client/control.ts'
import { apiOption, examples, jsonOption, newCommand, tenantOption, tokenOption } from '../command.ts'
import { connect } from '../connect.ts'
import { formatAge, formatBytes, printJson, table } from '../output.ts'
import { show, watchOption } from '../watching.ts'

const ls = () =>
  newCommand('ls')
    .summary('list the sandboxes that are there now')
    .description("List the sandboxes that are there now: the tenant's own and, for a token of all tenants, the spares that wait for a function.")
    .addOption(tenantOption())
    .addOption(apiOption())
    .addOption(tokenOption())
    .addOption(watchOption())
    .addOption(jsonOption())
    .addHelpText('after', examples('sandboxes ls', 'sandboxes ls --watch'))
    .action(async (options) => {
      const { client } = connect(options)
      if (options.json && !options.watch) return printJson({ sandboxes: await client.sandboxes(options.tenant) })
      await show(async () => render(await client.sandboxes(options.tenant)), options)
    })

function render(sandboxes: Sandbox[]): string {
  if (sandboxes.length === 0) return 'There are no sandboxes now.'
  const columns = [
    { title: 'ID', right: true },
    { title: 'STATE' },
    { title: 'FUNCTION' },
    { title: 'VERSION', right: true },
    { title: 'RUNTIME' },
    { title: 'ISOLATION' },
    { title: 'MEMORY', right: true },
    { title: 'BUSY', right: true },
    { title: 'SERVED', right: true },
    { title: 'STARTED' },
  ]
  const rows = sandboxes.map((item) => [
    String(item.sandbox),
    item.state,
    item.function ?? '-',
    item.version === null ? '-' : String(item.version),
    item.runtime,
    item.isolation,
    `${item.memoryBytes === null ? '?' : formatBytes(item.memoryBytes)} of ${item.memoryMiB} MiB`,
    String(item.inFlight),
    String(item.invocations),
    formatAge(item.startedAtMs),
  ])
  return table(columns, rows)
}

export const command = () => newCommand('sandboxes').description('See the isolated running copies of functions.').addCommand(ls())
