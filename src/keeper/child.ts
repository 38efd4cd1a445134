/** One unprivileged child of the keeper: spawned confined, spoken to over IPC, spawned again when it dies. */
import type { ChildProcess } from 'node:child_process'

import type { Reaper } from '../engines/embedded/reaper.native.ts'
import type { Logger } from '../telemetry/logger.ts'
import { channelEnvironment, openChannel } from './channel.native.ts'
import { type Confinement, confinedCommand } from './confine.ts'
import type { FromKeeper } from './messages.ts'

const RESPAWN_FIRST_MS = 50
const RESPAWN_MAX_MS = 5_000
/** Who lived this long is respawned without delay again. */
const STEADY_AFTER_MS = 10_000
/** Where a child finds its channel. */
const CHANNEL_FD = 3

/** A running child. A dead one takes messages in silence. */
export interface Child {
  send(message: FromKeeper): void
  /** Hands over a descriptor; it is the child's from now on, and closed here whatever happens. */
  sendDescriptor(message: FromKeeper, fd: number): void
  /** The same for a listening socket. */
  sendListener(message: FromKeeper, fd: number): void
  /** It broke a rule: it is ended, and another follows. */
  breaks(rule: string): void
}

export interface ChildOptions {
  name: 'gateway' | 'control'
  reaper: Reaper
  log: Logger
  confinement: Confinement
  /** Its program, relative to the application. */
  entry: string
  /** Inherited as fd 4. */
  listenFd: number
  /** Inherited from fd 5 up. */
  moreFds?: (number | 'ignore')[]
  /** Right after each spawn, before anything it says arrives. */
  onUp: (child: Child) => void
  onMessage: (message: unknown, child: Child) => void
  /** It has ended, and another follows. */
  onDown: (fact: { code: number | null; signal: NodeJS.Signals | null; failuresInARow: number }) => void
}

export interface Supervised {
  current(): Child | undefined
  /** Sends `stop`, waits, kills. Resolves when it has ended; it is not spawned again. */
  stop(withinMs: number): Promise<void>
  /** SIGKILL, for a stop that shall not wait. */
  kill(): void
}

export function superviseChild(options: ChildOptions): Supervised {
  const { log, name } = options
  let running: { child: Child; process: ChildProcess; ended: Promise<void> } | undefined
  let stopping = false
  let failuresInARow = 0
  let respawn: NodeJS.Timeout | undefined

  const start = (): void => {
    const startedAtMs = performance.now()
    const { command, args, env } = confinedCommand(options.confinement, `hostel ${name}`, options.entry)
    // A session of its own: a Ctrl-C meant for the keeper shall not reach it.
    const channel = openChannel({
      onMessage: (message) => options.onMessage(message, child),
      onFault: (rule) => child.breaks(rule),
    })
    const spawned = options.reaper.spawn(command, args, {
      stdio: ['ignore', 'inherit', 'inherit', channel.childFd, options.listenFd, ...(options.moreFds ?? [])],
      env: { ...env, ...channelEnvironment(CHANNEL_FD) },
      cwd: '/',
      detached: true,
    })
    channel.spawned()
    const child: Child = {
      send: (message) => channel.send(message),
      sendDescriptor: (message, fd) => channel.send(message, fd, 'net.Socket'),
      sendListener: (message, fd) => channel.send(message, fd, 'net.Server'),
      breaks(rule) {
        // Nothing more is heard of it, however much it has written.
        channel.close()
        log.error({ child: name, rule }, 'a child broke the rules of its channel')
        spawned.kill('SIGKILL')
      },
    }
    const ended = new Promise<void>((resolve) => {
      spawned.once('error', (error) => log.error({ err: error, child: name }, 'a child could not be spawned'))
      // 'close' would wait for grandchildren; 'exit' does not come when the spawn itself fails.
      spawned.once(spawned.pid === undefined ? 'error' : 'exit', (code: unknown, signal: NodeJS.Signals | null = null) => {
        running = undefined
        channel.close()
        resolve()
        if (stopping) return
        failuresInARow = performance.now() - startedAtMs > STEADY_AFTER_MS ? 0 : failuresInARow + 1
        const exitCode = typeof code === 'number' ? code : null
        log.error({ child: name, code: exitCode, signal, failuresInARow }, 'a child ended')
        options.onDown({ code: exitCode, signal, failuresInARow })
        respawn = setTimeout(start, failuresInARow <= 1 ? RESPAWN_FIRST_MS : Math.min(RESPAWN_FIRST_MS * 2 ** failuresInARow, RESPAWN_MAX_MS))
      })
    })
    running = { child, process: spawned, ended }
    options.onUp(child)
  }
  start()

  return {
    current: () => running?.child,
    async stop(withinMs) {
      stopping = true
      clearTimeout(respawn)
      if (!running) return
      const { child, process, ended } = running
      child.send({ type: 'stop', withinMs })
      const timer = setTimeout(() => process.kill('SIGKILL'), withinMs)
      await ended
      clearTimeout(timer)
    },
    kill() {
      stopping = true
      clearTimeout(respawn)
      running?.process.kill('SIGKILL')
    },
  }
}
