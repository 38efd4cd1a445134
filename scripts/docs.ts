/** `npm run docs`: writes the pages of docs/reference that are made from the code. A test holds them to it. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { errorKinds } from '../src/errors.ts'
import { limits, MEMORY_CLASSES_MIB } from '../src/limits.ts'
import { renderManifestPage } from '../src/manifest/reference.ts'
import { manifestSchema } from '../src/manifest/schema.ts'
import { settingFlags } from '../src/settings.ts'
import { metricCatalogue } from '../src/telemetry/catalogue.ts'

const root = join(import.meta.dirname, '..')

/** Path from the root of the checkout → what should stand there. */
export const pages: Record<string, () => string> = {
  'docs/reference/errors.md': renderErrors,
  'docs/reference/configuration.md': renderConfiguration,
  'docs/reference/hostel-yaml.md': renderManifestPage,
  'docs/reference/hostel.schema.json': () => `${JSON.stringify(manifestSchema(), null, 2)}\n`,
  'docs/reference/metrics.md': renderMetrics,
  'docs/reference/limits.md': () => renderLimits(readFileSync(join(root, 'src/limits.ts'), 'utf8')),
}

/** Largest first. */
const bytes: [string, number][] = [
  ['GiB', 1024 ** 3],
  ['MiB', 1024 ** 2],
  ['KiB', 1024],
  ['bytes', 1],
]
const durations: [string, number][] = [
  ['days', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1_000],
  ['ms', 1],
]

if (import.meta.main) {
  for (const [path, render] of Object.entries(pages)) writeFileSync(join(root, path), render())
}

function renderErrors(): string {
  const rows = Object.entries(errorKinds).map(([code, { status, retryable, title, hint }]) => [
    `\`${code}\``,
    String(status),
    retryable ? 'yes' : 'no',
    title,
    hint,
  ])
  return page(
    'Errors',
    'src/errors.ts',
    `Every error of the gateway and the control API is an \`application/problem+json\` document (RFC 9457) with one of these codes in
\`code\`, and \`urn:hostel:error:CODE\` in \`type\`. Codes are stable, texts are not. An answer about an invocation has its id in
\`invocation\`: \`hostel invocations show ID\` tells the rest.`,
    table(['Code', 'Status', 'Worth trying again', 'What happened', 'What to do'], rows),
  )
}

function renderConfiguration(): string {
  const rows = Object.entries(settingFlags).map(([flag, { env, default: value, help }]) => [
    `\`--${flag}\``,
    `\`${env}\``,
    value === '' ? 'none' : `\`${value}\``,
    help,
  ])
  return page(
    'Configuration',
    'src/settings.ts',
    `What an operator may set for \`hostel server\` (and \`npm start -- --flag value\`). A flag wins over its environment variable, and
that over the default. \`HOSTEL_LOG\` sets how much the server writes to standard error: \`trace\`, \`debug\`, \`info\`, \`warn\` (the
default) or \`error\`. What is fixed is in [limits](limits.md).`,
    table(['Flag', 'Environment variable', 'Default', 'Meaning'], rows),
  )
}

function renderMetrics(): string {
  const rows = Object.entries(metricCatalogue).map(([name, metric]) => [
    `\`${name}\``,
    metric.type,
    'labels' in metric ? metric.labels.map((label) => `\`${label}\``).join(', ') : '',
    metric.help,
  ])
  return page(
    'Metrics',
    'src/telemetry/catalogue.ts',
    `What \`GET /metrics\` of the control API (port 8081) tells Prometheus; [operate](../how-to/operate.md) says how to set that up. It takes a token with the
scope read: one for all tenants sees everything, one of a tenant what has its name in the label \`tenant\`. The busiest ${limits.metricsFunctionsMax} functions are
told apart; those beyond are counted together as \`_other\`. A counter begins at nought when its process (keeper, gateway, control) starts anew, and what
has not happened yet is not listed. Without the gateway, only the figures of keeper and control are there.`,
    table(['Metric', 'Type', 'Labels', 'Meaning'], rows),
  )
}

/** Values come from the module; its text gives each limit's group and comment. */
function renderLimits(source: string): string {
  const groups: { heading: string; note: string | undefined; rows: string[][] }[] = []
  let comment = ''
  for (const line of source.slice(source.indexOf('export const limits = {')).split('\n')) {
    const group = /^ {2}\/\/ (.*)$/.exec(line)?.[1]
    const doc = /^ {2}\/\*\* (.*) \*\/$/.exec(line)?.[1]
    const name = /^ {2}(\w+):/.exec(line)?.[1] as keyof typeof limits | undefined
    if (group) {
      const [heading = '', note] = group
        .replace(/ \(.*?\)/, '')
        .replace(/\.$/, '')
        .split(': ')
      groups.push({ heading, note, rows: [] })
    } else if (doc) comment = doc
    else if (name) {
      groups.at(-1)!.rows.push([`\`${name}\``, shown(name, limits[name]), comment])
      comment = ''
    }
  }
  const body = groups.map(({ heading, note, rows }) =>
    [`## ${heading}`, ...(note ? [`${capital(note)}.`] : []), table(['Limit', 'Value', 'Meaning'], rows)].join('\n\n'),
  )
  return page(
    'Limits',
    'src/limits.ts',
    `Everything has a limit, and these are not tuned at run time; what is, stands in [configuration](configuration.md). A version's
memory is one of the classes ${MEMORY_CLASSES_MIB.join(', ')} MiB. A line without a meaning of its own shares the one above it.`,
    body.join('\n\n'),
  )
}

/** The unit stands last in a limit's name. */
function shown(name: string, value: number): string {
  if (name === 'uidBase') return `0x${value.toString(16)}`
  if (name.endsWith('BytesPerSecond')) return `${inUnits(value, bytes)} a second`
  if (name.endsWith('Bytes')) return inUnits(value, bytes)
  if (name.endsWith('MiB')) return `${value} MiB`
  if (name.endsWith('Ms')) return inUnits(value, durations)
  return value.toLocaleString('en')
}

/** In the largest unit that leaves a whole number. */
function inUnits(value: number, units: [string, number][]): string {
  const [unit, size] = units.find(([, one]) => value % one === 0)!
  return `${(value / size).toLocaleString('en')} ${unit}`
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}

function page(title: string, source: string, introduction: string, body: string): string {
  return `<!-- Made from ${source} by \`npm run docs\`: change it there. -->\n# ${title}\n\n${introduction}\n\n${body}\n`
}

function table(head: string[], rows: string[][]): string {
  const line = (cells: string[]): string => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')
}
