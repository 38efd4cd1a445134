import type { FunctionSummary } from '../../client/control.ts'
import { called } from '../called.ts'
import { apiOption, examples, jsonOption, newCommand, tenantOption, tokenOption } from '../command.ts'
import { connect } from '../connect.ts'
import { formatAge, printJson, table } from '../output.ts'
import { show, watchOption } from '../watching.ts'

export const command = () =>
  newCommand('ls')
    .description('List the functions of a tenant with their live version and URL.')
    .addOption(tenantOption())
    .addOption(apiOption())
    .addOption(tokenOption())
    .addOption(watchOption())
    .addOption(jsonOption())
    .addHelpText('after', examples('ls', 'ls --watch', "ls --json | jq -r '.functions[].name'"))
    .action(async (options) => {
      const { client } = connect(options)
      if (options.json && !options.watch) return printJson({ functions: await client.functions(options.tenant) })
      await show(async () => render(await client.functions(options.tenant), options.tenant), options)
    })

function render(functions: FunctionSummary[], tenant: string): string {
  if (functions.length === 0) return `Tenant "${tenant}" has no functions. Deploy one: ${called} init my-function && ${called} deploy my-function`
  const rows = functions.map((item) => [item.name, String(item.live), item.runtime, `${item.memoryMiB} MiB`, formatAge(item.deployedAtMs), item.urls.path])
  return table(
    [{ title: 'NAME' }, { title: 'LIVE', right: true }, { title: 'RUNTIME' }, { title: 'MEMORY', right: true }, { title: 'DEPLOYED' }, { title: 'URL' }],
    rows,
  )
}
