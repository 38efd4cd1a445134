/** What a command works on, by options: one directory of code, or the functions of a hostel.yaml. */
import { statSync } from 'node:fs'
import { basename, resolve } from 'node:path'

import type { NewVersion } from '../client/control.ts'
import { canonicalRule, EGRESS_TAKES } from '../egress/rules.ts'
import { isName, NAME_TAKES } from '../functions/names.ts'
import { limits, MEMORY_CLASSES_MIB } from '../limits.ts'
import { parseDurationMs, parseInteger, parseMemoryMiB } from '../settings.ts'
import { collect, newCommand } from './command.ts'
import type { Target } from './deploying.ts'
import { CliFailure, usageFailure } from './failure.ts'
import { findManifest } from './manifest-file.ts'

/** A command with the options that describe functions, or lead to a file that does. */
export const newTargetCommand = (name: string) =>
  newCommand(name)
    .argument('[dir]', 'the directory with the code, or with hostel.yaml (default: ".")')
    .option('-f, --file <file>', 'a hostel.yaml somewhere else, or of another name')
    .option('--only <function>', 'only this function of hostel.yaml; may be repeated', collect)
    .option('--name <name>', "the function (default: the directory's name)")
    .option('--runtime <runtime>', 'runtime, see `hostel runtimes ls` (default: by the files that are there)')
    .option('--handler <handler>', 'file or file:export, such as index.ts or main.py:handler (default: the first of those the runtime looks for)')
    .option('--memory <size>', `memory of one sandbox: ${MEMORY_CLASSES_MIB.join(', ')} MiB, as 256MiB or 1GiB (default ${limits.memoryDefaultMiB}MiB)`)
    .option('--timeout <time>', `how long one invocation may take: 500ms, 30s, 5m (default ${limits.timeoutDefaultMs / 1_000}s)`)
    .option('--concurrency <count>', `requests at once in one sandbox (default ${limits.concurrencyDefault})`)
    .option('--auth <who>', 'who may call it: public, or token: whoever has a token with the scope invoke (default public)')
    .option('--env <name=value>', 'environment variable for the function; may be repeated', collect)
    .option('--egress <host:port>', 'let it reach this: api.example.com:443, *.example.com:443, an address or a network; may be repeated', collect)
    .option('--service <name:port>', 'let it reach this service, of those that the operator has mapped; may be repeated', collect)
    .option('--secret <name>', 'secret for the function, as the variable of its name, or VARIABLE=NAME; may be repeated', collect)

export interface TargetOptions extends ConfigOptions {
  file?: string | undefined
  only?: string[] | undefined
  name?: string | undefined
}

/** What the options describe a function with; beside a file that does, there is no telling who is right. */
const describing = ['name', 'runtime', 'handler', 'memory', 'timeout', 'concurrency', 'auth', 'env', 'secret', 'egress', 'service'] as const

/** The path of the manifest that is meant, if any. @throws CliFailure (usage) for options that do not go with it, or need it */
export function manifestOf(dir: string | undefined, options: TargetOptions): string | undefined {
  if (dir !== undefined && options.file !== undefined) throw usageFailure('a directory and --file cannot both say what is meant', 'Take one away.')
  const path = options.file ?? findManifest(resolve(dir ?? '.'))
  if (path !== undefined) refuse(options, describing, `${path} says what is deployed`, 'Write it there instead.')
  else refuse(options, ['only'], 'there is no hostel.yaml', 'Name one with --file, or go to its directory.')
  return path
}

function refuse(options: TargetOptions, flags: readonly (keyof TargetOptions)[], why: string, fix: string): void {
  const given = flags.find((flag) => options[flag] !== undefined)
  if (given !== undefined) throw usageFailure(`--${given} cannot be used here: ${why}`, fix)
}

/** One directory, described by options. @throws CliFailure (usage) */
export function targetOf(dir: string, options: TargetOptions): Target {
  const directory = resolve(dir)
  if (!statSync(directory).isDirectory()) {
    throw usageFailure(`${dir} is not a directory`, /\.ya?ml$/.test(dir) ? `Name such a file with --file ${dir}.` : 'Name the directory that holds the code.')
  }
  const name = options.name ?? basename(directory)
  if (!isName(name)) throw badName(name, options.name !== undefined)
  return { name, directory, wanted: readConfig(options) }
}

interface ConfigOptions {
  runtime?: string | undefined
  handler?: string | undefined
  memory?: string | undefined
  timeout?: string | undefined
  concurrency?: string | undefined
  auth?: string | undefined
  env?: string[] | undefined
  egress?: string[] | undefined
  service?: string[] | undefined
  secret?: string[] | undefined
}

/** Checked here, so that a wrong flag is found before anything is sent. */
function readConfig(options: ConfigOptions): Omit<NewVersion, 'code'> {
  return {
    ...(options.runtime !== undefined && { runtime: options.runtime }),
    ...(options.handler !== undefined && { handler: options.handler }),
    ...(options.memory !== undefined && { memoryMiB: readMemory(options.memory) }),
    ...(options.timeout !== undefined && { timeoutMs: readTimeout(options.timeout) }),
    ...(options.concurrency !== undefined && { concurrency: parseInteger('--concurrency', options.concurrency, 1, limits.concurrencyMax) }),
    ...(options.auth !== undefined && { auth: readAuth(options.auth) }),
    ...(options.env && { env: readEnv(options.env) }),
    ...(options.egress && { egress: options.egress.map(readEgress) }),
    ...(options.service && { services: options.service }),
    ...(options.secret && { secrets: readSecrets(options.secret) }),
  }
}

function readMemory(text: string): (typeof MEMORY_CLASSES_MIB)[number] {
  const memoryMiB = parseMemoryMiB('--memory', text)
  const found = MEMORY_CLASSES_MIB.find((size) => size === memoryMiB)
  if (found === undefined)
    throw usageFailure(
      `--memory takes one of ${MEMORY_CLASSES_MIB.join(', ')} MiB; got "${text}"`,
      `The next that fits is ${MEMORY_CLASSES_MIB.find((size) => size > memoryMiB) ?? MEMORY_CLASSES_MIB.at(-1)}MiB.`,
    )
  return found
}

function readAuth(text: string): 'public' | 'token' {
  if (text !== 'public' && text !== 'token') throw usageFailure(`--auth takes public or token; got "${text}"`)
  return text
}

function readTimeout(text: string): number {
  const timeoutMs = parseDurationMs('--timeout', text)
  if (timeoutMs < 1 || timeoutMs > limits.timeoutMaxMs) throw usageFailure(`--timeout takes a time from 1ms to ${limits.timeoutMaxMs / 60_000}m; got "${text}"`)
  return timeoutMs
}

function readEgress(text: string): string {
  if (canonicalRule(text) === undefined) throw usageFailure(`--egress takes ${EGRESS_TAKES}; got "${text}"`, 'Example: --egress api.example.com:443')
  return text
}

function readEnv(pairs: string[]): Record<string, string> {
  const env: Record<string, string> = {}
  for (const pair of pairs) {
    const match = /^([A-Za-z_][A-Za-z0-9_]*)=(.*)$/s.exec(pair)
    // The value may be a secret, so only the name is shown.
    if (!match)
      throw usageFailure(
        `--env takes NAME=VALUE with a name of letters, digits and _; got "${pair.split('=')[0]}${pair.includes('=') ? '=…' : ''}"`,
        'Example: --env GREETING=hi',
      )
    env[match[1]!] = match[2]!
  }
  return env
}

function readSecrets(texts: string[]): Record<string, string> {
  return Object.fromEntries(
    texts.map((text) => {
      const match = /^(?:([A-Za-z_][A-Za-z0-9_]*)=)?([A-Za-z_][A-Za-z0-9_]*)$/.exec(text)
      // Somebody may have given the value.
      if (!match)
        throw usageFailure(
          '--secret takes NAME or VARIABLE=NAME, of letters, digits and _',
          'Example: --secret DATABASE_URL, after `hostel secrets set DATABASE_URL`',
        )
      return [match[1] ?? match[2]!, match[2]!]
    }),
  )
}

function badName(name: string, given: boolean): CliFailure {
  const better = name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^[-0-9]+|-+$/g, '')
    .slice(0, limits.nameMaxChars)
  return usageFailure(
    `"${name}"${given ? '' : ", the directory's name,"} cannot name a function: a name takes ${NAME_TAKES}`,
    isName(better) ? `Use --name ${better}.` : 'Give another --name.',
  )
}
