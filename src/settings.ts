/** What an operator may set for a server, by flag or environment variable; parsed once, at the edge. */
import { isIP } from 'node:net'
import { totalmem } from 'node:os'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'

import { parseAddress as parseIp, parseNetwork } from './egress/addresses.ts'
import { parseServiceName } from './egress/rules.ts'
import { HostelError } from './errors.ts'
import type { ServiceMapping } from './keeper/messages.ts'
import { limits } from './limits.ts'

/** An address to listen on. */
export interface ListenAddress {
  host: string
  /** 0 lets the kernel choose. */
  port: number
}

export interface Settings {
  /** Absolute path of the data directory. */
  dataDir: string
  gateway: ListenAddress
  api: ListenAddress
  /** Host names of functions end in this: `{function}.{tenant}.{domain}`. */
  domain: string
  /** How long an idle warm sandbox is kept. */
  keepWarmMs: number
  /** Memory that all sandboxes together may use. */
  memoryBudgetMiB: number
  maxSandboxes: number
  /** Memory of the machine that is to stay available. */
  memoryReserveMiB: number
  /** What is kept of records and log lines. */
  retention: { keepMs: number; maxBytes: number; tenantMaxBytes: number }
  /** The URL that traces are sent to; null: none are. */
  otlp: string | null
  /** Share of the invocations without a trace of their caller's that begin one. */
  traceRatio: number
  /** Whether a new data directory gets the functions of examples/. */
  examples: boolean
  /** Services that functions may name. */
  services: ServiceMapping[]
  /** Networks that egress may reach although they are nobody's public ones, as `ADDRESS/BITS`. */
  egressAllow: string[]
  /** Name servers for egress, as `ADDRESS:PORT`; none for the machine's own. */
  egressDns: string[]
  /** Calls over TLS, if any: where, and the files with certificates (PEM, with their chains) and keys. */
  tls: { listen: ListenAddress; files: { certificate: string; key: string }[] } | null
  /** Addresses and networks of proxies whose X-Forwarded fields are believed. */
  trustedProxies: string[]
  /** Requests a second that one client's address may make; null for no limit. */
  clientRequestsPerSecond: number | null
  /** Absolute path, or `-` for standard output; null for none. */
  accessLog: string | null
  accessLogFormat: 'combined' | 'json'
  /** URLs of the package registries that builds install from. */
  registries: { npm: string; pip: string }
}

/** Flag → environment variable, default and meaning; `--help` and docs/reference/configuration.md are made from it. */
export const settingFlags = {
  data: { env: 'HOSTEL_DATA', default: './data', help: 'directory that holds everything the server keeps' },
  gateway: { env: 'HOSTEL_GATEWAY', default: '127.0.0.1:8080', help: 'address for calls to functions' },
  api: { env: 'HOSTEL_API_LISTEN', default: '127.0.0.1:8081', help: 'address for the control API' },
  domain: { env: 'HOSTEL_DOMAIN', default: 'localhost', help: 'functions answer at http://FUNCTION.TENANT.DOMAIN' },
  'keep-warm': { env: 'HOSTEL_KEEP_WARM', default: `${limits.keepWarmDefaultMs / 60_000}m`, help: 'how long an idle warm sandbox is kept' },
  memory: { env: 'HOSTEL_MEMORY', default: '75%', help: 'memory for all sandboxes: 4GiB, 512MiB or a share of the machine' },
  'memory-reserve': {
    env: 'HOSTEL_MEMORY_RESERVE',
    default: '5%',
    help: "the machine's memory that stays available: below it idle sandboxes are ended, then spares, then new ones refused; 512MiB or a share",
  },
  'log-keep': { env: 'HOSTEL_LOG_KEEP', default: `${limits.recordsKeepMs / 86_400_000}d`, help: 'how long log lines and records of invocations are kept' },
  'log-size': { env: 'HOSTEL_LOG_SIZE', default: '2GiB', help: 'how much of them is kept in all' },
  'log-tenant-size': { env: 'HOSTEL_LOG_TENANT_SIZE', default: '1GiB', help: 'how much of them is kept of one tenant, so that none pushes out the others' },
  otlp: { env: 'HOSTEL_OTLP', default: '', help: 'collector of OpenTelemetry traces, such as http://127.0.0.1:4318 (OTLP over HTTP, in JSON)' },
  'trace-ratio': {
    env: 'HOSTEL_TRACE_RATIO',
    default: '0.01',
    help: 'share of calls that begin a trace, 0 to 1; those of a caller that traces follow its decision',
  },
  'max-sandboxes': { env: 'HOSTEL_MAX_SANDBOXES', default: '1000', help: 'sandboxes at once, spares included' },
  examples: { env: 'HOSTEL_EXAMPLES', default: 'no', help: 'deploy the functions of examples/ into a new data directory: yes or no' },
  service: {
    env: 'HOSTEL_SERVICES',
    default: '',
    help: 'a TCP service that functions may name, as NAME:PORT=HOST:PORT; may be repeated (in the variable: separated by commas)',
  },
  'egress-allow': {
    env: 'HOSTEL_EGRESS_ALLOW',
    default: '',
    help: "networks that functions' egress may reach although they are private, loopback or the like: ADDRESS/BITS, separated by commas",
  },
  'egress-dns': {
    env: 'HOSTEL_EGRESS_DNS',
    default: '',
    help: "name servers for functions' egress, ADDRESS[:PORT], separated by commas; none: the machine's own",
  },
  'gateway-tls': { env: 'HOSTEL_GATEWAY_TLS', default: '', help: 'address for calls to functions over TLS (HTTP/1.1 and HTTP/2)' },
  'tls-cert': {
    env: 'HOSTEL_TLS_CERT',
    default: '',
    help: 'file with a certificate and its chain (PEM), for the names in it; may be repeated, each with its --tls-key (in the variable: separated by commas)',
  },
  'tls-key': { env: 'HOSTEL_TLS_KEY', default: '', help: 'file with the key of the certificate in the same place (PEM)' },
  'trusted-proxies': {
    env: 'HOSTEL_TRUSTED_PROXIES',
    default: '',
    help: 'proxies whose X-Forwarded-For, -Proto and -Host are believed: ADDRESS or ADDRESS/BITS, separated by commas',
  },
  'rate-limit-client': { env: 'HOSTEL_RATE_LIMIT_CLIENT', default: '', help: 'requests a second that one client address may make' },
  'access-log': { env: 'HOSTEL_ACCESS_LOG', default: '', help: 'file that gets a line for each call over HTTP; - for standard output' },
  'access-log-format': { env: 'HOSTEL_ACCESS_LOG_FORMAT', default: 'combined', help: 'combined (as Apache and nginx write it) or json' },
  'npm-registry': {
    env: 'HOSTEL_NPM_REGISTRY',
    default: 'https://registry.npmjs.org/',
    help: 'the npm registry from which builds install, and the only place they reach',
  },
  'pip-index': { env: 'HOSTEL_PIP_INDEX', default: 'https://pypi.org/simple', help: 'the Python package index, likewise; its files must lie on the same host' },
} as const

type Flag = keyof typeof settingFlags

/** Those that may be given more than once. */
export const repeatedFlags: ReadonlySet<string> = new Set<Flag>(['service', 'tls-cert', 'tls-key'])

/** Flags win over environment variables, those over defaults. @throws HostelError `invalid_input` naming the flag. */
export function parseSettings(args: string[], environment: NodeJS.ProcessEnv): Settings {
  const options = Object.fromEntries(Object.keys(settingFlags).map((name) => [name, { type: 'string' as const, multiple: repeatedFlags.has(name) }]))
  let values: Record<string, string | string[] | undefined>
  try {
    values = parseArgs({ args, options, strict: true }).values as Record<string, string | string[] | undefined>
  } catch (error) {
    throw new HostelError('invalid_input', `${(error as Error).message} — \`hostel server --help\` lists the flags`, { cause: error })
  }
  const get = (flag: Flag): string => values[flag]?.toString() ?? (environment[settingFlags[flag].env] || settingFlags[flag].default)
  return {
    dataDir: resolve(get('data')),
    gateway: parseAddress('--gateway', get('gateway')),
    api: parseAddress('--api', get('api')),
    domain: parseDomain(get('domain')),
    keepWarmMs: parseDurationMs('--keep-warm', get('keep-warm')),
    memoryBudgetMiB: parseShareMiB('--memory', get('memory')),
    retention: {
      keepMs: parseDurationMs('--log-keep', get('log-keep')),
      maxBytes: parseMemoryMiB('--log-size', get('log-size')) * 1_048_576,
      tenantMaxBytes: parseMemoryMiB('--log-tenant-size', get('log-tenant-size')) * 1_048_576,
    },
    otlp: parseOtlp(get('otlp')),
    traceRatio: parseRatio(get('trace-ratio')),
    memoryReserveMiB: parseShareMiB('--memory-reserve', get('memory-reserve')),
    maxSandboxes: parseInteger('--max-sandboxes', get('max-sandboxes'), 1, limits.sandboxSlots),
    examples: parseYesNo('--examples', get('examples')),
    services: parseServices(listed(get('service'))),
    egressAllow: listed(get('egress-allow')).map(parseAllowed),
    egressDns: listed(get('egress-dns')).map(parseNameServer),
    tls: parseTls(get('gateway-tls'), listed(get('tls-cert')), listed(get('tls-key'))),
    trustedProxies: listed(get('trusted-proxies')).map(parseProxy),
    clientRequestsPerSecond: get('rate-limit-client') === '' ? null : parseInteger('--rate-limit-client', get('rate-limit-client'), 1, 1_000_000),
    accessLog: get('access-log') === '' ? null : get('access-log') === '-' ? '-' : resolve(get('access-log')),
    accessLogFormat: parseLogFormat(get('access-log-format')),
    registries: { npm: parseRegistry('--npm-registry', get('npm-registry')), pip: parseRegistry('--pip-index', get('pip-index')) },
  }
}

/** `host:port`, `[v6]:port` or `:port` (all addresses). */
export function parseAddress(what: string, text: string): ListenAddress {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]*)):(\d{1,5})$/.exec(text)
  const port = Number(match?.[3])
  if (!match || port > 65_535) throw new HostelError('invalid_input', `${what} takes HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080; got "${text}"`)
  return { host: match[1] ?? (match[2] || '0.0.0.0'), port }
}

/** `500ms`, `30s`, `10m`, `2h`, `7d`. */
export function parseDurationMs(what: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text)
  const unit = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }[match?.[2] as 'ms'] ?? Number.NaN
  const value = Number(match?.[1]) * unit
  if (!Number.isFinite(value)) throw new HostelError('invalid_input', `${what} takes a duration such as 500ms, 30s or 10m; got "${text}"`)
  return Math.round(value)
}

/** `256MiB`, `1GiB`; `256` alone, `MB` and `GB` are refused, since people mean different things by them. Result in MiB. */
export function parseMemoryMiB(what: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)(MiB|GiB)$/.exec(text)
  const value = Number(match?.[1]) * (match?.[2] === 'GiB' ? 1_024 : 1)
  if (!Number.isInteger(value) || value <= 0) throw new HostelError('invalid_input', `${what} takes an amount such as 256MiB or 1GiB; got "${text}"`)
  return value
}

function parseShareMiB(what: string, text: string): number {
  const share = /^(\d{1,2}|100)%$/.exec(text)
  if (share) return Math.floor((totalmem() / 1_048_576) * (Number(share[1]) / 100))
  return parseMemoryMiB(what, text)
}

function parseOtlp(text: string): string | null {
  if (text === '') return null
  const url = URL.parse(text)
  if (!url || !/^https?:$/.test(url.protocol))
    throw new HostelError('invalid_input', `--otlp takes an http or https URL such as http://127.0.0.1:4318; got "${text}"`)
  // As OpenTelemetry has it: the path of a signal follows the collector's own.
  if (!url.pathname.endsWith('/v1/traces')) url.pathname = `${url.pathname.replace(/\/$/, '')}/v1/traces`
  return url.href
}

function parseRatio(text: string): number {
  const value = /^\d*\.?\d+$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= 0 && value <= 1)) throw new HostelError('invalid_input', `--trace-ratio takes a number from 0 to 1; got "${text}"`)
  return value
}

function parseDomain(text: string): string {
  const domain = text.toLowerCase()
  if (!/^(?=.{1,190}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/.test(domain))
    throw new HostelError('invalid_input', `--domain takes a DNS name such as functions.example.com; got "${text}"`)
  return domain
}

export function parseInteger(what: string, text: string, min: number, max: number): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= min && value <= max)) throw new HostelError('invalid_input', `${what} takes a whole number from ${min} to ${max}; got "${text}"`)
  return value
}

function parseYesNo(what: string, text: string): boolean {
  if (text === 'yes' || text === 'no') return text === 'yes'
  throw new HostelError('invalid_input', `${what} takes yes or no; got "${text}"`)
}

function listed(text: string): string[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter(Boolean)
}

function parseServices(texts: string[]): ServiceMapping[] {
  const mappings = texts.map((text) => {
    const at = text.indexOf('=')
    const named = at < 0 ? undefined : parseServiceName(text.slice(0, at))
    const target = /^(?:\[[0-9a-fA-F:.]+\]|[^:[\]\s]+):\d+$/.test(text.slice(at + 1)) ? parseAddress('--service', text.slice(at + 1)) : undefined
    if (!named || !target || target.port === 0)
      throw new HostelError('invalid_input', `--service takes NAME:PORT=HOST:PORT, such as postgres.internal:5432=10.0.0.5:5432; got "${text}"`)
    return { ...named, target }
  })
  const twice = mappings.find(({ name, port }, index) => mappings.findIndex((other) => other.name === name && other.port === port) !== index)
  if (twice) throw new HostelError('invalid_input', `--service maps ${twice.name}:${twice.port} twice`)
  return mappings
}

/** Without a password, which every install script could read. */
function parseRegistry(what: string, text: string): string {
  const url = URL.parse(text)
  if (url && /^https?:$/.test(url.protocol) && url.username === '' && url.password === '' && url.search === '' && url.hash === '') return url.href
  throw new HostelError('invalid_input', `${what} takes the URL of a registry, such as https://registry.example.com/, without user and password; got "${text}"`)
}

function parseAllowed(text: string): string {
  if (!parseNetwork(text))
    throw new HostelError('invalid_input', `--egress-allow takes networks such as 10.1.0.0/16 or fd00:1::/32, with no bits behind the prefix; got "${text}"`)
  return text
}

function parseNameServer(text: string): string {
  const [, bracketed, plain, port] = /^(?:\[(.+)\]|([^:]+|[0-9a-fA-F:.]+:[0-9a-fA-F:.]*))(?::(\d{1,5}))?$/.exec(text) ?? []
  if (!parseIp(bracketed ?? plain ?? '') || Number(port ?? 53) > 65_535 || Number(port ?? 53) < 1)
    throw new HostelError('invalid_input', `--egress-dns takes addresses of name servers, such as 10.0.0.2 or 127.0.0.1:5353; got "${text}"`)
  return text
}

function parseTls(address: string, certificates: string[], keys: string[]): Settings['tls'] {
  if (certificates.length !== keys.length) throw new HostelError('invalid_input', 'each --tls-cert takes a --tls-key')
  if (address === '' && certificates.length > 0) throw new HostelError('invalid_input', '--tls-cert takes effect with --gateway-tls HOST:PORT')
  if (address === '') return null
  if (certificates.length === 0) throw new HostelError('invalid_input', '--gateway-tls takes a --tls-cert and a --tls-key')
  const files = certificates.map((certificate, index) => ({ certificate: resolve(certificate), key: resolve(keys[index]!) }))
  return { listen: parseAddress('--gateway-tls', address), files }
}

function parseProxy(text: string): string {
  const [address = '', bits] = text.split('/')
  const version = isIP(address)
  const isNetwork = version !== 0 && (bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 6 ? 128 : 32)))
  if (!isNetwork) throw new HostelError('invalid_input', `--trusted-proxies takes addresses and networks such as 10.0.0.0/8 or ::1; got "${text}"`)
  return text
}

function parseLogFormat(text: string): 'combined' | 'json' {
  if (text === 'combined' || text === 'json') return text
  throw new HostelError('invalid_input', `--access-log-format takes combined or json; got "${text}"`)
}
