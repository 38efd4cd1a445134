/** A small HTTP server that speaks the shapes of control API and gateway, for answers a healthy server would not give on demand. */
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'

export interface Seen {
  method: string
  /** Path and query as they came. */
  path: string
  headers: IncomingMessage['headers']
  body: Buffer
}

export type Route = (seen: Seen, response: ServerResponse) => unknown

export interface StandIn {
  url: string
  env: Record<string, string>
  seen: Seen[]
  close: () => Promise<void>
}

export const TOKEN = 'stand-in-token'

/** `routes`: `METHOD path` (without query) → handler; what a handler returns is sent as JSON. Anything else is a 404 problem. */
export async function startStandIn(routes: Record<string, Route>): Promise<StandIn> {
  const seen: Seen[] = []
  const server = createServer((request, response) => {
    void (async () => {
      const body = await buffer(request)
      const one = { method: request.method!, path: request.url!, headers: request.headers, body }
      seen.push(one)
      const route = routes[`${one.method} ${one.path.split('?')[0]}`]
      if (one.path.startsWith('/v1/') && request.headers.authorization !== `Bearer ${TOKEN}`) return problem(response, 401, 'unauthenticated')
      if (!route) return problem(response, 404, 'unknown_function')
      const result = await route(one, response)
      if (result !== undefined) response.setHeader('content-type', 'application/json').end(JSON.stringify(result))
    })()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  routes['GET /v1/system'] ??= () => ({ version: '0.0.0', gatewayUrl: url, apiUrl: url, domain: 'localhost', gatewayConnected: true, runtimes: [], limits: {} })
  routes['GET /v1/tenants/default/functions'] ??= () => ({ functions: [summary('hello')], next: null })
  return {
    url,
    env: { HOSTEL_API: url, HOSTEL_TOKEN: TOKEN },
    seen,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

export function problem(response: ServerResponse, status: number, code: string, more: Record<string, unknown> = {}): void {
  response
    .writeHead(status, { 'content-type': 'application/problem+json' })
    .end(JSON.stringify({ type: `urn:hostel:error:${code}`, title: `title of ${code}`, status, code, ...more }))
}

const urls = { path: 'http://127.0.0.1:1/default/hello/', host: 'http://hello.default.localhost:1/' }

export function summary(name: string): Record<string, unknown> {
  return { tenant: 'default', name, live: 1, runtime: 'nodejs24', memoryMiB: 256, createdAtMs: 0, deployedAtMs: 0, urls }
}

export function version(contract: 'fetch' | 'event'): Record<string, unknown> {
  return {
    version: 1,
    codeDigest: 'a'.repeat(64),
    runtime: 'nodejs24',
    handler: 'index.ts',
    memoryMiB: 256,
    timeoutMs: 30_000,
    concurrency: 10,
    envNames: [],
    egress: [],
    services: [],
    contract,
    createdAtMs: 0,
  }
}

export function detail(name: string, contract: 'fetch' | 'event' = 'fetch'): Record<string, unknown> {
  return { tenant: 'default', name, createdAtMs: 0, aliases: { live: 1 }, versions: [version(contract)], urls, lastHour: { invocations: 3, errors: 1 } }
}
