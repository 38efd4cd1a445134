/** What a function in hostel.yaml may say: one entry a key, from which the parser, the JSON Schema and the reference page are made. */
import { canonicalRule, EGRESS_TAKES, parseServiceName } from '../egress/rules.ts'
import { HostelError } from '../errors.ts'
import { limits, MEMORY_CLASSES_MIB } from '../limits.ts'
import { parseDurationMs, parseMemoryMiB } from '../settings.ts'
import type { Place, Report, Value } from './tree.ts'

export type JsonSchema = Record<string, unknown>

export interface Key {
  /** The field of the API's NewVersion that it becomes. */
  field: string
  help: string
  example: string
  schema: JsonSchema
  /** The value for the API; undefined when it does not fit, which is reported then. */
  read: (value: Value, report: Report) => unknown
  /** A value of the API for people. */
  show?: (value: unknown) => string
  /** What is so when the API leaves the field out, for people; "none" otherwise. */
  absent?: string
}

export const functionKeys: Record<string, Key> = {
  runtime: {
    field: 'runtime',
    help: 'language environment, see `hostel runtimes ls`; found by the files that are there when left out',
    example: 'nodejs24',
    schema: { type: 'string', pattern: '^[a-z][a-z0-9.-]{0,63}$', examples: ['nodejs24', 'python3'] },
    read: textLike(/^[a-z][a-z0-9.-]{0,63}$/, 'the name of a runtime, such as nodejs24'),
  },
  handler: {
    field: 'handler',
    help: '`file` or `file:export`, relative to the source; the first of those the runtime looks for when left out',
    example: 'main.py:handler',
    schema: { type: 'string', minLength: 1, maxLength: limits.codePathMaxBytes, examples: ['index.ts', 'main.py:handler'] },
    read: textLike(/^.+$/s, 'a file of the source, such as index.ts or main.py:handler'),
  },
  memory: {
    field: 'memoryMiB',
    help: `memory of one sandbox: ${memoryNames().join(', ')} (default ${limits.memoryDefaultMiB}MiB)`,
    example: '512MiB',
    schema: { type: 'string', enum: memoryNames() },
    read: readMemory,
    show: (value) => `${Number(value)} MiB`,
  },
  timeout: {
    field: 'timeoutMs',
    help: `how long one invocation may take, to ${limits.timeoutMaxMs / 60_000}m (default ${limits.timeoutDefaultMs / 1_000}s)`,
    example: '30s',
    schema: { type: 'string', pattern: '^[0-9]+(\\.[0-9]+)?(ms|s|m|h)$', examples: ['500ms', '30s', '5m'] },
    read: readTimeout,
    show: (value) => (Number(value) % 1_000 === 0 ? `${Number(value) / 1_000} s` : `${Number(value)} ms`),
  },
  concurrency: {
    field: 'concurrency',
    help: `requests at once in one sandbox (default ${limits.concurrencyDefault})`,
    example: '20',
    schema: { type: 'integer', minimum: 1, maximum: limits.concurrencyMax },
    read: readConcurrency,
  },
  auth: {
    field: 'auth',
    help: 'who may call it: `public`, or `token`: whoever has a token with the scope `invoke` (default public)',
    example: 'token',
    schema: { type: 'string', enum: ['public', 'token'] },
    read: textLike(/^(public|token)$/, 'public or token'),
    absent: 'public',
  },
  env: {
    field: 'env',
    help: 'environment variables; numbers and true or false are passed on as they are written',
    example: '{ CURRENCY: EUR }',
    schema: {
      type: 'object',
      propertyNames: { pattern: '^[A-Za-z_][A-Za-z0-9_]{0,255}$' },
      additionalProperties: { type: ['string', 'number', 'boolean'] },
      maxProperties: limits.envMaxEntries,
    },
    read: readEnv,
  },
  egress: {
    field: 'egress',
    help: 'what it may reach outside, as `host:port`: a name, `*.` and a name, an address or a network (default: nothing)',
    example: "[api.example.com:443, '*.example.org:443']",
    schema: { type: 'array', items: { type: 'string', pattern: '^.+:[0-9]{1,5}$' }, maxItems: limits.egressRulesMax },
    read: listOf((text) => canonicalRule(text) !== undefined, EGRESS_TAKES, limits.egressRulesMax),
    show: (value) => (value as string[]).join(', ') || 'nothing',
  },
  services: {
    field: 'services',
    help: 'TCP services that it may reach by name, as `name:port`, of those that the operator mapped with `hostel server --service`',
    example: '[postgres.internal:5432]',
    schema: { type: 'array', items: { type: 'string', pattern: '^.+:[0-9]{1,5}$' }, maxItems: limits.servicesPerVersionMax },
    read: listOf((text) => parseServiceName(text) !== undefined, 'services as name:port, such as postgres.internal:5432', limits.servicesPerVersionMax),
    show: (value) => (value as string[]).join(', ') || 'none',
  },
  secrets: {
    field: 'secrets',
    help: 'secrets that the function gets as environment variables: a list of names, or pairs of variable and name; set with `hostel secrets set`',
    example: '[DATABASE_URL]',
    schema: {
      oneOf: [
        { type: 'array', items: { type: 'string', pattern: '^[A-Za-z_][A-Za-z0-9_]{0,127}$' }, maxItems: limits.envMaxEntries },
        {
          type: 'object',
          propertyNames: { pattern: '^[A-Za-z_][A-Za-z0-9_]{0,127}$' },
          additionalProperties: { type: 'string', pattern: '^[A-Za-z_][A-Za-z0-9_]{0,127}$' },
          maxProperties: limits.envMaxEntries,
        },
      ],
    },
    read: readSecrets,
    show: (value) =>
      Object.entries(value as Record<string, string>)
        .map(([variable, name]) => (variable === name ? name : `${variable}: ${name}`))
        .join(', '),
  },
}

/** Keys that people will look for and that are not there yet → what they would be about. */
export const keysToCome: Record<string, string> = {
  build: 'building',
  canary: 'canaries',
  cron: 'schedules',
  dependencies: 'installing dependencies',
  domains: 'custom domains',
  image: 'container images',
  isolation: 'choosing another isolation than namespace',
  queue: 'queues',
  rateLimit: 'rate limits',
  routes: 'custom routes',
  scaling: 'scaling settings',
  schedule: 'schedules',
  triggers: 'triggers',
  volumes: 'volumes',
  weights: 'weighted aliases',
}

/** Words that other tools use → ours. */
export const otherWords: Record<string, string> = {
  code: 'source',
  codeUri: 'source',
  dir: 'source',
  directory: 'source',
  entry: 'handler',
  entrypoint: 'handler',
  environment: 'env',
  main: 'handler',
  mem: 'memory',
  memoryMiB: 'memory',
  memorySize: 'memory',
  path: 'source',
  src: 'source',
  timeoutMs: 'timeout',
  variables: 'env',
}

function textLike(pattern: RegExp, takes: string): Key['read'] {
  return (value, report) => {
    if (value.kind === 'scalar' && value.type === 'text' && pattern.test(value.text)) return value.text
    report(value.place, `takes ${takes}; got ${shown(value)}`)
    return undefined
  }
}

function listOf(fits: (text: string) => boolean, takes: string, max: number): Key['read'] {
  return (value, report) => {
    if (value.kind !== 'list' || value.items.length > max) {
      report(value.place, value.kind === 'list' ? `takes at most ${max} entries; got ${value.items.length}` : `takes a list of ${takes}; got ${shown(value)}`)
      return undefined
    }
    return value.items.flatMap((item) => {
      if (item.kind === 'scalar' && item.type === 'text' && fits(item.text)) return [item.text]
      report(item.place, `takes ${takes}; got ${shown(item)}`)
      return []
    })
  }
}

function readMemory(value: Value, report: Report): unknown {
  const memoryMiB = parsed(value, report, 'an amount such as 256MiB or 1GiB', parseMemoryMiB)
  if (memoryMiB === undefined || MEMORY_CLASSES_MIB.some((size) => size === memoryMiB)) return memoryMiB
  const next = MEMORY_CLASSES_MIB.find((size) => size > memoryMiB) ?? MEMORY_CLASSES_MIB.at(-1)
  report(value.place, `takes one of ${MEMORY_CLASSES_MIB.join(', ')} MiB; got ${shown(value)}. The next that fits is ${next}MiB`)
  return undefined
}

function readTimeout(value: Value, report: Report): unknown {
  const timeoutMs = parsed(value, report, 'a duration such as 500ms, 30s or 5m', parseDurationMs)
  if (timeoutMs === undefined || (timeoutMs >= 1 && timeoutMs <= limits.timeoutMaxMs)) return timeoutMs
  report(value.place, `takes a time from 1ms to ${limits.timeoutMaxMs / 60_000}m; got ${shown(value)}`)
  return undefined
}

function parsed(value: Value, report: Report, takes: string, parse: (what: string, text: string) => number): number | undefined {
  try {
    if (value.kind === 'scalar' && value.type === 'text') return parse('', value.text)
  } catch (error) {
    if (!(error instanceof HostelError)) throw error
  }
  report(value.place, `takes ${takes}; got ${shown(value)}`)
  return undefined
}

function readConcurrency(value: Value, report: Report): unknown {
  const number = value.kind === 'scalar' && value.type === 'number' ? Number(value.text) : Number.NaN
  if (Number.isInteger(number) && number >= 1 && number <= limits.concurrencyMax) return number
  report(value.place, `takes a whole number from 1 to ${limits.concurrencyMax}; got ${shown(value)}`)
  return undefined
}

function readEnv(value: Value, report: Report): unknown {
  if (value.kind !== 'map') {
    report(value.place, `takes NAME: value pairs, one a line; got ${shown(value)}`)
    return undefined
  }
  const env: [string, string][] = []
  for (const { key, place, value: item } of value.entries) {
    if (!/^[A-Za-z_][A-Za-z0-9_]{0,255}$/.test(key)) report(place, `takes names of letters, digits and _ that start with no digit; got "${key}"`)
    else if (key.startsWith('HOSTEL_')) report(place, `takes names that do not start with HOSTEL_, which are Hostel's own; got ${key}`)
    // The value may be a secret, so it is not shown.
    else if (item.kind !== 'scalar' || item.type === 'null') report(item.place, `${key} takes a text; for an empty one write ''`)
    else env.push([key, item.text])
  }
  return Object.fromEntries(env)
}

function readSecrets(value: Value, report: Report): unknown {
  const takes = 'takes names of secrets, of letters, digits and _, as a list or as VARIABLE: NAME pairs'
  const pairs: { place: Place; variable: string; item: Value }[] =
    value.kind === 'list'
      ? value.items.map((item) => ({ place: item.place, variable: item.kind === 'scalar' ? item.text : '', item }))
      : value.kind === 'map'
        ? value.entries.map(({ key, place, value: item }) => ({ place, variable: key, item }))
        : []
  if (value.kind === 'scalar') report(value.place, takes)
  const secrets: [string, string][] = []
  for (const { place, variable, item } of pairs) {
    // A value in the place of a name is a secret, so it is not shown.
    if (item.kind !== 'scalar' || ![variable, item.text].every((text) => /^[A-Za-z_][A-Za-z0-9_]{0,127}$/.test(text))) report(place, takes)
    else secrets.push([variable, item.text])
  }
  return Object.fromEntries(secrets)
}

/** A value for messages. */
export function shown(value: Value): string {
  if (value.kind === 'map') return 'a mapping'
  if (value.kind === 'list') return 'a list'
  if (value.type === 'null') return 'nothing'
  return value.type === 'text' ? JSON.stringify(value.text.slice(0, 100)) : value.text.slice(0, 100)
}

function memoryNames(): string[] {
  return MEMORY_CLASSES_MIB.map((size) => (size >= 1_024 ? `${size / 1_024}GiB` : `${size}MiB`))
}
