/** Starting peers, waiting until they answer, and ending exactly them. */
import { type ChildProcess, spawn } from 'node:child_process'
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
