/** Starting peers, waiting until they answer, reading what they cost, and ending exactly them. */
import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'

import { Http1Client } from './http1.ts'

export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** Polls a server until it answers a GET. @throws after the deadline. */
export async function untilAnswering(port: number, path: string, host: string, withinMs: number): Promise<void> {
  const deadline = performance.now() + withinMs
  for (;;) {
    try {
      const client = await Http1Client.open('127.0.0.1', port)
      await client.get(path, host)
      client.close()
      return
    } catch (error) {
      if (performance.now() > deadline) throw new Error(`nothing answered on port ${port} within ${withinMs} ms`, { cause: error })
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
  }
}

export async function stop(child: ChildProcess, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  child.kill(signal)
  const timer = setTimeout(() => child.kill('SIGKILL'), 8_000)
  await gone
  clearTimeout(timer)
}

/** Runs a program to its end. @throws with its standard error when it fails. */
export async function run(command: string, args: string[], options: { timeoutMs: number }): Promise<string> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: options.timeoutMs })
  let out = ''
  let err = ''
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  if (code !== 0) throw new Error(`${command} ended with ${code}: ${err.slice(-2_000)}`)
  return out
}

/** All living descendants of a process, itself included. */
export function tree(rootPid: number): number[] {
  const children = new Map<number, number[]>()
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    const parent = parentOf(Number(entry))
    if (parent !== undefined) children.set(parent, [...(children.get(parent) ?? []), Number(entry)])
  }
  const found: number[] = []
  const visit = (pid: number): void => {
    found.push(pid)
    for (const child of children.get(pid) ?? []) visit(child)
  }
  visit(rootPid)
  return found
}

/** CPU time (user and system) of processes, in milliseconds, with the kernel's 10 ms ticks; see proc(5). */
export function cpuMs(pids: number[]): number {
  let ticks = 0
  for (const pid of pids) {
    const fields = statOf(pid)
    if (fields) ticks += Number(fields[11]) + Number(fields[12])
  }
  return ticks * 10
}

function parentOf(pid: number): number | undefined {
  const fields = statOf(pid)
  return fields ? Number(fields[1]) : undefined
}

/** Fields of /proc/PID/stat after the command name: state, ppid, … */
function statOf(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')
  } catch {
    return undefined
  }
}
