/** `.hostelignore`: a plain subset of .gitignore, without negation. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

import { usageFailure } from './failure.ts'

export const IGNORE_FILE = '.hostelignore'

/** Whether a path below the function's directory (with `/` between names, no slash at its ends) is left out. */
export type Ignored = (path: string, isDirectory: boolean) => boolean

/** Left out always: history, npm's links to commands, what Python and editors leave behind, and what is for Hostel itself. */
const always = /(^|\/)(\.git|\.hostelignore|node_modules\/\.bin|__pycache__|\.DS_Store|[^/]*~|\.[^/]*\.sw[a-p])$|^hostel\.yaml$/

/** The rules of a function's directory. @throws CliFailure (usage) */
export function readIgnore(root: string): Ignored {
  try {
    return parseIgnore(readFileSync(join(root, IGNORE_FILE), 'utf8'))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return parseIgnore('')
    throw error
  }
}

/**
 * One pattern a line; `#` begins a comment. `*` and `?` stay within a name, `**` crosses directories; a slash in front or in the
 * middle ties the pattern to the root; a slash at the end means directories only.
 * @throws CliFailure (usage) on a negated pattern
 */
export function parseIgnore(text: string): Ignored {
  const rules: { matcher: RegExp; directoriesOnly: boolean }[] = []
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    const pattern = line.trim()
    if (pattern === '' || pattern.startsWith('#')) continue
    if (pattern.startsWith('!'))
      throw usageFailure(`.hostelignore line ${index + 1}: "${pattern}" is not supported`, 'Name what to leave out; there is no "!" to take something back in.')
    const body = pattern.replace(/^\/|\/$/g, '')
    const tied = pattern.replace(/\/$/, '').includes('/')
    rules.push({ matcher: new RegExp(`^${tied ? '' : '(?:.*/)?'}${toRegExp(body)}$`), directoriesOnly: pattern.endsWith('/') })
  }
  return (path, isDirectory) => always.test(path) || rules.some((rule) => (isDirectory || !rule.directoriesOnly) && rule.matcher.test(path))
}

function toRegExp(pattern: string): string {
  return pattern.replace(/\*\*\/|\/\*\*$|\*\*|\*|\?|[.+^${}()|[\]\\]/g, (token) => {
    if (token === '**/') return '(?:.*/)?'
    if (token === '/**') return '/.*'
    if (token === '**') return '.*'
    if (token === '*') return '[^/]*'
    if (token === '?') return '[^/]'
    return `\\${token}`
  })
}
