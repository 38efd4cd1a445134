/** A client's connection that becomes a WebSocket: the function says yes or no as to any request; after a yes, bytes go through both ways as they are. */
import { hash } from 'node:crypto'
import { ServerResponse } from 'node:http'
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'

import { HostelError } from '../errors.ts'
import type { Caller, Invocation } from '../invocations/invocation.ts'
import { limits } from '../limits.ts'
import type { FlatHeaders } from '../sandbox/protocol.ts'
import type { Connection } from './connections.ts'
import { HttpCaller } from './exchange.ts'
import type { HttpCallOptions } from './exchange.ts'
import type { RequestFields, ResponseFields } from './headers.ts'
import { readResponseFields } from './headers.ts'

/** RFC 6455, section 1.3. */
const ACCEPT_SALT = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

/** Whether Node shall hand over the connection: for WebSocket alone; other offers (such as h2c, which some clients always make) may be ignored. */
export function wantsWebSocket(req: IncomingMessage): boolean {
  return /(^|,)\s*websocket\s*(,|\/|$)/i.test(req.headers.upgrade ?? '')
}

/** What RFC 6455, section 4.2.1, wants of a client. @throws HostelError `malformed_request` */
export function checkHandshake(req: IncomingMessage, fields: RequestFields, connection: Connection): void {
  const wrong =
    req.method !== 'GET' || req.httpVersion !== '1.1'
      ? 'a WebSocket is opened with GET and HTTP/1.1'
      : fields.hasBody
        ? 'a WebSocket is opened by a request without a body'
        : fields.webSocketVersion?.trim() !== '13'
          ? 'Sec-WebSocket-Version must be 13'
          : !/^\s*[A-Za-z0-9+/]{21}[AQgw]==\s*$/.test(fields.webSocketKey ?? '')
            ? 'Sec-WebSocket-Key must be 16 bytes in Base64, once'
            : connection.calls.size > 0
              ? 'a WebSocket can not be opened on a connection with a request that is not answered yet'
              : null
  if (wrong) throw new HostelError('malformed_request', wrong)
}

/** An answer object for a connection that Node has let go of; it is closed afterwards. */
export function answerOn(req: IncomingMessage, socket: Socket): ServerResponse {
  const res = new ServerResponse(req)
  res.shouldKeepAlive = false
  res.assignSocket(socket)
  socket.on('error', ignore)
  res.on('finish', () => {
    socket.end()
    // Closing at once, with bytes of the client unread, would take the answer from it.
    socket.resume()
    destroyAfter(socket, limits.lingerMs)
  })
  return res
}

export class UpgradeCaller implements Caller {
  private readonly req: IncomingMessage
  private readonly socket: Socket
  private readonly connection: Connection
  private readonly options: HttpCallOptions
  private readonly key: string
  private invocation!: Invocation
  /** Once the function (or an error) has said no: an ordinary answer. */
  private refusal: HttpCaller | null = null
  private upgraded = false
  private written = 0
  private ungrantedBytes = 0
  private awaitsDrain = false
  private ending = false
  private over = false
  private lifetime: NodeJS.Timeout | undefined

  /** `head` is what came behind the request already. */
  constructor(req: IncomingMessage, head: Buffer, connection: Connection, options: HttpCallOptions, key: string) {
    this.req = req
    this.socket = req.socket
    this.connection = connection
    this.options = options
    this.key = key.trim()
    if (head.length > 0) this.socket.unshift(head)
  }

  begun(invocation: Invocation): void {
    this.invocation = invocation
    this.connection.calls.add(this)
    this.socket.on('error', ignore)
  }

  // What the client sends.

  sendBody(): void {
    const { socket, invocation } = this
    socket.on('data', (chunk: Buffer) => {
      if (!this.over && !this.refusal && !invocation.write(chunk)) socket.pause()
    })
    socket.on('end', () => {
      if (this.upgraded) this.endSoftly()
      else invocation.endBody()
    })
  }

  resumeBody(): void {
    this.socket.resume()
  }

  // What the function answers.

  answerHead(status: number, headers: FlatHeaders): void {
    if (status !== 101) {
      this.invocation.endBody()
      this.refuse().answerHead(status, headers)
      return
    }
    let fields: ResponseFields
    try {
      fields = readResponseFields(headers, this.options.cookieHost)
    } catch (error) {
      this.invocation.abandon(error as HostelError, (error as HostelError).status)
      this.refuse().answerFailed(error as HostelError)
      return
    }
    this.upgraded = true
    this.invocation.upgraded(limits.webSocketMaxMs + limits.webSocketCloseGraceMs)
    this.lifetime = setTimeout(() => this.endSoftly(), limits.webSocketMaxMs)
    const { socket } = this
    socket.setTimeout(limits.webSocketIdleTimeoutMs)
    socket.once('timeout', () => this.endSoftly())
    this.write(Buffer.from(this.switching(fields.headers), 'latin1'), 0)
    if (this.ending || socket.readableEnded) this.endSoftly()
  }

  answerBody(chunk: Buffer): void {
    if (this.refusal) this.refusal.answerBody(chunk)
    else if (!this.over) {
      this.written += chunk.length
      this.write(chunk, chunk.length)
    }
  }

  answerEnd(): void {
    if (this.refusal) this.refusal.answerEnd()
    else if (!this.over) {
      this.finish()
      this.socket.end()
      this.socket.resume()
      destroyAfter(this.socket, limits.lingerMs)
    }
  }

  answerFailed(error: HostelError): void {
    if (this.over) return
    if (!this.upgraded) {
      this.refuse().answerFailed(error)
      return
    }
    // A WebSocket's end without a close frame tells the client that something is wrong; more can't be said in bytes we do not read.
    this.finish()
    this.socket.destroy()
  }

  gone(reason?: HostelError): void {
    if (this.over) return
    if (!this.upgraded) {
      this.over = true
      if (reason) this.invocation.abandon(reason, reason.status)
      else this.invocation.gone()
      return
    }
    this.over = true
    clearTimeout(this.lifetime)
    this.invocation.abandon(reason ?? new HostelError('cancelled'), 101)
  }

  get status(): number {
    return this.upgraded ? 101 : (this.refusal?.status ?? 0)
  }

  get sentBytes(): number {
    return this.refusal?.sentBytes ?? this.written
  }

  get begunAnswer(): boolean {
    return this.upgraded || (this.refusal?.begunAnswer ?? false)
  }

  /** Tells the function that nothing more comes, upon which its end closes in its protocol's way; the connection ends when it has, or after a while. */
  endSoftly(): void {
    this.ending = true
    if (this.over || this.refusal || !this.upgraded) return
    this.invocation.endBody()
    destroyAfter(this.socket, limits.webSocketCloseGraceMs)
  }

  /** Ends the connection at once. */
  cut(): void {
    this.socket.destroy()
  }

  private finish(): void {
    this.over = true
    clearTimeout(this.lifetime)
    this.socket.setTimeout(0)
    this.connection.calls.delete(this)
    this.invocation.delivered(101)
  }

  private refuse(): HttpCaller {
    this.connection.calls.delete(this)
    this.refusal = new HttpCaller(this.req, answerOn(this.req, this.socket), this.connection, this.options)
    this.refusal.begun(this.invocation)
    return this.refusal
  }

  private switching(headers: FlatHeaders): string {
    const accept = hash('sha1', this.key + ACCEPT_SALT, 'base64')
    let head = `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: ${accept}\r\nhostel-invocation: ${this.options.id}\r\n`
    for (let i = 0; i < headers.length; i += 2) if (headers[i] !== 'sec-websocket-accept') head += `${headers[i]}: ${headers[i + 1]}\r\n`
    return `${head}\r\n`
  }

  private write(chunk: Buffer, grantedBytes: number): void {
    if (this.socket.write(chunk)) {
      if (grantedBytes > 0) this.invocation.taken(grantedBytes)
      return
    }
    this.ungrantedBytes += grantedBytes
    if (this.awaitsDrain) return
    this.awaitsDrain = true
    this.socket.once('drain', () => {
      this.awaitsDrain = false
      const bytes = this.ungrantedBytes
      this.ungrantedBytes = 0
      this.invocation.taken(bytes)
    })
  }
}

function destroyAfter(socket: Socket, ms: number): void {
  const timer = setTimeout(() => socket.destroy(), ms)
  socket.once('close', () => clearTimeout(timer))
}

function ignore(): void {}
