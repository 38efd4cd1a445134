/** A real server for tests and benchmarks: own data directory, free ports, ended exactly. */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export const projectRoot = join(import.meta.dirname, '..', '..')

export interface TestServer {
  dataDir: string
  /** URLs without a trailing slash. */
  api: string
  gateway: string
  gatewayPort: number
  token: string
  /** The outermost process, as a service manager would know it. */
  child: ChildProcess
  /** What the server wrote so far, both streams. */
  output(): string
  /** SIGTERM, and wait for the end. Returns the exit code and how long it took. */
  stop(): Promise<{ code: number | null; ms: number }>
  /** `kill -9` to the outermost process, and wait for its end. */
  kill(): Promise<void>
}

export interface StartOptions {
  /** Further flags of `hostel server`. */
  args?: string[]
  /** Use this data directory; without one a fresh one is made, for `remove` to take away. */
  dataDir?: string
  /** Core to pin all processes to. */
  core?: number
}

/** Starts `src/main.ts` and waits until it answers. @throws with the server's output when it does not within 30 s. */
export async function startServer(options: StartOptions = {}): Promise<TestServer> {
  const dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), 'hostel-test-'))
  const serverArgs = ['src/main.ts', '--data', dataDir, '--gateway', '127.0.0.1:0', '--api', '127.0.0.1:0', ...(options.args ?? [])]
  const [program, args] =
    options.core === undefined ? [process.execPath, serverArgs] : ['taskset', ['-c', String(options.core), process.execPath, ...serverArgs]]
  rmSync(join(dataDir, 'cli.json'), { force: true })
  const child = spawn(program, args, { cwd: projectRoot, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const exited = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)))

  const deadline = performance.now() + 30_000
  for (;;) {
    if (child.exitCode !== null || child.signalCode !== null) throw new Error(`the server ended with ${child.exitCode ?? child.signalCode}:\n${output}`)
    const access = readAccess(dataDir)
    if (access && (await answers(access.api)) && (await answers(access.gateway))) {
      return {
        dataDir,
        api: access.api,
        gateway: access.gateway,
        gatewayPort: Number(new URL(access.gateway).port),
        token: access.token,
        child,
        output: () => output,
        async stop() {
          const startedAt = performance.now()
          child.kill('SIGTERM')
          return { code: await exited, ms: performance.now() - startedAt }
        },
        async kill() {
          child.kill('SIGKILL')
          await exited
        },
      }
    }
    if (performance.now() > deadline) {
      child.kill('SIGTERM')
      throw new Error(`the server did not answer within 30 s:\n${output}`)
    }
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** Takes away a data directory that `startServer` made. */
export function removeData(dataDir: string): void {
  rmSync(dataDir, { recursive: true, force: true })
}

function readAccess(dataDir: string): { api: string; gateway: string; token: string } | undefined {
  const file = join(dataDir, 'cli.json')
  if (!existsSync(file)) return undefined
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as { api: string; gateway: string; token: string }
  } catch {
    return undefined
  }
}

async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(1_000) })
    await response.arrayBuffer()
    return true
  } catch {
    return false
  }
}
