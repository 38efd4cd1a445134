/**
 * `hostel server`: checks what only the outside can check and becomes the chain of processes at whose end the keeper runs
 * (docs/architecture.md). Each link ends with the one before it, so killing any of them ends everything.
 */
import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'

import { HostelError } from './errors.ts'
import { parseSettings } from './settings.ts'

/** Programs on PATH, and the Debian package of each. */
const PROGRAMS = { tini: 'tini', setpriv: 'util-linux', unshare: 'util-linux', mount: 'mount', pivot_root: 'util-linux', crun: 'crun' }

/** Compiled modules of the keeper, for root alone: loading them takes a third of the time. */
const COMPILE_CACHE = '/var/cache/hostel/compile'

/** /sbin is not on every user's PATH. */
const PATH = `${process.env['PATH'] ?? ''}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin`

function findProgram(name: string): string | undefined {
  return PATH.split(':')
    .filter(Boolean)
    .map((dir) => join(dir, name))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK)
        return true
      } catch {
        return false
      }
    })
}

/** @throws HostelError with what to do. */
function main(): never {
  const args = process.argv.slice(2)
  parseSettings(args, process.env)
  if (process.platform !== 'linux') throw new HostelError('not_supported', `the server runs on Linux only, this is ${process.platform}`)
  if (process.getuid?.() !== 0) throw new HostelError('forbidden', 'the server needs root to make sandboxes; start it with sudo, or as root')
  const missing = Object.entries(PROGRAMS).filter(([name]) => findProgram(name) === undefined)
  if (missing.length > 0) {
    const packages = [...new Set(missing.map(([, name]) => name))]
    throw new HostelError(
      'unavailable',
      `not installed: ${missing.map(([name]) => name).join(', ')}; install with apt-get install ${packages.join(' ')}, or run npm run setup`,
    )
  }
  return process.execve!(
    '/bin/sh',
    [
      'sh',
      '-c',
      // Nobody between the operator and the keeper may die of the signal that makes it read certificates again.
      'trap \'\' HUP; exec "$@"',
      'sh',
      findProgram('tini')!,
      '-s',
      '-g',
      '--',
      'setpriv',
      '--pdeathsig',
      'KILL',
      'unshare',
      '--mount',
      '--pid',
      '--fork',
      '--kill-child',
      '--mount-proc',
      '--propagation',
      'private',
      process.execPath,
      join(import.meta.dirname, 'keeper/main.ts'),
      ...args,
    ],
    { ...process.env, PATH, NODE_COMPILE_CACHE: COMPILE_CACHE },
  )
}

try {
  main()
} catch (error) {
  process.stderr.write(`hostel: ${error instanceof HostelError ? error.message : (error as Error).stack}\n`)
  process.exit(error instanceof HostelError && error.code === 'invalid_input' ? 2 : 1)
}
