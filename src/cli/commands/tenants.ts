import type { QuotaChanges, Tenant } from '../../client/control.ts'
import { parseInteger, parseMemoryMiB } from '../../settings.ts'
import { apiOption, examples, jsonOption, newCommand, tokenOption } from '../command.ts'
import { canAsk, confirm } from '../confirm.ts'
import { connect } from '../connect.ts'
import { CliFailure, usageFailure } from '../failure.ts'
import { formatAge, note, print, printJson, table } from '../output.ts'

interface QuotaOptions {
  functions?: string | undefined
  sandboxes?: string | undefined
  memory?: string | undefined
  requests?: string | undefined
}

const newQuotaCommand = (name: string) =>
  newCommand(name)
    .argument('<tenant>', 'the tenant')
    .option('--functions <count>', 'functions at most, or none for no bound')
    .option('--sandboxes <count>', 'sandboxes at once, or none')
    .option('--memory <size>', 'sum of the memory that its sandboxes may use, as 2GiB, or none')
    .option('--requests <count>', 'requests per second, or none')
    .addOption(apiOption())
    .addOption(tokenOption())
    .addOption(jsonOption())

const create = () =>
  newQuotaCommand('create')
    .summary('make a tenant')
    .description('Make a tenant: the owner of functions, tokens and quotas, whom no other tenant can see. For tokens of all tenants with the scope admin.')
    .addHelpText('after', examples('tenants create shop', 'tenants create shop --functions 20 --memory 4GiB --requests 200'))
    .action(async (name, options) => {
      const tenant = await connect(options).client.createTenant(name, readQuotas(options))
      if (options.json) return printJson(tenant)
      print(`Made tenant ${name}: ${quotasOf(tenant)}.`)
      note(`Let somebody in: hostel token create ci --tenant ${name} --scope deploy`)
    })

const set = () =>
  newQuotaCommand('set')
    .summary('change the quotas of a tenant')
    .description('Change quotas of a tenant; those left out stay. They hold at once; of what is there already, only idle sandboxes are ended.')
    .addHelpText('after', examples('tenants set shop --sandboxes 10', 'tenants set shop --requests none'))
    .action(async (name, options) => {
      const changes = readQuotas(options)
      if (Object.keys(changes).length === 0) throw usageFailure('there is nothing to set', 'Give --functions, --sandboxes, --memory or --requests.')
      const tenant = await connect(options).client.setQuotas(name, changes)
      if (options.json) return printJson(tenant)
      print(`Tenant ${name}: ${quotasOf(tenant)}.`)
    })

const ls = () =>
  newCommand('ls')
    .summary('list the tenants')
    .description('List the tenants with their quotas. For tokens of all tenants with the scope admin.')
    .addOption(apiOption())
    .addOption(tokenOption())
    .addOption(jsonOption())
    .addHelpText('after', examples('tenants ls'))
    .action(async (options) => {
      const tenants = await connect(options).client.tenants()
      if (options.json) return printJson({ tenants })
      const columns = [
        { title: 'NAME' },
        { title: 'FUNCTIONS', right: true },
        { title: 'SANDBOXES', right: true },
        { title: 'MEMORY', right: true },
        { title: 'REQUESTS/S', right: true },
        { title: 'TOKENS', right: true },
        { title: 'CREATED' },
      ]
      const rows = tenants.map(({ name, quotas, functions, tokens, createdAtMs }) => [
        name,
        quotas.functions === null ? String(functions) : `${functions} of ${quotas.functions}`,
        bound(quotas.sandboxes),
        bound(quotas.memoryMiB, ' MiB'),
        bound(quotas.requestsPerSecond),
        String(tokens),
        formatAge(createdAtMs),
      ])
      print(table(columns, rows))
    })

const rm = () =>
  newCommand('rm')
    .summary('remove a tenant')
    .description(
      'Remove a tenant with its tokens, logs and records. Refused while it has functions, unless --force removes those too. ' +
        'Asks first on a terminal; elsewhere --yes is needed. There is no way back.',
    )
    .argument('<tenant>', 'the tenant')
    .option('-y, --yes', 'do not ask')
    .option('--force', 'with its functions')
    .addOption(apiOption())
    .addOption(tokenOption())
    .addOption(jsonOption())
    .addHelpText('after', examples('tenants rm shop', 'tenants rm shop --force --yes'))
    .action(async (name, options) => {
      const { client } = connect(options)
      if (!options.yes) {
        if (!canAsk()) throw usageFailure(`tenants rm removes "${name}" for good, and there is no terminal to ask on`, 'Add --yes.')
        const { functions } = await client.tenant(name)
        if (
          !(await confirm(
            `Remove tenant "${name}" with its logs and records${options.force ? ` and ${functions} function${functions === 1 ? '' : 's'}` : ''}?`,
            'no',
          ))
        )
          throw new CliFailure('failure', `"${name}" was not removed`, { why: 'the answer was not yes' })
      }
      await client.removeTenant(name, options.force === true)
      if (options.json) return printJson({ removed: { tenant: name } })
      print(`Removed tenant ${name}.`)
    })

function readQuotas(options: QuotaOptions): QuotaChanges {
  const read = (what: string, text: string, parse: (what: string, text: string) => number): number | null => (text === 'none' ? null : parse(what, text))
  const count = (what: string, text: string): number => parseInteger(what, text, 0, 999_999_999)
  return {
    ...(options.functions !== undefined && { functions: read('--functions', options.functions, count) }),
    ...(options.sandboxes !== undefined && { sandboxes: read('--sandboxes', options.sandboxes, count) }),
    ...(options.memory !== undefined && { memoryMiB: read('--memory', options.memory, parseMemoryMiB) }),
    ...(options.requests !== undefined && { requestsPerSecond: read('--requests', options.requests, count) }),
  }
}

function bound(value: number | null, unit = ''): string {
  return value === null ? '-' : `${value}${unit}`
}

function quotasOf({ quotas }: Tenant): string {
  const parts = [
    ...(quotas.functions === null ? [] : [`${quotas.functions} functions`]),
    ...(quotas.sandboxes === null ? [] : [`${quotas.sandboxes} sandboxes`]),
    ...(quotas.memoryMiB === null ? [] : [`${quotas.memoryMiB} MiB`]),
    ...(quotas.requestsPerSecond === null ? [] : [`${quotas.requestsPerSecond} requests per second`]),
  ]
  return parts.length === 0 ? 'no quotas' : `at most ${parts.join(', ')}`
}

export const command = () =>
  newCommand('tenants')
    .description('See and change the tenants, and what each may have.')
    .addCommand(create())
    .addCommand(ls())
    .addCommand(set())
    .addCommand(rm())
