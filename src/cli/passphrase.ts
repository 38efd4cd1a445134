/** A passphrase comes from a file, never from the command line, which others can see. */
import { readFileSync } from 'node:fs'

import { limits } from '../limits.ts'
import { usageFailure } from './failure.ts'

/** The first line. @throws CliFailure (usage) when there is nothing in it, or too much. */
export function readPassphrase(file: string): string {
  const passphrase = readFileSync(file, 'utf8').split(/\r?\n/)[0]!
  if (passphrase === '' || passphrase.length > limits.passphraseMaxChars)
    throw usageFailure(`${file} takes a passphrase of 1 to ${limits.passphraseMaxChars} characters in its first line`)
  return passphrase
}
