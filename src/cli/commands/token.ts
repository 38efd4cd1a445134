import { Option } from '@commander-js/extra-typings'

import { DEFAULT_TENANT } from '../../functions/names.ts'
import { parseDurationMs } from '../../settings.ts'
import { apiOption, examples, jsonOption, newCommand, tokenOption } from '../command.ts'
import { connect } from '../connect.ts'
import { usageFailure } from '../failure.ts'
import { formatAge, formatTime, note, print, printJson, table } from '../output.ts'

const SCOPES = ['read', 'deploy', 'invoke', 'admin'] as const
type Scope = (typeof SCOPES)[number]

/** Without a default, so that it can be told from --all-tenants. */
const ownerOptions = (name: string) =>
  newCommand(name)
    .option('--tenant <tenant>', 'tenant that the token is for (default: "default")')
    .option('--all-tenants', 'a token of all tenants instead of one')
    .addOption(apiOption())
    .addOption(tokenOption())
    .addOption(jsonOption())

const create = () =>
  ownerOptions('create')
    .summary('make a token')
    .description(
      'Make a token and print it, once: only its SHA-256 is kept. Scopes: read (look at everything in the tenant), deploy (change functions; includes read), ' +
        'invoke (call functions that ask for a token), admin (all of it, and tokens). For tokens with the scope admin.',
    )
    .argument('<name>', 'name of the token, unique in its tenant')
    .addOption(new Option('--scope <scope...>', 'what it allows').choices(SCOPES).makeOptionMandatory())
    .option('--expires <time>', 'how long it is good for: 12h, 30d (default: for ever)')
    .addHelpText(
      'after',
      examples(
        'token create ci --scope deploy --expires 90d',
        'token create shop-web --tenant shop --scope invoke',
        'token create ops --all-tenants --scope admin',
      ),
    )
    .action(async (name, options) => {
      const tenant = ownerOf(options)
      const created = await connect(options).client.createToken(tenant, {
        name,
        scopes: options.scope as Scope[],
        ...(options.expires !== undefined && { expiresAtMs: Date.now() + parseDurationMs('--expires', options.expires) }),
      })
      if (options.json) return printJson(created)
      print(created.token)
      note(
        `This is the only time it is shown. It allows ${created.scopes.join(', ')} in ${tenant === null ? 'all tenants' : `tenant ${tenant}`}${created.expiresAtMs === null ? '' : ` until ${formatTime(created.expiresAtMs)}`}.`,
      )
    })

const ls = () =>
  ownerOptions('ls')
    .summary('list tokens')
    .description('List the tokens of a tenant, or those of all tenants: what they allow, until when, and when they were last used, to the minute.')
    .addHelpText('after', examples('token ls', 'token ls --all-tenants'))
    .action(async (options) => {
      const tenant = ownerOf(options)
      const tokens = await connect(options).client.tokens(tenant)
      if (options.json) return printJson({ tokens })
      if (tokens.length === 0) return note(`There are no tokens of ${tenant === null ? 'all tenants' : `tenant ${tenant}`}.`)
      const rows = tokens.map((token) => [
        token.name,
        token.scopes.join(' '),
        formatAge(token.createdAtMs),
        token.expiresAtMs === null ? 'never' : `${formatTime(token.expiresAtMs).slice(0, 16)}${token.expiresAtMs <= Date.now() ? ' (over)' : ''}`,
        token.lastUsedAtMs === null ? 'never' : formatAge(token.lastUsedAtMs),
        token.id,
      ])
      print(table([{ title: 'NAME' }, { title: 'SCOPES' }, { title: 'CREATED' }, { title: 'EXPIRES' }, { title: 'LAST USED' }, { title: 'ID' }], rows))
    })

const rm = () =>
  ownerOptions('rm')
    .summary('take a token back')
    .description('Take a token back. It opens nothing from then on.')
    .argument('<name>', 'name of the token')
    .addHelpText('after', examples('token rm ci'))
    .action(async (name, options) => {
      const tenant = ownerOf(options)
      await connect(options).client.removeToken(tenant, name)
      if (options.json) return printJson({ removed: { tenant, token: name } })
      print(`Took token ${name} back.`)
    })

/** @throws CliFailure (usage) when both are given */
function ownerOf(options: { tenant?: string | undefined; allTenants?: true | undefined }): string | null {
  if (options.tenant !== undefined && options.allTenants) throw usageFailure('--tenant and --all-tenants do not go together', 'Take one away.')
  return options.allTenants ? null : (options.tenant ?? DEFAULT_TENANT)
}

export const command = () =>
  newCommand('token').description('Make, list and take back the tokens that let people and programs in.').addCommand(create()).addCommand(ls()).addCommand(rm())
