import { apiOption, examples, jsonOption, newCommand, tenantOption, tokenOption } from '../command.ts'
import { connect } from '../connect.ts'
import { formatAge, note, print, printJson, table } from '../output.ts'

export const command = () =>
  newCommand('ls')
    .description('List the functions of a tenant with their live version and URL.')
    .addOption(tenantOption())
    .addOption(apiOption())
    .addOption(tokenOption())
    .addOption(jsonOption())
    .addHelpText('after', examples('ls', "ls --json | jq -r '.functions[].name'"))
    .action(async (options) => {
      const functions = await connect(options).client.functions(options.tenant)
      if (options.json) return printJson({ functions })
      if (functions.length === 0) return note(`Tenant "${options.tenant}" has no functions. Deploy one: hostel init my-function && hostel deploy my-function`)
      const rows = functions.map((item) => [item.name, String(item.live), item.runtime, `${item.memoryMiB} MiB`, formatAge(item.deployedAtMs), item.urls.path])
      print(
        table(
          [{ title: 'NAME' }, { title: 'LIVE', right: true }, { title: 'RUNTIME' }, { title: 'MEMORY', right: true }, { title: 'DEPLOYED' }, { title: 'URL' }],
          rows,
        ),
      )
    })
