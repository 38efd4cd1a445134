/** Deploying and calling small functions in tests and benchmarks, through the API and the gateway as anyone would. */
import { createGzip } from 'node:zlib'
import { buffer } from 'node:stream/consumers'
import { pack } from 'tar-stream'

import { EVENT_CONTENT_TYPE } from '../../src/client/gateway.ts'
import { createControlClient, type Deployed, type InvocationDetail, type LogLine, type NewVersion } from '../../src/client/control.ts'
import type { TestServer } from './server.ts'

/** File name → content. */
export type Files = Record<string, string>

/** Packs files as the upload wants them. */
export async function archiveOf(files: Files): Promise<Buffer> {
  const tar = pack()
  for (const [name, content] of Object.entries(files)) tar.entry({ name, mode: 0o644, mtime: new Date(0) }, content)
  tar.finalize()
  return buffer(tar.pipe(createGzip()))
}

/** Uploads and deploys. @throws ApiError with the server's problem. */
export async function deploy(server: TestServer, name: string, files: Files, options: Omit<NewVersion, 'code'> = {}): Promise<Deployed> {
  const client = createControlClient(server)
  const { digest } = await client.uploadCode('default', await archiveOf(files))
  return client.createVersion('default', name, { code: digest, ...options })
}

/** Calls an event function with an event; the result as JSON. @throws with status and body when it failed. */
export async function callEvent<T>(server: TestServer, name: string, event: unknown, options: { timeoutMs?: number } = {}): Promise<T> {
  const response = await fetch(`${server.gateway}/default/${name}`, {
    method: 'POST',
    headers: { 'content-type': EVENT_CONTENT_TYPE },
    body: JSON.stringify(event),
    signal: AbortSignal.timeout(options.timeoutMs ?? 60_000),
  })
  const text = await response.text()
  if (!response.ok) throw new Error(`${name} answered ${response.status}: ${text}`)
  return JSON.parse(text) as T
}

/** Asks the API for an invocation's record until it is there: records arrive in batches. @throws after 5 s. */
export async function invocationRecord(server: TestServer, id: string): Promise<InvocationDetail> {
  const client = createControlClient(server)
  return eventually(() => client.invocation('default', id))
}

/** Log lines of a function, once `enough` says so. @throws after 5 s. */
export async function logsOf(server: TestServer, name: string, enough: (lines: LogLine[]) => boolean): Promise<LogLine[]> {
  const client = createControlClient(server)
  return eventually(async () => {
    const lines: LogLine[] = []
    for await (const line of client.logs('default', name, { limit: 10_000 })) lines.push(line)
    if (!enough(lines)) throw new Error(`not enough log lines yet: ${JSON.stringify(lines.slice(-5))}`)
    return lines
  })
}

/** Retries until it does not throw. @throws the last error once the time is over. */
export async function eventually<T>(attempt: () => Promise<T> | T, withinMs = 5_000): Promise<T> {
  const deadline = performance.now() + withinMs
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      if (performance.now() > deadline) throw error
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}
