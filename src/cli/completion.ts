/**
 * What may stand next on a command line. Commands and options come from commander's own structure; what a value is follows from its
 * placeholder in the help: `<function>` is asked from the server, `<dir>` and `<file>` are left to the shell.
 */
import type { CommandUnknownOpts } from '@commander-js/extra-typings'

import { findAccess } from '../client/access.ts'
import { createControlClient } from '../client/control.ts'
import { completionScripts } from './completion-scripts.ts'
import { commandTable } from './program.ts'

export interface Candidate {
  text: string
  help?: string
}

/** Candidates, or which of the shell's own completions fits. */
export type Completion = Candidate[] | 'files' | 'dirs'

/** How long the server may take: a Tab that waits is worse than one that finds nothing. */
const ASK_TIMEOUT_MS = 700

type Option = CommandUnknownOpts['options'][number]

/** For the words behind `hostel`, the last of which is being typed and may be empty. */
export async function complete(words: string[]): Promise<Completion> {
  const typed = words.at(-1) ?? ''
  const before = words.slice(0, -1)
  const [name, ...rest] = before
  if (name === undefined || !Object.hasOwn(commandTable, name)) {
    if (name !== undefined) return []
    if (typed.startsWith('-')) return [{ text: '--help' }, { text: '--version' }]
    return Object.entries(commandTable).map(([text, { summary }]) => ({ text, help: summary }))
  }
  let command: CommandUnknownOpts = (await commandTable[name]!.load()).command()
  while (command.commands.length > 0) {
    const next = command.commands.find((candidate) => candidate.name() === rest[0])
    if (!next) return rest.length > 0 ? [] : command.commands.map((candidate) => ({ text: candidate.name(), help: candidate.summary() }))
    command = next
    rest.shift()
  }
  return completeIn(command, rest, typed)
}

/** In a command without commands of its own. */
async function completeIn(command: CommandUnknownOpts, before: string[], typed: string): Promise<Completion> {
  const { given, values, operands, open } = readWords(command, before)
  if (open) return valuesOf(placeholderOf(open), open.argChoices, values)
  const [flag, value] = typed.split('=', 2) as [string, string?]
  if (typed.startsWith('--') && value !== undefined) {
    const option = findOption(command, flag)
    const found = option ? await valuesOf(placeholderOf(option), option.argChoices, values) : []
    return typeof found === 'string' ? found : found.map((candidate) => ({ ...candidate, text: `${flag}=${candidate.text}` }))
  }
  if (typed.startsWith('-')) {
    const left = command.options.filter((option) => !option.hidden && (!given.has(option) || /may be repeated/.test(option.description)))
    return [...left.map((option) => ({ text: option.long ?? option.short ?? '', help: option.description })), { text: '--help', help: 'show this help' }]
  }
  const argument = command.registeredArguments[operands] ?? command.registeredArguments.findLast((candidate) => candidate.variadic)
  return argument ? valuesOf(argument.name(), argument.argChoices, values) : []
}

interface Words {
  given: Set<Option>
  /** Values of options by their long name, which lead to the server. */
  values: Record<string, string>
  operands: number
  /** An option whose value is what is being typed. */
  open: Option | undefined
}

function readWords(command: CommandUnknownOpts, before: string[]): Words {
  const read: Words = { given: new Set(), values: {}, operands: 0, open: undefined }
  for (const word of before) {
    if (read.open) {
      read.values[read.open.attributeName()] = word
      read.open = undefined
      continue
    }
    const option = word.startsWith('-') ? findOption(command, word.split('=')[0]!) : undefined
    if (!option) {
      if (!word.startsWith('-')) read.operands += 1
      continue
    }
    read.given.add(option)
    if (word.includes('=')) read.values[option.attributeName()] = word.slice(word.indexOf('=') + 1)
    else if (option.required) read.open = option
  }
  return read
}

function findOption(command: CommandUnknownOpts, flag: string): Option | undefined {
  return command.options.find((option) => option.long === flag || option.short === flag)
}

/** `function` in `--only <function>`. */
function placeholderOf(option: Option): string {
  return /[<[]([^>\]]+)[>\]]/.exec(option.flags)?.[1] ?? ''
}

async function valuesOf(kind: string, choices: readonly string[] | undefined, given: Record<string, string>): Promise<Completion> {
  if (choices) return choices.map((text) => ({ text }))
  if (kind === 'dir') return 'dirs'
  if (kind === 'file') return 'files'
  if (kind === 'shell') return Object.keys(completionScripts).map((text) => ({ text }))
  const ask = Object.hasOwn(asked, kind) ? asked[kind] : undefined
  return ask ? await fromServer(ask, given) : []
}

type Client = ReturnType<typeof createControlClient>

/** Placeholder → how the server is asked. */
const asked: Record<string, (client: Client, tenant: string) => Promise<Candidate[]>> = {
  function: async (client, tenant) => (await client.functions(tenant)).map(({ name, runtime }) => ({ text: name, help: runtime })),
  tenant: async (client) => (await client.tenants()).map(({ name }) => ({ text: name })),
  runtime: async (client) => (await client.runtimes()).map(({ name, version }) => ({ text: name, help: version })),
}

/** Nothing when the server does not answer at once, or not at all. */
async function fromServer(ask: (client: Client, tenant: string) => Promise<Candidate[]>, given: Record<string, string>): Promise<Candidate[]> {
  try {
    const client = createControlClient(findAccess({ api: given['api'], token: given['token'] }, process.env))
    const late = new Promise<Candidate[]>((resolve) => setTimeout(resolve, ASK_TIMEOUT_MS, []))
    return await Promise.race([ask(client, given['tenant'] ?? 'default'), late])
  } catch {
    // A shell has no place for errors.
    return []
  }
}
