import { apiOption, examples, jsonOption, newCommand, tenantOption, tokenOption } from '../command.ts'
import { connect } from '../connect.ts'
import { formatAge, formatBytes, note, print, printJson, table } from '../output.ts'

const ls = () =>
  newCommand('ls')
    .summary('list the sandboxes that are there now')
    .description("List the sandboxes that are there now: the tenant's own and, for a token of all tenants, the spares that wait for a function.")
    .addOption(tenantOption())
    .addOption(apiOption())
    .addOption(tokenOption())
    .addOption(jsonOption())
    .addHelpText('after', examples('sandboxes ls'))
    .action(async (options) => {
      const sandboxes = await connect(options).client.sandboxes(options.tenant)
      if (options.json) return printJson({ sandboxes })
      if (sandboxes.length === 0) return note('There are no sandboxes now.')
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
      print(table(columns, rows))
    })

export const command = () => newCommand('sandboxes').description('See the isolated running copies of functions.').addCommand(ls())
