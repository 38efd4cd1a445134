// @ts-check
/** One set-up at a time on a machine. The kernel lets go of the lock when its holder ends, however it ends. */
import { spawn } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'

/** Longer than a first set-up on a slow line. */
const WAIT_SECONDS = 900

/**
 * @param {string} path
 * @param {() => void} onWait  Called when another set-up holds the lock.
 * @returns {Promise<() => void>} lets go of the lock
 */
export async function acquireLock(path, onWait) {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 })
  // flock holds the lock as long as cat runs, and cat runs until our end of its standard input closes.
  const holder = spawn('flock', ['--exclusive', '--wait', String(WAIT_SECONDS), path, 'sh', '-c', 'echo locked; exec cat >/dev/null'], {
    stdio: ['pipe', 'pipe', 'ignore'],
    detached: true,
  })
  const waiting = setTimeout(onWait, 500)
  try {
    await new Promise((resolve, reject) => {
      holder.once('error', (error) => reject(new Error(`flock could not be started: ${error.message}`, { cause: error })))
      holder.once('exit', () => reject(new Error(`another set-up has held ${path} for more than ${WAIT_SECONDS} s`)))
      holder.stdout.once('data', resolve)
    })
  } finally {
    clearTimeout(waiting)
  }
  holder.removeAllListeners('exit')
  return () => holder.stdin.end()
}
