import { readFileSync } from 'node:fs'

import { apiOption, examples, jsonOption, newCommand, tenantOption, tokenOption } from '../command.ts'
import { canAsk, confirm } from '../confirm.ts'
import { connect } from '../connect.ts'
import { CliFailure, usageFailure } from '../failure.ts'
import { formatAge, note, print, printJson, table } from '../output.ts'

/** More than any value may have: the server says what it may. */
const INPUT_MAX_BYTES = 1024 * 1024

const set = () =>
  newCommand('set')
    .summary('set a secret, new or in place of its value before')
    .description(
      'Set a secret. The value comes from a file as it is, or from standard input without the line break at its end; on a terminal it is asked for and not shown. ' +
        'It is never taken from the command line, which every process of the machine and the history of the shell can see. ' +
        'Functions that name the secret get the new value with their next call.',
    )
    .argument('<name>', 'letters, digits and _, such as DATABASE_URL')
    .argument('[value]', 'refused: see above')
    .option('--from-file <file>', 'take the value from this file')
    .addOption(tenantOption())
    .addOption(apiOption())
    .addOption(tokenOption())
    .addOption(jsonOption())
    .addHelpText('after', examples('secrets set DATABASE_URL', 'secrets set DATABASE_URL < url.txt', 'secrets set TLS_KEY --from-file key.pem'))
    .action(async (name, value, options) => {
      if (value !== undefined)
        throw usageFailure(
          'the value of a secret is not taken from the command line, where others can see it',
          `Pipe it in, or name a file with --from-file. This one should be taken for known: it may be in your shell's history.`,
        )
      const text = options.fromFile === undefined ? await readInput(name) : readFile(options.fromFile)
      const secret = await connect(options).client.setSecret(options.tenant, name, text)
      if (options.json) return printJson(secret)
      const { length } = secret.usedBy
      print(`Set ${name}.${length === 0 ? ' No function uses it yet: deploy one with --secret.' : ` ${used(secret.usedBy)} the new value with the next call.`}`)
    })

const ls = () =>
  newCommand('ls')
    .summary('list secrets by name; values are not shown to anybody')
    .description('List the secrets of a tenant: name, when it was last set, and the functions whose aliases use it. Values are not shown to anybody.')
    .addOption(tenantOption())
    .addOption(apiOption())
    .addOption(tokenOption())
    .addOption(jsonOption())
    .addHelpText('after', examples('secrets ls'))
    .action(async (options) => {
      const secrets = await connect(options).client.secrets(options.tenant)
      if (options.json) return printJson({ secrets })
      if (secrets.length === 0) return note('There are no secrets. `hostel secrets set NAME` sets one.')
      const columns = [{ title: 'NAME' }, { title: 'SET' }, { title: 'USED BY' }]
      const rows = secrets.map(({ name, updatedAtMs, usedBy, readable }) => [
        name,
        readable ? formatAge(updatedAtMs) : 'its key is lost: set it anew',
        usedBy.length === 0 ? '-' : usedBy.join(', '),
      ])
      print(table(columns, rows))
    })

const rm = () =>
  newCommand('rm')
    .summary('remove a secret')
    .description('Remove a secret. One that a function uses is removed only with --force; the function goes on without that variable then.')
    .argument('<name>', 'the secret')
    .option('--force', 'remove it although functions use it')
    .option('-y, --yes', 'do not ask')
    .addOption(tenantOption())
    .addOption(apiOption())
    .addOption(tokenOption())
    .addOption(jsonOption())
    .addHelpText('after', examples('secrets rm DATABASE_URL', 'secrets rm DATABASE_URL --yes'))
    .action(async (name, options) => {
      const { client } = connect(options)
      if (!options.yes) {
        if (!canAsk()) throw usageFailure(`secrets rm removes "${name}" for good, and there is no terminal to ask on`, 'Add --yes.')
        if (!(await confirm(`Remove secret "${name}" of tenant "${options.tenant}"?`, 'no')))
          throw new CliFailure('failure', `"${name}" was not removed`, { why: 'the answer was not yes' })
      }
      const { usedBy } = await client.removeSecret(options.tenant, name, { force: options.force === true })
      if (options.json) return printJson({ removed: { tenant: options.tenant, name }, usedBy })
      print(`Removed ${name}.`)
      if (usedBy.length > 0) note(`Without it go on: ${usedBy.join(', ')}.`)
    })

const rotateKey = () =>
  newCommand('rotate-key')
    .summary('seal all secrets with a new key')
    .description('Make a new key, seal the secrets of all tenants with it in one step, and remove the old key. Values and sandboxes stay as they are.')
    .addOption(apiOption())
    .addOption(tokenOption())
    .addOption(jsonOption())
    .addHelpText('after', examples('secrets rotate-key'))
    .action(async (options) => {
      const count = await connect(options).client.rotateSecretsKey()
      if (options.json) return printJson({ secrets: count })
      print(`Sealed ${count} secret${count === 1 ? '' : 's'} with a new key; the old key is gone.`)
    })

export const command = () =>
  newCommand('secrets')
    .description('Keep passwords, keys and tokens for functions: encrypted at rest, given to the functions that name them, shown to nobody.')
    .addCommand(set())
    .addCommand(ls())
    .addCommand(rm())
    .addCommand(rotateKey())

function used(names: string[]): string {
  return `${names.length <= 3 ? names.join(', ') : `${names.length} functions`} get${names.length === 1 ? 's' : ''}`
}

function readFile(file: string): string {
  return decode(readFileSync(file), file)
}

async function readInput(name: string): Promise<string> {
  if (process.stdin.isTTY) return ask(`Value of ${name}: `)
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    chunks.push(chunk)
    if ((bytes += chunk.length) > INPUT_MAX_BYTES) throw usageFailure('standard input is longer than any secret may be')
  }
  return decode(Buffer.concat(chunks), 'standard input').replace(/\r?\n$/, '')
}

function decode(bytes: Buffer, from: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw usageFailure(`${from} is not UTF-8 text, which environment variables are`, 'Encode it, for example with base64, and let the function decode it.')
  }
}

/** Reads a line from the terminal that is not shown. */
async function ask(question: string): Promise<string> {
  const { createInterface } = await import('node:readline')
  const { Writable } = await import('node:stream')
  process.stderr.write(question)
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() })
  const prompt = createInterface({ input: process.stdin, output: nowhere, terminal: true })
  try {
    return await new Promise((resolve, reject) => {
      prompt.once('SIGINT', () => reject(new CliFailure('interrupted', 'nothing was changed')))
      prompt.once('close', () => reject(new CliFailure('interrupted', 'nothing was changed')))
      prompt.question('', resolve)
    })
  } finally {
    prompt.close()
    process.stderr.write('\n')
  }
}
