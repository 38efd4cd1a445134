/** The HTTP edge: from a request to a call of a function, or to the answer that says why not. */
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

import { HostelError } from '../errors.ts'
import { newInvocationId } from '../invocations/ids.ts'
import type { Call, InvocationServices } from '../invocations/invocation.ts'
import { invoke } from '../invocations/invocation.ts'
import { limits } from '../limits.ts'
import type { Logger } from '../telemetry/logger.ts'
import type { Address, HostRules } from './address.ts'
import { isBareHost, parseAddress } from './address.ts'
import { connectionOf, watchConnection } from './connections.ts'
import { discardBody, HttpCaller } from './exchange.ts'
import { isHealthPath } from './health.ts'
import type { Health } from './health.ts'
import type { RequestFields } from './headers.ts'
import { readRequestFields } from './headers.ts'
import { rawProblem, sendProblem } from './problem.ts'
import type { RoutingTable } from './routes.ts'
import { checkHandshake, UpgradeCaller, wantsWebSocket } from './upgrade.ts'

/** A POST with this content type brings the event itself. */
const EVENT_CONTENT_TYPE = 'application/vnd.hostel.event+json'

export interface EdgeOptions {
  table: RoutingTable
  services: InvocationServices
  logger: Logger
  health: Health
  /** Asked at the first request: the addresses are known once the server listens. */
  hostRules(server: Server): HostRules
  /** Whether connections are to be closed after the answer. */
  isDraining(): boolean
}

/** The HTTP edge of a gateway. */
export interface Edge {
  /** Not yet listening. */
  server: Server
  /** Takes no more connections; those with a WebSocket are asked to end. */
  drain(): void
  /** Cuts what is still open. */
  end(): void
}

export function createEdge(options: EdgeOptions): Edge {
  const { table, services, logger } = options
  let rules: HostRules | undefined
  /** Node does not count these among its connections any more. */
  const upgraded = new Set<UpgradeCaller>()

  /** What is to be called, and how. @throws HostelError */
  const accept = (
    req: IncomingMessage,
    id: string,
    isUpgrade: boolean,
  ): { call: Call; fields: RequestFields; cookieHost: string | null; bodyMaxBytes: number } => {
    rules ??= options.hostRules(server)
    const connection = connectionOf(req.socket)
    if (connection.calls.size >= limits.pipelinedRequestsMax)
      throw new HostelError('too_many_requests', `more than ${limits.pipelinedRequestsMax} requests at once on one connection`, { retryAfterSeconds: 1 })
    const fields = readRequestFields(req.rawHeaders)
    if (isUpgrade) checkHandshake(req, fields, connection)
    const address = parseAddress(req.url!, fields.host, rules)
    refuseUnsupported(req, fields, address)
    if (!table.filled) throw new HostelError('unavailable', undefined, { retryAfterSeconds: 1 })
    const version = table.find(address)
    if (isUpgrade && version.contract === 'event') throw new HostelError('not_supported', 'this function handles events; WebSockets need a fetch handler')
    const isEvent = req.method === 'POST' && fields.contentType !== null && mediaType(fields.contentType) === EVENT_CONTENT_TYPE
    const bodyMaxBytes = isEvent || version.contract === 'event' ? limits.eventMaxBytes : limits.requestBodyMaxBytes
    if (fields.contentLength !== null && fields.contentLength > bodyMaxBytes)
      throw new HostelError('request_too_large', `the body has ${fields.contentLength} bytes, ${bodyMaxBytes} are taken`)
    addForwarding(fields, address, connection.remoteAddress)
    if (isUpgrade) fields.headers.push('connection', 'Upgrade', 'upgrade', 'websocket')
    const call: Call = {
      id,
      version,
      method: req.method!,
      url: `http://${address.host}${address.path}`,
      path: address.path,
      headers: fields.headers,
      isEvent,
      hasBody: isUpgrade || fields.hasBody,
    }
    if (isUpgrade) call.upgrade = 'websocket'
    if (fields.traceparent !== null) call.traceparent = fields.traceparent
    return { call, fields, cookieHost: address.prefix === null ? address.hostname : null, bodyMaxBytes }
  }

  const knownError = (error: unknown, id: string): HostelError => {
    const known = error instanceof HostelError ? error : new HostelError('internal')
    if (known.code === 'internal') logger.error({ err: error, invocation: id }, 'a request could not be handled')
    return known
  }

  const onRequest = (req: IncomingMessage, res: ServerResponse, expectsContinue: boolean): void => {
    // It follows one that could not be understood, and may not be what it looks like.
    if (connectionOf(req.socket).refused) return
    if (isHealthPath(req.url!) && isBareHost(req.headers.host ?? '', (rules ??= options.hostRules(server)))) {
      options.health.answer(req.url!, res)
      return
    }
    const id = newInvocationId()
    try {
      const { call, fields, cookieHost, bodyMaxBytes } = accept(req, id, false)
      const { hasBody } = fields
      const caller = new HttpCaller(req, res, connectionOf(req.socket), {
        id,
        hasBody,
        bodyMaxBytes,
        expectsContinue,
        cookieHost,
        isDraining: options.isDraining,
      })
      invoke(services, call, caller)
    } catch (error) {
      const known = knownError(error, id)
      if (res.headersSent) req.socket.destroy()
      else {
        const isMalformed = known.code === 'malformed_request'
        if (isMalformed) connectionOf(req.socket).refused = true
        sendProblem(res, known, id, isMalformed || options.isDraining())
      }
      res.once('finish', () => discardBody(req))
    }
  }

  const onUpgrade = (req: IncomingMessage, head: Buffer): void => {
    const id = newInvocationId()
    const connection = connectionOf(req.socket)
    try {
      const { call, fields, cookieHost } = accept(req, id, true)
      const callOptions = { id, hasBody: false, bodyMaxBytes: 0, expectsContinue: false, cookieHost, isDraining: () => true }
      const caller = new UpgradeCaller(req, head, connection, callOptions, fields.webSocketKey!)
      upgraded.add(caller)
      req.socket.once('close', () => upgraded.delete(caller))
      invoke(services, call, caller)
    } catch (error) {
      refuseConnection(req.socket, knownError(error, id))
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
  server.on('connection', watchConnection)
  server.on('request', (req, res) => onRequest(req, res, false))
  server.on('checkContinue', (req, res) => onRequest(req, res, true))
  server.on('checkExpectation', (_req, res) =>
    sendProblem(res, new HostelError('malformed_request', 'Expect takes only 100-continue'), newInvocationId(), true),
  )
  server.on('upgrade', (req, _socket, head) => onUpgrade(req, head))
  server.on('connect', (_req, socket) => refuseConnection(socket as Socket, new HostelError('not_supported', 'CONNECT is not supported')))
  server.on('clientError', onClientError)
  return {
    server,
    drain() {
      server.close()
      for (const caller of upgraded) caller.endSoftly()
    },
    end() {
      server.closeAllConnections()
      for (const caller of upgraded) caller.cut()
    },
  }
}

/** @throws HostelError `not_supported` */
function refuseUnsupported(req: IncomingMessage, fields: RequestFields, address: Address): void {
  if (req.method === 'TRACE') throw new HostelError('not_supported', 'TRACE is not supported')
  // Its scope would cover the other functions at this host.
  if (fields.serviceWorker && address.prefix !== null)
    throw new HostelError('not_supported', "service workers are served at the function's own host only: FUNCTION.TENANT.DOMAIN")
}

function addForwarding(fields: RequestFields, address: Address, remoteAddress: string): void {
  fields.headers.push('host', address.host, 'x-forwarded-for', remoteAddress, 'x-forwarded-proto', 'http', 'x-forwarded-host', address.host)
  if (address.prefix !== null) fields.headers.push('x-forwarded-prefix', address.prefix)
}

function mediaType(contentType: string): string {
  const end = contentType.indexOf(';')
  return (end < 0 ? contentType : contentType.slice(0, end)).trim().toLowerCase()
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
