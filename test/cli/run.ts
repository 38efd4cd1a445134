/** The command as a user has it: bin/hostel in a process of its own. */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

export const hostel = resolve(import.meta.dirname, '../../bin/hostel')

export interface Run {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stdoutBytes: Buffer
  stderr: string
}

export interface RunOptions {
  env?: Record<string, string>
  cwd?: string
  stdin?: string | Buffer
  /** Called with what the outputs hold so far; `kill` ends the command with a signal. */
  onOutput?: (stdout: string, kill: (signal: NodeJS.Signals) => void, stderr: string) => void
}

/** Runs `hostel ARGS` to its end, 30 s at most. The environment holds nothing that leads to a server but what is given. */
export function run(args: string[], options: RunOptions = {}): Promise<Run> {
  const child = spawn(hostel, args, {
    cwd: options.cwd,
    env: { PATH: process.env['PATH'], HOME: '/nonexistent', HOSTEL_DATA: '/nonexistent', ...options.env },
    timeout: 30_000,
  })
  const stdout: Buffer[] = []
  const stderr: Buffer[] = []
  const heard = (): void => options.onOutput?.(Buffer.concat(stdout).toString(), (signal) => child.kill(signal), Buffer.concat(stderr).toString())
  child.stdout.on('data', (chunk: Buffer) => {
    stdout.push(chunk)
    heard()
  })
  child.stderr.on('data', (chunk: Buffer) => {
    stderr.push(chunk)
    heard()
  })
  // The command may end without reading what it is given.
  child.stdin.on('error', () => {})
  child.stdin.end(options.stdin ?? '')
  return new Promise((done, fail) => {
    child.once('error', fail)
    child.once('close', (code, signal) => {
      const stdoutBytes = Buffer.concat(stdout)
      done({ code, signal, stdout: stdoutBytes.toString(), stdoutBytes, stderr: Buffer.concat(stderr).toString() })
    })
  })
}

/** A directory that is gone at the end of the scope. */
export function temporaryDirectory(): { path: string; [Symbol.dispose]: () => void } {
  const path = mkdtempSync(join(tmpdir(), 'hostel-cli-'))
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) }
}
