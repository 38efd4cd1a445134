/** The last stop of every failure: what, why and how to fix it on standard error, and the exit code. */
import { CommanderError } from '@commander-js/extra-typings'

import { ApiError, ConnectionError, NoAccess } from '../client/errors.ts'
import { HostelError } from '../errors.ts'
import { apiFailure, connectionFailure, noAccessFailure } from './api-failure.ts'
import { CliFailure, exitCodes, usageFailure } from './failure.ts'
import { asCalled } from './called.ts'
import { commandTable } from './program.ts'
import { harmless, note, styledError } from './output.ts'

/** Prints the failure and returns the exit code. */
export function reportFailure(error: unknown, args: string[]): number {
  if (error instanceof CommanderError && error.exitCode === 0) return 0
  const failure = failureOf(error, args)
  const { code } = exitCodes[failure.kind]
  if (args.includes('--json')) {
    note(JSON.stringify({ error: { code: failure.code, message: failure.message, why: failure.why, fix: failure.fix }, exitCode: code }))
    return code
  }
  printFailure(failure)
  if (process.env['HOSTEL_DEBUG'] && error instanceof Error) note(error.stack ?? '')
  return code
}

/** What, why and how to fix it, on standard error. */
export function printFailure(failure: CliFailure): void {
  note(`${styledError(['red', 'bold'], 'error:')} ${lines(failure.message)}`)
  if (failure.why) note(`  ${styledError('dim', 'why:')} ${lines(failure.why)}`)
  if (failure.fix) note(`  ${styledError('dim', 'fix:')} ${lines(failure.fix)}`)
}

/** Several lines stay several lines, under one another. */
function lines(text: string): string {
  return asCalled(text).split('\n').map(harmless).join('\n       ')
}

/** Any error as a failure; `args` help to word those of the command line. */
export function failureOf(error: unknown, args: string[] = []): CliFailure {
  const failure = failureFrom(error, args)
  if (failure.kind !== 'usage' || failure.fix) return failure
  return usageFailure(failure.message, `\`hostel ${commandWords(args)}--help\` tells what fits.`)
}

/** The command's name in the arguments, with a space behind it. */
function commandWords(args: string[]): string {
  const word = args.find((arg) => !arg.startsWith('-'))
  return word === undefined ? '' : `${word} `
}

function failureFrom(error: unknown, args: string[]): CliFailure {
  if (error instanceof CliFailure) return error
  if (error instanceof CommanderError) {
    const words = commandWords(args)
    // Commander puts its suggestion on a second line, and prints a whole help for a group without a command.
    const [what = '', suggestion] =
      error.code === 'commander.help' ? [`\`hostel ${words.trim()}\` needs a command`] : error.message.replace(/^error: /, '').split('\n')
    const known = words.trim() in commandTable ? words : ''
    const help = `hostel ${known}--help`
    return usageFailure(what, `${suggestion ? `${suggestion.replace(/^\(|\)$/g, '')} ` : ''}\`${help}\` shows what there is.`)
  }
  if (error instanceof ApiError) return apiFailure(error)
  if (error instanceof ConnectionError) return connectionFailure(error)
  if (error instanceof NoAccess) return noAccessFailure(error)
  if (error instanceof HostelError) return usageFailure(error.message)
  if (isSystemError(error)) return fromSystemError(error)
  return new CliFailure('failure', error instanceof Error ? error.message : String(error), {
    why: 'this is a mistake of the CLI',
    fix: 'Please report it, with the output of the same command under HOSTEL_DEBUG=1.',
    cause: error,
  })
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && typeof (error as NodeJS.ErrnoException).syscall === 'string'
}

function fromSystemError(error: NodeJS.ErrnoException): CliFailure {
  const target = error.path ?? 'the file'
  const reasons: Record<string, { kind: 'notFound' | 'failure'; what: string; fix: string }> = {
    ENOENT: { kind: 'notFound', what: `${target} is not there`, fix: 'Check the path.' },
    ENOTDIR: { kind: 'notFound', what: `${target} is not a directory`, fix: 'Check the path.' },
    EISDIR: { kind: 'failure', what: `${target} is a directory`, fix: 'Name a file.' },
    EACCES: { kind: 'failure', what: `${target} may not be read or written`, fix: 'Check its owner and permissions, or use another user.' },
    EPERM: { kind: 'failure', what: `${target} may not be changed`, fix: 'Check its owner and permissions, or use another user.' },
    ENOSPC: { kind: 'failure', what: `there is no space left for ${target}`, fix: 'Make room on that file system.' },
  }
  const reason = reasons[error.code ?? '']
  if (reason) return new CliFailure(reason.kind, reason.what, { why: error.message, fix: reason.fix, cause: error })
  return new CliFailure('failure', error.message, { cause: error })
}
