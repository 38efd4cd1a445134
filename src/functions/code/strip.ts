/** Types are stripped once, when code comes in: Node's own stripper would cost every fresh sandbox 100 ms and 12 MiB. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { stripTypes } from '../../../guest/node/types.mjs'
import type { TreeEntry } from './digest.ts'

/** Longer files are left to Node in the sandbox: nobody writes them by hand, and the stripper takes many times their size in memory. */
const SOURCE_MAX_BYTES = 2 * 1024 * 1024

const TYPESCRIPT = /\.[cm]?ts$/
const DECLARATIONS = /\.d\.[cm]?ts$/

/**
 * Strips the types of all TypeScript outside node_modules, in place. The entries keep the digests of what was uploaded, since they are
 * the code's identity; a file that can't be stripped stays as it is, for Node to say why when the function starts.
 * @returns false when the stripper strips no more, after something it was given: the next code needs a fresh one.
 */
export function stripTypesOf(directory: string, entries: readonly TreeEntry[]): boolean {
  for (const entry of entries) {
    if (entry.kind !== 'file' || entry.bytes > SOURCE_MAX_BYTES || !TYPESCRIPT.test(entry.path) || DECLARATIONS.test(entry.path)) continue
    if (entry.path.split('/').includes('node_modules')) continue
    const file = join(directory, entry.path)
    const stripped = stripTypes(readFileSync(file, 'utf8'))
    if (stripped !== null) writeFileSync(file, stripped)
    else if (stripTypes('let a: 1') === null) return false
  }
  return true
}
