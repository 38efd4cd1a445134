/** The programs that Hostel starts. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

import type { Check } from './check.ts'

const VERSION_TIMEOUT_MS = 5_000

const needed = [
  { program: 'crun', gives: 'starts sandboxes' },
  { program: 'tini', gives: 'passes signals on to the server and reaps its orphans' },
  { program: 'setpriv', gives: 'takes privileges away' },
  { program: 'unshare', gives: 'makes namespaces' },
]

export async function checkPrograms(): Promise<Check[]> {
  return Promise.all(
    needed.map(async ({ program, gives }): Promise<Check> => {
      const version = await programVersion(program)
      if (version !== null) return { name: program, ok: true, detail: version }
      return { name: program, ok: false, detail: `is missing; it ${gives}`, mend: 'npm run setup' }
    }),
  )
}

/** The version that a program tells of itself; null when it can't be run. */
export async function programVersion(program: string, args: string[] = ['--version']): Promise<string | null> {
  try {
    const { stdout, stderr } = await promisify(execFile)(program, args, { timeout: VERSION_TIMEOUT_MS })
    return versionIn(stdout || stderr)
  } catch {
    return null
  }
}

/** First thing in the text that looks like a version, else its first line. */
export function versionIn(text: string): string {
  return /\d+\.\d+[\w.+~-]*/.exec(text)?.[0] ?? text.trim().split('\n')[0] ?? ''
}
