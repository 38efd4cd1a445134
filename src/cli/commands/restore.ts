import { existsSync } from 'node:fs'
import { resolve } from 'node:path'

import { HostelError } from '../../errors.ts'
import { examples, jsonOption, newCommand } from '../command.ts'
import { CliFailure, usageFailure } from '../failure.ts'
import { formatTime, note, print, printJson } from '../output.ts'
import { readPassphrase } from '../passphrase.ts'

export const command = () =>
  newCommand('restore')
    .description(
      'Make a new data directory out of a backup, without a server: all of it is checked, and nothing stays when something is wrong. ' +
        'It needs root, as the server does. A server that is started on it answers as the one before; its own administrator token is a new one.',
    )
    .argument('<file>', 'a file that `hostel backup` wrote')
    .requiredOption('--data <dir>', 'the data directory to make; it may be there when it is empty')
    .option('--passphrase-file <file>', 'the passphrase is the first line of this file; needed when the backup was made with one')
    .addOption(jsonOption())
    .addHelpText('after', examples('restore hostel.backup --data /var/lib/hostel', 'server --data /var/lib/hostel'))
    .action(async (name, options) => {
      const file = resolve(name)
      if (!existsSync(file)) throw new CliFailure('notFound', `there is no file ${name}`)
      if (process.getuid?.() !== 0)
        throw new CliFailure('auth', "a restore needs root, since the data belongs to the server's own users", { fix: 'Run it with sudo.' })
      const dataDir = resolve(options.data)
      const passphrase = options.passphraseFile === undefined ? undefined : readPassphrase(options.passphraseFile)
      const { restoreBackup } = await import('../../backup/restore.ts')
      try {
        const header = await restoreBackup({ file, dataDir, ...(passphrase !== undefined && { passphrase }) })
        if (options.json) return printJson({ data: dataDir, ...header })
        print(`Restored ${dataDir} as it was at ${formatTime(header.createdAtMs)}.`)
        note(`Start it with: hostel server --data ${dataDir}`)
      } catch (error) {
        if (error instanceof HostelError) throw usageFailure(error.message)
        throw new CliFailure('failure', `nothing was restored: ${(error as Error).message}`, { cause: error })
      }
    })
