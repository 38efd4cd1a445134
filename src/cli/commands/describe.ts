import { apiOption, examples, jsonOption, newCommand, tenantOption, tokenOption } from '../command.ts'
import { connect } from '../connect.ts'
import { formatAge, formatMs, pairs, print, printJson, styled, table } from '../output.ts'
import { withSuggestion } from '../suggest.ts'

/** Versions shown to people; --json has them all. */
const VERSIONS_SHOWN = 10

export const command = () =>
  newCommand('describe')
    .description('Show a function: URLs, configuration of the live version, versions, and how it did in the last hour.')
    .argument('<function>', 'the function')
    .addOption(tenantOption())
    .addOption(apiOption())
    .addOption(tokenOption())
    .addOption(jsonOption())
    .addHelpText('after', examples('describe hello'))
    .action(async (name, options) => {
      const { client } = connect(options)
      const found = await withSuggestion(client, options.tenant, name, () => client.function(options.tenant, name))
      if (options.json) return printJson(found)
      const live = found.versions.find((version) => version.version === found.aliases['live'])
      const { invocations, errors } = found.lastHour
      print(styled('bold', found.name))
      print(
        pairs([
          ['tenant', found.tenant],
          ['created', formatAge(found.createdAtMs)],
          ['last hour', `${invocations} invocation${invocations === 1 ? '' : 's'}, ${errors} failed`],
          ['URL', found.urls.path],
          ['', `${found.urls.host} (where names under it resolve)`],
          ...(live
            ? ([
                ['live version', `${live.version}, deployed ${formatAge(live.createdAtMs)}`],
                ['runtime', live.runtime],
                ['handler', `${live.handler} (${live.contract})`],
                ['memory', `${live.memoryMiB} MiB`],
                ['timeout', formatMs(live.timeoutMs)],
                ['concurrency', `${live.concurrency} at once in one sandbox`],
                ['callers', live.auth === 'token' ? 'need a token with the scope invoke' : 'anyone'],
                ['environment', live.envNames.join(', ') || 'none'],
                ['egress', live.egress.join(', ') || 'none'],
                ...(live.services.length > 0 ? ([['services', live.services.join(', ')]] satisfies [string, string][]) : []),
                ...(live.secrets ? ([['secrets', secretTexts(live.secrets).join(', ')]] satisfies [string, string][]) : []),
              ] satisfies [string, string][])
            : []),
        ]),
      )
      print()
      const aliasesOf = (version: number): string =>
        Object.entries(found.aliases)
          .filter(([, target]) => target === version)
          .map(([alias]) => alias)
          .join(' ')
      const shown = found.versions.slice(0, VERSIONS_SHOWN)
      const rows = shown.map((version) => [
        String(version.version),
        aliasesOf(version.version),
        formatAge(version.createdAtMs),
        version.runtime,
        version.codeDigest.slice(0, 12),
      ])
      print(table([{ title: 'VERSION', right: true }, { title: 'ALIASES' }, { title: 'DEPLOYED' }, { title: 'RUNTIME' }, { title: 'CODE' }], rows))
      if (found.versions.length > shown.length) print(styled('dim', `… and ${found.versions.length - shown.length} older`))
    })

function secretTexts(secrets: Record<string, string>): string[] {
  return Object.entries(secrets).map(([variable, name]) => (variable === name ? name : `${name} (as ${variable})`))
}
