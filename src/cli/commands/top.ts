import type { ControlClient, Sandbox } from '../../client/control.ts'
import { activityOf, RECORDS_MAX, WINDOW_MS } from '../activity.ts'
import type { Activity } from '../activity.ts'
import { apiOption, examples, jsonOption, newCommand, tenantOption, tokenOption } from '../command.ts'
import { connect } from '../connect.ts'
import { formatBytes, formatMs, printJson, styled, table } from '../output.ts'
import { show } from '../watching.ts'

export const command = () =>
  newCommand('top')
    .description(
      `Show how busy functions are, again every second: requests a second, errors and times of the last ${WINDOW_MS / 1_000} seconds, requests in flight, ` +
        'sandboxes and their memory. Ctrl-C ends it.',
    )
    .option('--once', 'show it once')
    .addOption(tenantOption())
    .addOption(apiOption())
    .addOption(tokenOption())
    .addOption(jsonOption())
    .addHelpText('after', examples('top', 'top --once', 'top --json'))
    .action(async (options) => {
      const { client } = connect(options)
      if (options.json) {
        const { functions, spares } = await look(client, options.tenant)
        return printJson({ atMs: Date.now(), windowMs: WINDOW_MS, functions, spares: spares.length })
      }
      await show(async () => render(await look(client, options.tenant)), { watch: !options.once })
    })

interface Seen {
  functions: Activity[]
  spares: Sandbox[]
  sandboxes: Sandbox[]
}

async function look(client: ControlClient, tenant: string): Promise<Seen> {
  const [sandboxes, invocations] = await Promise.all([client.sandboxes(tenant), client.invocations(tenant, { limit: RECORDS_MAX })])
  return { functions: activityOf(invocations, sandboxes, Date.now()), spares: sandboxes.filter((item) => item.tenant === null), sandboxes }
}

function render({ functions, spares, sandboxes }: Seen): string {
  const sum = (pick: (item: Activity) => number): number => functions.reduce((total, item) => total + pick(item), 0)
  const memory = sandboxes.reduce((total, item) => total + (item.memoryBytes ?? 0), 0)
  const head = [
    `${formatRate(sum((item) => item.requestsPerSecond))} requests/s`,
    `${sum((item) => item.inFlight)} in flight`,
    `${counted(sandboxes.length - spares.length, 'sandbox', 'es')} and ${counted(spares.length, 'spare', 's')} in ${formatBytes(memory)}`,
  ].join(', ')
  if (functions.length === 0) return `${styled('bold', head)}\n\nNo function is at work, or was in the last ${WINDOW_MS / 1_000} seconds.`
  const right = (title: string) => ({ title, right: true })
  const columns = [{ title: 'FUNCTION' }, ...['REQ/S', 'ERRORS', 'P50', 'P99', 'IN FLIGHT', 'BUSY', 'IDLE', 'FROZEN', 'MEMORY'].map(right)]
  const rows = functions.map((item) => [
    item.function,
    formatRate(item.requestsPerSecond),
    item.requestsPerSecond === 0 ? '-' : `${(item.errorShare * 100).toFixed(item.errorShare > 0 && item.errorShare < 0.1 ? 1 : 0)} %`,
    item.p50Ms === null ? '-' : formatMs(item.p50Ms),
    item.p99Ms === null ? '-' : formatMs(item.p99Ms),
    String(item.inFlight),
    String(item.sandboxes.busy + item.sandboxes.other),
    String(item.sandboxes.idle),
    String(item.sandboxes.frozen),
    formatBytes(item.memoryBytes),
  ])
  return `${styled('bold', head)}\n\n${table(columns, rows)}`
}

function counted(count: number, word: string, ending: string): string {
  return `${count} ${word}${count === 1 ? '' : ending}`
}

function formatRate(perSecond: number): string {
  return perSecond >= 100 ? String(Math.round(perSecond)) : perSecond.toFixed(1)
}
