/** HTTP/2: the same calls over streams of a session. Sessions are made of sockets that TLS has agreed on it with. */
import { constants, createServer } from 'node:http2'
import type { Socket } from 'node:net'
import type { Http2ServerRequest, Http2ServerResponse, Http2Session, ServerHttp2Session } from 'node:http2'
import type { IncomingMessage, ServerResponse } from 'node:http'

import type { HostelError } from '../errors.ts'
import type { Invocation } from '../invocations/invocation.ts'
import { limits } from '../limits.ts'
import type { FlatHeaders } from '../sandbox/protocol.ts'
import { connectionOf, noteConnection } from './connections.ts'
import type { TrustedProxies } from './client.ts'
import { HttpCaller } from './exchange.ts'
import { problemAnswer } from './problem.ts'

export interface Http2Edge {
  /** Takes over a connection on which TLS has been agreed. */
  take(socket: Socket): void
  /** Sessions take no more streams, and end with their last. */
  drain(): void
  end(): void
}

export function createHttp2(options: {
  proxies: TrustedProxies
  onRequest(req: IncomingMessage, res: ServerResponse, expectsContinue: boolean): void
  onError(error: Error): void
}): Http2Edge {
  const sessions = new Set<ServerHttp2Session>()
  let draining = false
  /** Announced while its socket is handed in. */
  let taken: ServerHttp2Session | null = null
  const server = createServer({
    maxHeaderListPairs: limits.requestHeadMaxFields,
    maxSessionMemory: limits.http2SessionMaxMiB,
    // Streams that are opened only to be reset cost us more than the client (CVE-2023-44487).
    streamResetBurst: limits.http2ResetsBurst,
    streamResetRate: limits.http2ResetsPerSecond,
    settings: {
      maxConcurrentStreams: limits.http2StreamsMax,
      maxHeaderListSize: limits.requestHeadMaxBytes,
      initialWindowSize: limits.streamWindowBytes,
      enablePush: false,
    },
  })
  server.on('session', (session) => {
    taken = session
    sessions.add(session)
    noteConnection(session, session.socket.remoteAddress, true, options.proxies)
    session.on('error', () => {})
    session.once('close', () => sessions.delete(session))
    // Its handshake was under way.
    if (draining) session.close()
    session.setTimeout(limits.connectionIdleTimeoutMs, () => {
      // A quiet stream may just be a slow function; its deadline bounds it.
      if (connectionOf(session).calls.size === 0) session.destroy()
    })
  })
  server.on('sessionError', (error) => options.onError(error))
  const asHttp1 = (req: Http2ServerRequest, res: Http2ServerResponse): [IncomingMessage, ServerResponse] => [
    req as unknown as IncomingMessage,
    res as unknown as ServerResponse,
  ]
  server.on('request', (req, res) => options.onRequest(...asHttp1(req, res), false))
  server.on('checkContinue', (req, res) => options.onRequest(...asHttp1(req, res), true))
  return {
    take(socket) {
      server.emit('connection', socket)
      const session = taken
      taken = null
      // Node ends the socket of a session that is over, but waits for the other side to do so, too.
      session?.once('close', () => {
        const timer = setTimeout(() => socket.destroy(), limits.lingerMs)
        socket.once('close', () => clearTimeout(timer))
      })
    },
    drain() {
      draining = true
      for (const session of sessions) session.close()
    },
    end() {
      for (const session of sessions) session.destroy()
    },
  }
}

/** Of a request that came over HTTP/2. */
export function sessionOf(req: IncomingMessage): Http2Session | undefined {
  return streamOf(req).session
}

export function streamOf(req: IncomingMessage): Http2ServerRequest['stream'] {
  return (req as unknown as Http2ServerRequest).stream
}

/** Answers with an error, whole. */
export function sendHttp2Problem(res: ServerResponse, error: HostelError, invocation: string): void {
  const { headers, body } = problemAnswer(error, invocation)
  res.writeHead(error.status, objectOf(headers))
  res.end(body)
}

export class Http2Caller extends HttpCaller {
  override begun(invocation: Invocation): void {
    super.begun(invocation)
    // A stream can end while its connection lives.
    streamOf(this.req).once('close', () => {
      this.connection.calls.delete(this)
      if (!this.over) this.gone()
    })
  }

  /** Node calls an answer finished, too, when its stream was reset. */
  protected override finished(): void {
    const { rstCode } = streamOf(this.req)
    if (this.res.writableEnded && (rstCode === undefined || rstCode === constants.NGHTTP2_NO_ERROR)) super.finished()
    else if (!this.over) this.gone()
  }

  protected override sendHead(status: number, headers: FlatHeaders): void {
    this.res.writeHead(status, objectOf(headers))
  }

  protected override sendProblem(error: HostelError): void {
    sendHttp2Problem(this.res, error, this.options.id)
  }

  protected override discard(): void {
    const stream = streamOf(this.req)
    if (!stream.readableEnded) stream.close(constants.NGHTTP2_NO_ERROR)
  }

  protected override cut(): void {
    streamOf(this.req).close(constants.NGHTTP2_INTERNAL_ERROR)
  }
}

/** Repeated fields as lists: Node's own flat form keeps only the last. */
function objectOf(headers: FlatHeaders): Record<string, string | string[]> {
  const object: Record<string, string | string[]> = Object.create(null) as Record<string, string | string[]>
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!
    const before = object[name]
    object[name] = before === undefined ? headers[i + 1]! : [...(Array.isArray(before) ? before : [before]), headers[i + 1]!]
  }
  return object
}
