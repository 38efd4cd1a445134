/** The HTTP edge: from a request to a call of a function, or to the answer that says why not. */
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

import { HostelError } from '../errors.ts'
import { newInvocationId } from '../invocations/ids.ts'
import type { InvocationServices } from '../invocations/invocation.ts'
import { invoke } from '../invocations/invocation.ts'
import { limits } from '../limits.ts'
import type { Logger } from '../telemetry/logger.ts'
import { acceptRequest } from './accept.ts'
import type { AcceptOptions, Accepted, RequestKind } from './accept.ts'
import type { AccessLog, Outcome } from './access-log.ts'
import type { HostRules } from './address.ts'
import { isBareHost } from './address.ts'
import type { Access } from './auth.ts'
import { connectionOf, watchConnection } from './connections.ts'
import type { Connection } from './connections.ts'
import { discardBody, HttpCaller } from './exchange.ts'
import { isHealthPath } from './health.ts'
import type { Health } from './health.ts'
import { createHttp2, Http2Caller, sendHttp2Problem, sessionOf } from './http2.ts'
import { rawProblem, sendProblem } from './problem.ts'
import { UpgradeCaller, wantsWebSocket } from './upgrade.ts'

export interface EdgeOptions extends AcceptOptions {
  services: InvocationServices
  access: Pick<Access, 'admit'>
  logger: Logger
  health: Health
  accessLog: AccessLog | null
  /** Asked at the first request: the addresses are known once the server listens. */
  hostRules(server: Server): HostRules
  /** Whether connections are to be closed after the answer. */
  isDraining(): boolean
}

/** The HTTP edge of a gateway. */
export interface Edge {
  /** Not yet listening. */
  server: Server
  /** Takes over a connection on which TLS has been agreed, and HTTP/2 or not. */
  takeSecure(socket: Socket, isHttp2: boolean): void
  /** Takes no more connections; those with a WebSocket or of HTTP/2 are asked to end. */
  drain(): void
  /** Cuts what is still open. */
  end(): void
}

export function createEdge(options: EdgeOptions): Edge {
  const { services, logger, accessLog } = options
  let rules: HostRules | undefined
  /** Node does not count these among its connections any more. */
  const upgraded = new Set<UpgradeCaller>()

  /** What is to be called, and how. @throws HostelError */
  const accept = (req: IncomingMessage, connection: Connection, id: string, kind: RequestKind): Accepted =>
    acceptRequest(options, (rules ??= options.hostRules(server)), req, connection, id, kind)

  /** Whether it was one for ourselves, and is answered. */
  const isHealth = (req: IncomingMessage, res: ServerResponse, host = ''): boolean => {
    if (!isHealthPath(req.url!) || !isBareHost(host, (rules ??= options.hostRules(server)))) return false
    options.health.answer(req.url!, res)
    return true
  }

  const knownError = (error: unknown, id: string): HostelError => {
    const known = error instanceof HostelError ? error : new HostelError('internal')
    if (known.code === 'internal') logger.error({ err: error, invocation: id }, 'a request could not be handled')
    return known
  }

  const onRequest = (req: IncomingMessage, res: ServerResponse, expectsContinue: boolean): void => {
    const connection = connectionOf(req.socket)
    // It follows one that could not be understood, and may not be what it looks like.
    if (connection.refused) return
    if (isHealth(req, res, req.headers.host)) return
    const id = newInvocationId()
    const tell = accessLog?.watch(req, res, connection, id)
    try {
      const { call, bodyMaxBytes, cookieHost } = accept(req, connection, id, 'http1')
      const caller = new HttpCaller(req, res, connection, {
        id,
        hasBody: call.hasBody,
        bodyMaxBytes,
        expectsContinue,
        cookieHost,
        isDraining: options.isDraining,
      })
      tell?.(caller)
      invoke(services, call, caller)
    } catch (error) {
      const known = knownError(error, id)
      if (res.headersSent) req.socket.destroy()
      else {
        const isMalformed = known.code === 'malformed_request'
        if (isMalformed) connection.refused = true
        tell?.(problemOutcome(known))
        sendProblem(res, known, id, isMalformed || options.isDraining())
      }
      res.once('finish', () => discardBody(req))
    }
  }

  const onHttp2Request = (req: IncomingMessage, res: ServerResponse, expectsContinue: boolean): void => {
    const session = sessionOf(req)
    if (!session) return
    if (isHealth(req, res, String(req.headers[':authority'] ?? ''))) return
    const connection = connectionOf(session)
    const id = newInvocationId()
    const tell = accessLog?.watch(req, res, connection, id)
    try {
      const { call, bodyMaxBytes, cookieHost } = accept(req, connection, id, 'http2')
      const caller = new Http2Caller(req, res, connection, {
        id,
        hasBody: call.hasBody,
        bodyMaxBytes,
        expectsContinue,
        cookieHost,
        isDraining: () => false,
      })
      tell?.(caller)
      invoke(services, call, caller)
    } catch (error) {
      const known = knownError(error, id)
      tell?.(problemOutcome(known))
      sendHttp2Problem(res, known, id)
    }
  }

  const onUpgrade = (req: IncomingMessage, head: Buffer): void => {
    const id = newInvocationId()
    const connection = connectionOf(req.socket)
    const tell = accessLog?.watch(req, req.socket, connection, id)
    try {
      const { call, fields, cookieHost } = accept(req, connection, id, 'websocket')
      const callOptions = { id, hasBody: false, bodyMaxBytes: 0, expectsContinue: false, cookieHost, isDraining: () => true }
      const caller = new UpgradeCaller(req, head, connection, callOptions, fields.webSocketKey!)
      upgraded.add(caller)
      req.socket.once('close', () => upgraded.delete(caller))
      tell?.(caller)
      invoke(services, call, caller)
    } catch (error) {
      const known = knownError(error, id)
      tell?.(problemOutcome(known))
      refuseConnection(req.socket, known)
    }
  }

  const server = createServer({
    maxHeaderSize: limits.requestHeadMaxBytes,
    headersTimeout: limits.requestHeadTimeoutMs,
    // A body may take as long as its function: the invocation's deadline ends it.
    requestTimeout: 0,
    keepAliveTimeout: limits.connectionIdleTimeoutMs,
    connectionsCheckingInterval: 2_000,
    // Answered by us, as every other error.
    requireHostHeader: false,
    optimizeEmptyRequests: true,
    shouldUpgradeCallback: wantsWebSocket,
  })
  server.maxConnections = limits.connectionsMax
  server.on('connection', (socket) => watchConnection(socket, options.proxies))
  server.on('request', (req, res) => onRequest(req, res, false))
  server.on('checkContinue', (req, res) => onRequest(req, res, true))
  server.on('checkExpectation', (_req, res) =>
    sendProblem(res, new HostelError('malformed_request', 'Expect takes only 100-continue'), newInvocationId(), true),
  )
  server.on('upgrade', (req, _socket, head) => onUpgrade(req, head))
  server.on('connect', (_req, socket) => refuseConnection(socket as Socket, new HostelError('not_supported', 'CONNECT is not supported')))
  server.on('clientError', onClientError)
  const http2 = createHttp2({
    proxies: options.proxies,
    onRequest: onHttp2Request,
    onError: (error) => logger.debug({ err: error }, 'an HTTP/2 session failed'),
  })
  return {
    server,
    takeSecure: (socket, isHttp2) => void (isHttp2 ? http2.take(socket) : server.emit('connection', socket)),
    drain() {
      server.close()
      http2.drain()
      for (const caller of upgraded) caller.endSoftly()
    },
    end() {
      server.closeAllConnections()
      http2.end()
      for (const caller of upgraded) caller.cut()
    },
  }
}

function problemOutcome(error: HostelError): Outcome {
  return { status: error.status, sentBytes: 0 }
}

/** What Node's parser refuses, and connections that time out before there is a request. */
function onClientError(cause: NodeJS.ErrnoException, socket: Socket): void {
  const error = clientErrors[cause.code ?? ''] ?? new HostelError('malformed_request', 'this is not valid HTTP/1.1')
  if (!socket.writable || cause.code === 'ECONNRESET') socket.destroy()
  else refuseConnection(socket, error)
}

const clientErrors: Record<string, HostelError> = {
  HPE_HEADER_OVERFLOW: new HostelError('headers_too_large', `the request head has more than ${limits.requestHeadMaxBytes} bytes`),
  HPE_CHUNK_EXTENSIONS_OVERFLOW: new HostelError('malformed_request', 'the chunk extensions are too long'),
  ERR_HTTP_REQUEST_TIMEOUT: new HostelError('request_timeout', `the request head took more than ${limits.requestHeadTimeoutMs} ms`),
}

/** Answers without an answer object, and closes. Not where half an answer is out already: the client would read this as the rest of it. */
function refuseConnection(socket: Socket, error: HostelError): void {
  const connection = connectionOf(socket)
  const { calls } = connection
  // Its last answer is on its way.
  if (connection.refused) return
  connection.refused = true
  const begun = [...calls].some((call) => call.begunAnswer)
  for (const call of calls) call.gone(error)
  calls.clear()
  if (begun) {
    socket.destroy()
    return
  }
  socket.end(rawProblem(error, newInvocationId()))
  // Closing at once, with bytes of the client unread, would take the answer from it.
  socket.resume()
  const timer = setTimeout(() => socket.destroy(), limits.lingerMs)
  socket.once('close', () => clearTimeout(timer))
}
