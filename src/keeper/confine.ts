/** How a child of ours is shut in: see `confine.sh`, which this only calls. */
import { join } from 'node:path'

/** Ids of our own processes; sandboxes' begin at 0x70000000. */
export const GATEWAY_UID = 0x6fff_0001
export const CONTROL_UID = 0x6fff_0002
export const WELCOME_UID = 0x6fff_0003

/** Where a confined process finds its part of the data directory; the application is beside it, in `app`. */
export const CONFINED_DATA = '/run/hostel/data'

export interface Confinement {
  uid: number
  /** The application, on the host. */
  appDir: string
  /** Its part of the data directory, on the host; none: it can write nowhere but to its /tmp. */
  dataDir: string | undefined
  /** An empty directory to build its root upon. */
  rootDir: string
  /** Further environment. */
  env?: Record<string, string>
}

/**
 * Made by scripts/compile.mjs: half of the time that they take to start. In the application, which they cannot write to;
 * portable, since they see it at another place than set-up did. Without it they start all the same.
 */
const COMPILE_CACHE = { NODE_COMPILE_CACHE: '/run/hostel/app/node_modules/.cache/hostel-server', NODE_COMPILE_CACHE_PORTABLE: '1' }

/** What of the operator's environment our processes get. */
const PASSED_ON = ['HOSTEL_LOG', 'TZ', 'LANG', 'NO_COLOR', 'FORCE_COLOR', 'TERM']

export function confinedCommand(confinement: Confinement, title: string, entry: string): { command: string; args: string[]; env: Record<string, string> } {
  const passedOn = Object.fromEntries(PASSED_ON.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])))
  return {
    command: 'unshare',
    args: [
      '--mount',
      '--propagation',
      'private',
      '/bin/sh',
      join(import.meta.dirname, 'confine.sh'),
      String(confinement.uid),
      confinement.rootDir,
      confinement.appDir,
      confinement.dataDir ?? '',
      `--title=${title}`,
      // Types are stripped by a call that Node calls experimental: no news to an operator.
      '--disable-warning=ExperimentalWarning',
      entry,
    ],
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/tmp', ...COMPILE_CACHE, ...passedOn, ...confinement.env },
  }
}
