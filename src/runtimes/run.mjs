// @ts-check
/** Runs a program to its end, for set-up. */
import { spawn } from 'node:child_process'

/** Enough of a failing program's last words to see why. */
const TAIL_CHARS = 20_000

/** Characters of the command in an error. */
const SHOWN_CHARS = 120

/**
 * Standard output of a program that ended well. Its standard input is empty, its locale C, so that messages can be recognised.
 * @param {string} program
 * @param {string[]} args
 * @param {{ timeoutMs: number, env?: Record<string, string>, cwd?: string }} options
 * @returns {Promise<string>}
 * @throws {Error} with the program's last lines when it fails or takes too long
 */
export function run(program, args, { timeoutMs, env, cwd }) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd,
      env: { ...process.env, LC_ALL: 'C.UTF-8', DEBIAN_FRONTEND: 'noninteractive', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    let out = ''
    let tail = ''
    let late = false
    child.stdout.setEncoding('utf8').on('data', (text) => {
      out += text
      tail = (tail + text).slice(-TAIL_CHARS)
    })
    child.stderr.setEncoding('utf8').on('data', (text) => {
      tail = (tail + text).slice(-TAIL_CHARS)
    })
    // A group of its own, so that the end reaches what the program started.
    const endGroup = () => {
      try {
        if (child.pid) process.kill(-child.pid, 'SIGKILL')
      } catch {
        // It has just ended by itself.
      }
    }
    const timer = setTimeout(() => {
      late = true
      endGroup()
    }, timeoutMs)
    process.once('exit', endGroup)
    const done = () => {
      clearTimeout(timer)
      process.removeListener('exit', endGroup)
    }
    child.once('error', (error) => {
      done()
      reject(new Error(`${program} could not be started: ${error.message}`, { cause: error }))
    })
    child.once('close', (code, signal) => {
      done()
      if (code === 0) return resolve(out)
      const words = [program, ...args].join(' ')
      const shown = words.length > SHOWN_CHARS ? `${words.slice(0, SHOWN_CHARS)}…` : words
      const what = late ? `took more than ${timeoutMs / 1_000} s` : signal ? `was ended by ${signal}` : `ended with code ${code}`
      reject(new Error(`${shown} ${what}${tail ? `:\n${tail.trimEnd()}` : ''}`))
    })
  })
}
