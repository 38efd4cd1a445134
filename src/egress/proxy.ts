/**
 * The HTTP proxy behind every proxy door: CONNECT, and plain requests with an absolute target. What comes in is a stranger's
 * writing; what goes out was parsed here and is written anew.
 */
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'

import { HostelError } from '../errors.ts'
import type { ErrorCode } from '../errors.ts'
import { limits } from '../limits.ts'
import type { Attempt, Ledger } from './attempts.ts'
import { DialError, dial } from './dial.ts'
import type { Reached } from './dial.ts'
import type { Guard } from './guard.ts'
import type { Lookup } from './lookup.ts'
import { forward } from './forward.ts'
import { problemText, sendProblem } from './problem.ts'
import { findRule, parseTarget } from './rules.ts'
import type { EgressRule, Target } from './rules.ts'
import { splice } from './splice.ts'

/** What is known of the sandbox at the other end of a connection. */
export interface ProxySession {
  rules: readonly EgressRule[]
  begin: Ledger
  /** Counts one more request of a connection that has had some. False: there were too many, and the connection is gone. */
  another(): boolean
}

export interface Proxy {
  /** Serves a connection that came in at a sandbox's proxy door. */
  serve(socket: Socket, session: ProxySession): void
}

/** A connection between two requests may wait for so long. */
const KEEP_ALIVE_MS = 60_000

export function createProxy(options: { guard: Guard; lookup: Lookup }): Proxy {
  const sessions = new WeakMap<Duplex, ProxySession>()
  const headTimers = new WeakMap<Duplex, NodeJS.Timeout>()
  /** The latest answer on a connection. */
  const answers = new WeakMap<Duplex, ServerResponse>()

  // It never listens: connections are given to it. So its own timers for heads do not run, and there are some here.
  const server = createServer({ maxHeaderSize: limits.egressHeadMaxBytes, keepAliveTimeout: KEEP_ALIVE_MS, requireHostHeader: false, noDelay: true })
  server.timeout = 0

  server.on('request', (request, response) => {
    const { socket } = request
    if (!inTurn(socket)) return
    answers.set(socket, response)
    clearTimeout(headTimers.get(socket))
    // The next head's time begins with its first byte, which is not told; until then the keep-alive timeout holds.
    response.once('finish', () => awaitHead(socket, KEEP_ALIVE_MS + limits.egressHeadTimeoutMs))
    void plain(request, response, sessions.get(socket)!)
  })
  server.on('connect', (request, socket, head) => {
    if (!inTurn(socket)) return
    clearTimeout(headTimers.get(socket))
    void tunnel(request, socket as Socket, head, sessions.get(socket)!)
  })
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    clearTimeout(headTimers.get(socket))
    if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy()
    const tooLarge = error.code === 'HPE_HEADER_OVERFLOW'
    const problem = new HostelError(
      tooLarge ? 'headers_too_large' : 'malformed_request',
      `what reached the egress proxy is no request of HTTP/1.1${tooLarge ? ' of its size' : ''}`,
    )
    sessions.get(socket)?.begin('proxy', '').end('refused', problem.message)
    socket.end(problemText(problem), () => socket.destroy())
  })

  /**
   * Whether a request may begin. Each is a connection outwards, and what is limited is connections inwards: so there is one at a time
   * in each, though HTTP lets clients send more ahead (which none do any more), and each but the first counts as a connection.
   */
  function inTurn(socket: Duplex): boolean {
    const before = answers.get(socket)
    if (socket.destroyed || before === undefined) return !socket.destroyed
    if (before.writableFinished) return sessions.get(socket)!.another()
    socket.destroy()
    return false
  }

  function awaitHead(socket: Duplex, withinMs: number): void {
    clearTimeout(headTimers.get(socket))
    headTimers.set(
      socket,
      setTimeout(() => socket.destroy(), withinMs),
    )
  }

  async function tunnel(request: IncomingMessage, guest: Socket, head: Buffer, session: ProxySession): Promise<void> {
    guest.on('error', () => {})
    const asked = parseTarget(request.url ?? '')
    const attempt = session.begin('proxy', typeof asked === 'string' ? (request.url ?? '') : asked.text)
    let reached: Reached
    try {
      if (request.headers['content-length'] !== undefined || request.headers['transfer-encoding'] !== undefined)
        throw new HostelError('malformed_request', 'CONNECT has no body')
      reached = await reach(admitted(asked, session), attempt, guest)
    } catch (error) {
      const problem = refusalOf(error, asked, attempt)
      if (guest.writable) guest.end(problemText(problem))
      // Its own end of the connection is the guest's to close; it gets a moment to do so.
      setTimeout(() => guest.destroy(), limits.lingerMs)
      guest.resume()
      return
    }
    const { socket: outside } = reached
    guest.write('HTTP/1.1 200 Connection Established\r\n\r\n')
    if (head.length > 0) guest.unshift(head)
    splice(guest, outside, (reason) => attempt.end('allowed', reason, { sentBytes: outside.bytesWritten, receivedBytes: outside.bytesRead }))
  }

  async function plain(request: IncomingMessage, response: ServerResponse, session: ProxySession): Promise<void> {
    const url = /^http:\/\/([^/?#@\\\s]+)([/?][^#\s]*)?$/i.exec(request.url ?? '')
    const asked = url ? parseTarget(url[1]!, 80) : notAbsolute(request.url ?? '')
    const attempt = session.begin('proxy', typeof asked === 'string' ? (request.url ?? '') : asked.text)
    try {
      // Node's parser hands such a request over before it says that its body has no end.
      if (!/^(chunked)?$/i.test(request.headers['transfer-encoding'] ?? ''))
        throw new HostelError('malformed_request', 'the egress proxy takes no other transfer-encoding than chunked')
      const reached = await reach(admitted(asked, session), attempt, response)
      const path = url![2] ?? '/'
      forward({ request, response, reached, attempt, path: path.startsWith('?') ? `/${path}` : path, host: url![1]! })
    } catch (error) {
      sendProblem(response, refusalOf(error, asked, attempt))
    }
  }

  async function reach(target: Target, attempt: Attempt, guest: Duplex | ServerResponse): Promise<Reached> {
    const gone = new AbortController()
    const onClose = (): void => gone.abort()
    guest.once('close', onClose)
    try {
      const reached = await dial(target, { ...options, signal: gone.signal })
      if (gone.signal.aborted || guest.destroyed) {
        reached.socket.destroy()
        throw new DialError('failed', 'the function did not wait for it', reached.address)
      }
      attempt.connected(reached.address)
      return reached
    } finally {
      guest.off('close', onClose)
    }
  }

  return {
    serve(socket, session) {
      sessions.set(socket, session)
      awaitHead(socket, limits.egressHeadTimeoutMs)
      socket.once('close', () => clearTimeout(headTimers.get(socket)))
      server.emit('connection', socket)
    },
  }
}

/** @throws HostelError when no rule of the version admits it */
function admitted(asked: Target | string, session: ProxySession): Target {
  if (typeof asked === 'string') throw new HostelError('malformed_request', `this is the egress proxy: ${asked}`)
  if (findRule(session.rules, asked) === undefined)
    throw new HostelError(
      'egress_refused',
      `${asked.text} is not on the function's egress list; to allow it, deploy with egress: [${JSON.stringify(asked.text)}]`,
    )
  return asked
}

function notAbsolute(url: string): string {
  if (/^https:/i.test(url)) return 'ask for https targets with CONNECT, so that nobody between reads along'
  return 'it takes CONNECT host:port and requests for http://host[:port]/path'
}

/** The error as an answer to the guest, noted in the account. */
function refusalOf(error: unknown, asked: Target | string, attempt: Attempt): HostelError {
  const text = typeof asked === 'string' ? 'this' : asked.text
  if (error instanceof DialError) {
    const code: ErrorCode = error.verdict === 'refused' ? 'egress_refused' : 'egress_failed'
    attempt.end(error.verdict, error.verdict === 'refused' ? `${error.address} is ${error.message}` : error.message, { address: error.address })
    if (code === 'egress_failed') return new HostelError(code, `${text} could not be reached: ${error.message}`)
    return new HostelError(
      code,
      `${text} leads to ${error.address}: ${error.message}, where functions may not go; only the server's operator can open it, with --egress-allow`,
    )
  }
  const known = error instanceof HostelError ? error : new HostelError('internal', undefined, { cause: error })
  attempt.end('refused', known.code === 'egress_refused' ? "it is not on the version's egress list" : known.message)
  return known
}
