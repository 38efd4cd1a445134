/** One plain HTTP request through the proxy: written anew to the address that was checked, its answer passed back. */
import { request as httpRequest } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'

import { HostelError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { Attempt } from './attempts.ts'
import type { Reached } from './dial.ts'
import { sendProblem } from './problem.ts'

/** About one connection only (RFC 9110, section 7.6.1), and what is told to proxies. */
const HOP_BY_HOP = new Set([
  'connection',
  'expect',
  'host',
  'http2-settings',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

export interface Forwarded {
  request: IncomingMessage
  response: ServerResponse
  reached: Reached
  attempt: Attempt
  /** Path and query. */
  path: string
  /** Host and port as the target has them: what the Host field says is not asked. */
  host: string
}

export function forward({ request, response, reached, attempt, path, host }: Forwarded): void {
  const { socket } = reached
  let bytes = 0
  const settle = (reason: string | null): void => {
    clearTimeout(timer)
    socket.destroy()
    attempt.end('allowed', reason, { sentBytes: socket.bytesWritten, receivedBytes: socket.bytesRead })
  }
  const fail = (reason: string): void => {
    settle(reason)
    sendProblem(response, new HostelError('egress_failed', `${host} could not be asked: ${reason}`))
  }
  const count = (chunk: Buffer): void => {
    bytes += chunk.length
    if (bytes > limits.egressConnectionMaxBytes) fail('it carried more bytes than a connection may')
  }
  const timer = setTimeout(() => fail('it took longer than a connection may'), limits.egressConnectionMaxMs)
  socket.setTimeout(limits.egressIdleTimeoutMs, () => fail(`nothing came or went for ${limits.egressIdleTimeoutMs / 60_000} min`))

  const outgoing = httpRequest({
    createConnection: () => socket,
    method: request.method ?? 'GET',
    path,
    headers: [...passedOn(request.rawHeaders), 'host', host, 'connection', 'close', ...framing(request)],
    setHost: false,
    maxHeaderSize: limits.responseHeadMaxBytes,
  })
  outgoing.on('error', () => fail('the target broke it off'))
  outgoing.on('response', (answer) => {
    answer.on('error', () => fail('the target broke it off'))
    answer.on('data', count)
    try {
      response.writeHead(answer.statusCode!, answer.statusMessage, [...passedOn(answer.rawHeaders)])
    } catch {
      return fail('its answer has fields that cannot be passed on')
    }
    answer.pipe(response)
  })
  request.on('error', () => {})
  request.on('data', count)
  request.pipe(outgoing)
  response.once('close', () => settle(response.writableFinished ? null : 'the function broke it off'))
  if (response.destroyed) settle('the function broke it off')
}

/** The fields that may go on, as a flat list, in their order. */
function passedOn(raw: string[]): string[] {
  const listed = new Set(HOP_BY_HOP)
  for (let i = 0; i < raw.length; i += 2) {
    if (raw[i]!.toLowerCase() !== 'connection') continue
    for (const name of raw[i + 1]!.split(',')) if (name.trim().toLowerCase() !== 'content-length') listed.add(name.trim().toLowerCase())
  }
  const out: string[] = []
  for (let i = 0; i < raw.length; i += 2) if (!listed.has(raw[i]!.toLowerCase())) out.push(raw[i]!, raw[i + 1]!)
  return out
}

/** A body without a length is sent in chunks; with one, the field goes on as it is. */
function framing(request: IncomingMessage): string[] {
  return request.headers['transfer-encoding'] === undefined ? [] : ['transfer-encoding', 'chunked']
}
