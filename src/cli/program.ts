/** The table of commands. Each one's file is loaded only when it is the one asked for, so that starting stays cheap. */
import type { CommandUnknownOpts } from '@commander-js/extra-typings'

import { examples, newCommand } from './command.ts'

interface CommandEntry {
  summary: string
  load: () => Promise<{ command: () => CommandUnknownOpts }>
}

/** By headings, in the order of a newcomer's day. */
const commandGroups: Record<string, Record<string, CommandEntry>> = {
  Functions: {
    init: { summary: 'write a small function to start from', load: () => import('./commands/init.ts') },
    deploy: { summary: 'make code the live version of a function', load: () => import('./commands/deploy.ts') },
    dev: { summary: 'deploy on every save, and show logs and errors', load: () => import('./commands/dev.ts') },
    invoke: { summary: 'call a function', load: () => import('./commands/invoke.ts') },
    ls: { summary: 'list functions', load: () => import('./commands/ls.ts') },
    describe: { summary: 'show a function, its versions and URLs', load: () => import('./commands/describe.ts') },
    versions: { summary: 'see the versions of a function', load: () => import('./commands/versions.ts') },
    rollback: { summary: 'make an earlier version live again', load: () => import('./commands/rollback.ts') },
    rm: { summary: 'remove a function with all its versions', load: () => import('./commands/rm.ts') },
    secrets: { summary: 'keep what functions need and nobody else may see', load: () => import('./commands/secrets.ts') },
  },
  'What happens': {
    logs: { summary: 'show what a function wrote', load: () => import('./commands/logs.ts') },
    invocations: { summary: 'list and explain invocations', load: () => import('./commands/invocations.ts') },
    top: { summary: 'see how busy functions are', load: () => import('./commands/top.ts') },
    sandboxes: { summary: 'see the sandboxes', load: () => import('./commands/sandboxes.ts') },
    egress: { summary: 'show where a function went, or tried to go', load: () => import('./commands/egress.ts') },
  },
  'The server': {
    server: { summary: 'run the server', load: () => import('./commands/server.ts') },
    doctor: { summary: 'check what this machine can do, and how to mend the rest', load: () => import('./commands/doctor.ts') },
    runtimes: { summary: 'see the runtimes', load: () => import('./commands/runtimes.ts') },
    tenants: { summary: 'see and change tenants and their quotas', load: () => import('./commands/tenants.ts') },
    token: { summary: 'let people and programs in', load: () => import('./commands/token.ts') },
    audit: { summary: 'see what was changed, and by whom', load: () => import('./commands/audit.ts') },
    backup: { summary: 'write all that a server keeps into one file', load: () => import('./commands/backup.ts') },
    restore: { summary: 'make a data directory out of such a file', load: () => import('./commands/restore.ts') },
  },
  'This command': {
    completion: { summary: 'print a script that teaches a shell to complete', load: () => import('./commands/completion.ts') },
  },
}

export const commandTable: Record<string, CommandEntry> = Object.assign({}, ...Object.values(commandGroups))

/** The program for these arguments: the command that they name is complete, the others are there for help and suggestions. */
export async function createProgram(args: string[]): Promise<CommandUnknownOpts> {
  const program = newCommand('hostel')
    .description("Runs strangers' functions on your own hardware: sandboxed, in milliseconds, explained.")
    .usage('COMMAND [options]')
    .version((await import('./version.ts')).version, '-V, --version', 'show the version')
    .addHelpText(
      'after',
      `${examples('init my-function', 'deploy my-function', 'invoke my-function')}\n\n\`hostel COMMAND --help\` tells more about a command.`,
    )
  const wanted = args.find((arg) => !arg.startsWith('-'))
  for (const [heading, entries] of Object.entries(commandGroups)) {
    for (const [name, entry] of Object.entries(entries)) {
      const command = name === wanted ? (await entry.load()).command() : newCommand(name).helpOption(false)
      program.addCommand(command.summary(entry.summary).helpGroup(`${heading}:`))
    }
  }
  return program
}
