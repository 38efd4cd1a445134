/** Functions for the benchmarks: many, each with code of its own. */
import { createControlClient } from '../../src/client/control.ts'
import { deploy, eventually, type Files } from '../../test/lib/functions.ts'
import type { TestServer } from '../../test/lib/server.ts'
import { ANSWER, fetchHandlerSource } from '../peers/handler.ts'

/** Requests one sandbox takes at once: the handler waits for nothing, so one sandbox serves all connections, as one peer process does. */
const CONCURRENCY = 100

/** Deploys `count` distinct functions; their names. */
export async function deployMany(server: TestServer, count: number, runtime: string): Promise<string[]> {
  const names: string[] = []
  for (let index = 0; index < count; index++) {
    const name = `bench-${index}`
    await deploy(server, name, sourceOf(runtime, name), { runtime, concurrency: CONCURRENCY })
    names.push(name)
  }
  return names
}

/** How the sandboxes of these invocations were come by, in the same order, from their records. */
export async function startKinds(server: TestServer, invocations: string[]): Promise<string[]> {
  const client = createControlClient(server)
  const kinds: string[] = []
  for (const id of invocations) kinds.push((await eventually(() => client.invocation('default', id))).start ?? 'none')
  return kinds
}

function sourceOf(runtime: string, mark: string): Files {
  if (runtime !== 'python3') return { 'index.mjs': fetchHandlerSource(mark) }
  return {
    'main.py': `# ${mark}\ndef handler(event, context):\n    return {"statusCode": 200, "headers": {"content-type": "text/plain"}, "body": ${JSON.stringify(ANSWER)}}\n`,
  }
}
