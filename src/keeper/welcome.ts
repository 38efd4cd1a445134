/** The first words of a server, said by a confined process with nothing but the administrator's token: it deploys and calls examples. */
import { once } from 'node:events'

import type { Reaper } from '../engines/embedded/reaper.native.ts'
import type { Logger } from '../telemetry/logger.ts'
import { WELCOME_UID, confinedCommand } from './confine.ts'
import type { DataDirectory } from './data-directory.ts'

const WELCOME_TIMEOUT_MS = 120_000

export interface WelcomeOptions {
  reaper: Reaper
  log: Logger
  data: DataDirectory
  appDir: string
  rootDir: string
  /** Whether a new data directory gets the examples. */
  examples: boolean
  /** URLs. */
  api: string
  gateway: string
}

/** Resolves when it has ended, well or not: the server serves either way. */
export async function showAround(options: WelcomeOptions): Promise<void> {
  const { data, log } = options
  const examples = options.examples && data.isNew()
  const env = { HOSTEL_API: options.api, HOSTEL_GATEWAY: options.gateway, HOSTEL_TOKEN: data.adminToken, HOSTEL_WELCOME: examples ? 'examples' : 'plain' }
  const {
    command,
    args,
    env: confinedEnv,
  } = confinedCommand({ uid: WELCOME_UID, appDir: options.appDir, rootDir: options.rootDir, dataDir: undefined, env }, 'hostel welcome', 'src/cli/welcome.ts')
  const child = options.reaper.spawn(command, args, { stdio: ['ignore', 'inherit', 'inherit'], env: confinedEnv, cwd: '/', detached: true })
  const timer = setTimeout(() => child.kill('SIGKILL'), WELCOME_TIMEOUT_MS)
  try {
    const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
    if (code === 0 && examples) data.markShown()
    else if (code !== 0) log.warn({ code, signal }, 'the welcome did not come to its end')
  } catch (error) {
    log.warn({ err: error }, 'the welcome could not be started')
  } finally {
    clearTimeout(timer)
  }
}
