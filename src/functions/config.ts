/** From what a deploy asks for to a complete, valid configuration: what is left out is found in the code or gets its default. */
import { posix } from 'node:path'

import { HostelError } from '../errors.ts'
import type { RuntimeInfo, ServiceMapping } from '../keeper/messages.ts'
import { limits } from '../limits.ts'
import type { MemoryClassMiB } from '../limits.ts'
import type { CodeStore } from './code/store.ts'
import { resolveDoors } from './doors.ts'
import type { VersionConfig } from './types.ts'

/** What a deploy may say; the API's schema has checked types and ranges. */
export interface WantedConfig {
  code: string
  runtime?: string
  handler?: string
  memoryMiB?: MemoryClassMiB
  timeoutMs?: number
  concurrency?: number
  auth?: 'public' | 'token'
  env?: Record<string, string>
  egress?: string[]
  services?: string[]
  /** Names of secrets, each for the variable of its name; or variable → name. */
  secrets?: string[] | Record<string, string>
}

/** A package.json longer than this is not looked into. */
const PACKAGE_JSON_MAX_BYTES = 1024 * 1024

export const ENV_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,255}$/
/** Names with this start are Hostel's own. */
const RESERVED_ENV_PREFIX = 'HOSTEL_'

/** @throws HostelError `invalid_input` naming the field and what it takes. */
export async function resolveConfig(
  wanted: WantedConfig,
  code: CodeStore,
  runtimes: readonly RuntimeInfo[],
  services: readonly ServiceMapping[] = [],
): Promise<VersionConfig> {
  if (!code.has(wanted.code)) throw invalid('code', 'the digest of code that was uploaded; there is none of this digest (any more): upload it first')
  const settings = resolveSettings(wanted, services)
  const { runtime, handler } =
    wanted.handler === undefined ? await findEntry(wanted, code, runtimes) : await checkHandler(wanted.handler, wanted, code, runtimes)
  return { runtime: runtime.name, handler, ...settings }
}

/** What does not depend on the code: all but runtime and handler. @throws HostelError `invalid_input` */
export function resolveSettings(wanted: WantedConfig, services: readonly ServiceMapping[] = []): Omit<VersionConfig, 'runtime' | 'handler'> {
  const env = wanted.env ?? {}
  checkEnv(env)
  const secrets = resolveSecrets(wanted.secrets ?? {}, env)
  return {
    memoryMiB: wanted.memoryMiB ?? limits.memoryDefaultMiB,
    timeoutMs: wanted.timeoutMs ?? limits.timeoutDefaultMs,
    concurrency: wanted.concurrency ?? limits.concurrencyDefault,
    ...(wanted.auth === 'token' && { auth: 'token' as const }),
    // One order, so that equal configurations are equal texts.
    ...resolveDoors(wanted, services),
    env: inOrder(env),
    ...(Object.keys(secrets).length > 0 && { secrets: inOrder(secrets) }),
  }
}

interface Entry {
  runtime: RuntimeInfo
  handler: string
}

function checkEnv(env: Record<string, string>): void {
  const entries = Object.entries(env)
  if (entries.length > limits.envMaxEntries) throw invalid('env', `at most ${limits.envMaxEntries} entries; got ${entries.length}`)
  let bytes = 0
  for (const [name, value] of entries) {
    if (!ENV_NAME.test(name))
      throw invalid('env', `names of letters, digits and underscores that start with no digit; got ${JSON.stringify(name.slice(0, 100))}`)
    if (name.startsWith(RESERVED_ENV_PREFIX)) throw invalid('env', `names that do not start with ${RESERVED_ENV_PREFIX}, which is Hostel's own; got ${name}`)
    if (value.includes('\0')) throw invalid(`env.${name}`, 'a text without NUL characters')
    bytes += Buffer.byteLength(name) + Buffer.byteLength(value)
  }
  if (bytes > limits.envMaxBytes) throw invalid('env', `at most ${limits.envMaxBytes} bytes of names and values; got ${bytes}`)
}

function inOrder(texts: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(texts).sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** Variable → name of the secret. Whether they are set is known when the version is started. */
function resolveSecrets(wanted: string[] | Record<string, string>, env: Record<string, string>): Record<string, string> {
  const pairs = Array.isArray(wanted) ? wanted.map((name): [string, string] => [name, name]) : Object.entries(wanted)
  for (const [variable, name] of pairs) {
    for (const text of [variable, name]) {
      if (!ENV_NAME.test(text))
        throw invalid('secrets', `names of letters, digits and underscores that start with no digit; got ${JSON.stringify(text.slice(0, 100))}`)
    }
    if (variable.startsWith(RESERVED_ENV_PREFIX))
      throw invalid('secrets', `variables that do not start with ${RESERVED_ENV_PREFIX}, which is Hostel's own; got ${variable}`)
    if (Object.hasOwn(env, variable)) throw invalid('secrets', `variables that env does not set as well; got ${variable}`)
  }
  const entries = pairs.length + Object.keys(env).length
  if (entries > limits.envMaxEntries) throw invalid('secrets', `at most ${limits.envMaxEntries} entries together with env; got ${entries}`)
  return Object.fromEntries(pairs)
}

function findRuntime(name: string, runtimes: readonly RuntimeInfo[]): RuntimeInfo {
  const found = runtimes.find((runtime) => runtime.name === name)
  if (!found) throw invalid('runtime', `one of the installed runtimes (${names(runtimes)}); got "${name}"`)
  return found
}

async function checkHandler(text: string, wanted: WantedConfig, code: CodeStore, runtimes: readonly RuntimeInfo[]): Promise<Entry> {
  const match = /^([^:]+)(?::([A-Za-z_$][\w$]{0,254}))?$/.exec(text)
  if (!match) throw invalid('handler', `\`file\` or \`file:export\`, such as index.ts or main.py:handler; got ${JSON.stringify(text.slice(0, 200))}`)
  const file = insideCode(match[1]!)
  if (file === undefined) throw invalid('handler', `a file inside the code, relative to its root; got ${JSON.stringify(text.slice(0, 200))}`)
  if (!(await code.hasFile(wanted.code, file))) throw invalid('handler', `a file of the code; there is no ${file} in it`)
  const handler = match[2] ? `${file}:${match[2]}` : file
  if (wanted.runtime !== undefined) return { runtime: findRuntime(wanted.runtime, runtimes), handler }
  const fitting = runtimes.filter((runtime) => runtime.entryFiles.some((entry) => posix.extname(entry) === posix.extname(file)))
  if (fitting.length !== 1) throw invalid('runtime', `one of the installed runtimes (${names(runtimes)}); the handler ${file} does not tell which`)
  return { runtime: fitting[0]!, handler }
}

async function findEntry(wanted: WantedConfig, code: CodeStore, runtimes: readonly RuntimeInfo[]): Promise<Entry> {
  const candidates = wanted.runtime === undefined ? runtimes : [findRuntime(wanted.runtime, runtimes)]
  const found: Entry[] = []
  for (const runtime of candidates) {
    const handler = (await packageMain(wanted.code, runtime, code)) ?? (await firstFile(wanted.code, runtime.entryFiles, code))
    if (handler !== undefined) found.push({ runtime, handler })
  }
  if (found.length === 1) return found[0]!
  const tried = [...new Set(candidates.flatMap((runtime) => runtime.entryFiles))].join(', ')
  if (found.length === 0) throw invalid('handler', `a file of the code to start with; none was given, and the code's root has none of ${tried}`)
  throw invalid(
    'runtime',
    `one of the installed runtimes; the code fits several (${found.map(({ runtime, handler }) => `${runtime.name} by ${handler}`).join(', ')}): say which`,
  )
}

async function firstFile(digest: string, files: readonly string[], code: CodeStore): Promise<string | undefined> {
  for (const file of files) if (await code.hasFile(digest, file)) return file
  return undefined
}

/** What `main` of a package.json names, as Node would find it; undefined where there is none. */
async function packageMain(digest: string, runtime: RuntimeInfo, code: CodeStore): Promise<string | undefined> {
  if (!runtime.name.startsWith('nodejs')) return undefined
  const text = await code.readText(digest, 'package.json', PACKAGE_JSON_MAX_BYTES)
  if (text === undefined) return undefined
  let main: unknown
  try {
    main = (JSON.parse(text) as { main?: unknown } | null)?.main
  } catch (error) {
    throw new HostelError('invalid_input', `package.json of the code is no valid JSON: ${(error as Error).message}`, { cause: error })
  }
  if (typeof main !== 'string' || main === '') return undefined
  const file = insideCode(main)
  const found = file === undefined ? undefined : await firstFile(digest, [file, `${file}.js`, `${file}/index.js`], code)
  if (found === undefined)
    throw new HostelError('invalid_input', `main in package.json takes a file of the code; got ${JSON.stringify(main.slice(0, 200))}, which is not there`)
  return found
}

/** The path without detours, or undefined when it leads out of the code. */
function insideCode(path: string): string | undefined {
  if (path.includes('\0')) return undefined
  const normal = posix.normalize(path)
  return posix.isAbsolute(normal) || normal === '.' || normal === '..' || normal.startsWith('../') || normal.endsWith('/') ? undefined : normal
}

function names(runtimes: readonly RuntimeInfo[]): string {
  return runtimes.map(({ name }) => name).join(', ')
}

function invalid(field: string, takes: string): HostelError {
  return new HostelError('invalid_input', `${field} takes ${takes}`, { facts: { field } })
}
