/** What all commands share: how they are made, their common options, and how help and errors look. */
import { Command, Option } from '@commander-js/extra-typings'

import { asCalled } from './called.ts'

/** A command whose errors are thrown, so that main.ts alone decides on output and exit code. */
export function newCommand(name: string): Command {
  return new Command(name)
    .exitOverride()
    .configureOutput({ writeOut: (text) => process.stdout.write(asCalled(text)), writeErr: () => {} })
    .helpOption('-h, --help', 'show this help')
    .helpCommand(false)
}

export const jsonOption = () => new Option('--json', 'print one JSON document instead of text')
export const apiOption = () => new Option('--api <url>', 'control API (default: $HOSTEL_API, else the server on this machine)')
export const tokenOption = () => new Option('--token <token>', 'token for it (default: $HOSTEL_TOKEN, else as above)')
export const tenantOption = () => new Option('--tenant <tenant>', 'tenant that owns the function').default('default' as const).env('HOSTEL_TENANT')

/** The examples at the end of a command's help; the first word `hostel` is ours to add. */
export function examples(...lines: string[]): string {
  return `\n${lines.length === 1 ? 'Example' : 'Examples'}:\n${lines.map((line) => `  $ hostel ${line}`).join('\n')}`
}

/** For options that may be repeated. */
export function collect(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value]
}
