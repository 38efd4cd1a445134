import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { PassThrough } from 'node:stream'
import { once } from 'node:events'

import type { BackupHeader } from '../../backup/format.ts'
import type { ControlClient } from '../../client/control.ts'
import { apiOption, examples, jsonOption, newCommand, tokenOption } from '../command.ts'
import { connect } from '../connect.ts'
import { CliFailure, usageFailure } from '../failure.ts'
import { formatBytes, formatMs, note, print, printJson } from '../output.ts'
import { readPassphrase } from '../passphrase.ts'

export const command = () =>
  newCommand('backup')
    .description(
      'Write all that a running server keeps into one file: what is deployed, code, tenants, tokens, secrets, records and logs. The server goes on meanwhile. ' +
        'The file is checked while it is written, and is there only when it is whole. ' +
        'It holds the key that opens the secrets, unless a passphrase seals it: keep it as you would keep the secrets.',
    )
    .argument('<file>', 'a file that is not there yet, such as hostel.backup')
    .option('--no-logs', 'leave out invocation records and logs')
    .option('--passphrase-file <file>', 'seal the key of the secrets with the first line of this file; a restore needs it')
    .addOption(apiOption())
    .addOption(tokenOption())
    .addOption(jsonOption())
    .addHelpText('after', examples('backup hostel.backup', 'backup hostel.backup --no-logs --passphrase-file passphrase.txt'))
    .action(async (name, options) => {
      const file = resolve(name)
      if (existsSync(file)) throw usageFailure(`${name} is there already`, 'Give another name, or remove it.')
      const passphrase = options.passphraseFile === undefined ? undefined : readPassphrase(options.passphraseFile)
      const startedAt = performance.now()
      const { client } = connect(options)
      const { header, bytes } = await write(client, file, { logs: options.logs, ...(passphrase !== undefined && { passphrase }) })
      if (options.json) return printJson({ file, bytes, ...header })
      print(`Wrote ${file}: ${formatBytes(bytes)}, whole and checked, in ${formatMs(performance.now() - startedAt)}.`)
      note(
        header.keys === 'passphrase'
          ? 'Its secrets open with the passphrase only. The rest can be read by whoever has the file.'
          : 'It holds the key that opens its secrets: keep it as you would keep them.',
      )
    })

/** Writes beside the place, for the owner alone, and moves it there when all of it is good. */
async function write(client: ControlClient, file: string, options: { logs: boolean; passphrase?: string }): Promise<{ header: BackupHeader; bytes: number }> {
  const { nowhere, readBackup } = await import('../../backup/read.ts')
  const partial = `${file}.partial`
  const stream = await client.backup(options)
  const descriptor = openSync(partial, 'wx', 0o600)
  let bytes = 0
  try {
    const copy = new PassThrough()
    const checked = readBackup(copy, nowhere, Number.MAX_SAFE_INTEGER)
    checked.catch(() => stream.destroy())
    try {
      for await (const chunk of stream as AsyncIterable<Buffer>) {
        for (let at = 0; at < chunk.length;) at += writeSync(descriptor, chunk, at)
        bytes += chunk.length
        if (!copy.write(chunk)) await Promise.race([once(copy, 'drain'), checked])
      }
    } catch (error) {
      copy.end()
      await checked
      throw error
    }
    copy.end()
    const header = await checked
    fsyncSync(descriptor)
    renameSync(partial, file)
    const directory = openSync(dirname(file), 'r')
    fsyncSync(directory)
    closeSync(directory)
    return { header, bytes }
  } catch (error) {
    rmSync(partial, { force: true })
    throw new CliFailure('failure', `no backup was written: ${(error as Error).message}`, { cause: error, fix: "The server's log may tell more." })
  } finally {
    closeSync(descriptor)
  }
}
