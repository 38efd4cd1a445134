/**
 * HTTP for the client, over node:http: fetch would cost a command 40–50 ms at its first use (it loads undici), refuses to set a Host
 * header and rewrites paths, none of which suits a tool for calling functions.
 */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'

import { ConnectionError } from './errors.ts'

export interface RequestOptions {
  method: string
  /** Sent as they are. */
  headers?: Record<string, string | string[]>
  body?: Uint8Array | Readable
  /** How long the head of the answer may take, in milliseconds. */
  timeoutMs: number
  signal?: AbortSignal
}

export interface Answer {
  status: number
  headers: IncomingHttpHeaders
  rawHeaders: string[]
  /** Body, not yet read; destroy it or read it to the end. */
  body: IncomingMessage
}

// `import 'node:http'` reads all its exports, WebSocket among them, and thereby loads undici after all.
const http = process.getBuiltinModule('node:http')
const agent = new http.Agent({ keepAlive: true })

/** One request to an absolute URL with a path; resolves with the head of the answer. @throws ConnectionError */
export async function send(url: string, options: RequestOptions): Promise<Answer> {
  const target = new URL(url)
  const secure = target.protocol === 'https:'
  // As given: URL would resolve `/a/../b`, and what the function gets to see is the caller's business.
  const path = url.slice(url.indexOf('/', url.indexOf('://') + 3))
  const request = secure ? (await import('node:https')).request : http.request
  const { promise, resolve, reject } = Promise.withResolvers<Answer>()
  const fail = (error: Error): void => reject(new ConnectionError(target.origin, reasonOf(error), { cause: error }))
  const outgoing = request({
    protocol: target.protocol,
    hostname: target.hostname.replace(/^\[|\]$/g, ''),
    port: target.port,
    path,
    method: options.method,
    headers: { ...options.headers, ...(options.body instanceof Uint8Array && { 'content-length': String(options.body.byteLength) }) },
    ...(!secure && { agent }),
    ...(options.signal && { signal: options.signal }),
  })
  const timer = setTimeout(() => outgoing.destroy(new Error(`no answer within ${options.timeoutMs / 1_000} s`)), options.timeoutMs)
  outgoing.on('error', fail)
  outgoing.on('response', (body) => {
    clearTimeout(timer)
    resolve({ status: body.statusCode ?? 0, headers: body.headers, rawHeaders: body.rawHeaders, body })
  })
  if (options.body === undefined) outgoing.end()
  else if (options.body instanceof Uint8Array) outgoing.end(options.body)
  else options.body.on('error', (error) => outgoing.destroy(error)).pipe(outgoing)
  try {
    return await promise
  } finally {
    clearTimeout(timer)
  }
}

/** The whole body, within these limits. @throws ConnectionError when it is longer, takes longer or breaks off. */
export async function readBody(answer: Answer, url: string, { maxBytes, timeoutMs }: { maxBytes: number; timeoutMs: number }): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  const timer = setTimeout(() => answer.body.destroy(new Error(`the answer did not end within ${timeoutMs / 1_000} s`)), timeoutMs)
  try {
    for await (const chunk of answer.body as AsyncIterable<Buffer>) {
      bytes += chunk.length
      if (bytes > maxBytes) throw new Error(`the answer is longer than ${maxBytes} bytes`)
      chunks.push(chunk)
    }
  } catch (error) {
    throw new ConnectionError(new URL(url).origin, reasonOf(error as Error), { cause: error })
  } finally {
    clearTimeout(timer)
  }
  return Buffer.concat(chunks, bytes)
}

function reasonOf(error: Error): string {
  const { code } = error as NodeJS.ErrnoException
  // A host with several addresses fails with all their errors in one.
  if (error instanceof AggregateError && error.errors[0] instanceof Error) return reasonOf(error.errors[0])
  if (code === 'ECONNREFUSED') return 'nothing listens there (ECONNREFUSED)'
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return `the host name is not known (${code})`
  if (code === 'ECONNRESET') return 'the connection was broken off (ECONNRESET)'
  return error.message || code || error.name
}
