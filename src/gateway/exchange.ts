/** One HTTP request and its answer, as the caller of an invocation: streams both ways, each at the pace of the slower side. */
import type { IncomingMessage, ServerResponse } from 'node:http'

import { HostelError } from '../errors.ts'
import type { Caller, Invocation } from '../invocations/invocation.ts'
import { limits } from '../limits.ts'
import type { FlatHeaders } from '../sandbox/protocol.ts'
import type { Connection } from './connections.ts'
import type { ResponseFields } from './headers.ts'
import { readResponseFields } from './headers.ts'
import { sendProblem } from './problem.ts'

/** What the edge has found out about a request before it called a function. */
export interface HttpCallOptions {
  /** The invocation's id. */
  id: string
  hasBody: boolean
  /** Largest request body taken. */
  bodyMaxBytes: number
  /** The client waits for `100 Continue` before it sends its body. */
  expectsContinue: boolean
  /** The host whose cookies the function may set; null where it shares one. */
  cookieHost: string | null
  /** Whether the connection is to be closed after this answer. */
  isDraining(): boolean
}

/** Above this, copying a body costs more than it saves. */
const JOINED_BODY_MAX_BYTES = 8 * 1024

/** Statuses without a body (RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5). */
function hasNoBody(status: number): boolean {
  return status === 204 || status === 205 || status === 304
}

export class HttpCaller implements Caller {
  protected readonly req: IncomingMessage
  protected readonly res: ServerResponse
  protected readonly connection: Connection
  protected readonly options: HttpCallOptions
  protected invocation!: Invocation
  /** As sent, or about to be. */
  status = 0
  /** The answer's head, until it is sent: with the body's first bytes where those come in the same turn. */
  private heldHead: ResponseFields | null = null
  private heldBody: Buffer | null = null
  /** As declared by the function, for an answer with a body. */
  private declaredBytes: number | null = null
  /** Of the body. */
  sentBytes = 0
  private bodyless = false
  /** Bytes that wait for the client to read on before the function gets credit for more. */
  private ungrantedBytes = 0
  private awaitsDrain = false
  /** Nothing more is to be sent, or listened to. */
  protected over = false

  constructor(req: IncomingMessage, res: ServerResponse, connection: Connection, options: HttpCallOptions) {
    this.req = req
    this.res = res
    this.connection = connection
    this.options = options
  }

  begun(invocation: Invocation): void {
    this.invocation = invocation
    this.connection.calls.add(this)
    // Writing to a connection that has just gone is no fault of ours; its end is noticed on the connection.
    this.res.on('error', ignore)
    this.res.on('finish', () => this.finished())
  }

  // The request.

  sendBody(): void {
    const { req, res, invocation, options } = this
    if (options.expectsContinue) res.writeContinue()
    let bytes = 0
    req.on('error', ignore)
    req.on('data', (chunk: Buffer) => {
      if (this.over) return
      bytes += chunk.length
      if (bytes > options.bodyMaxBytes) this.refuse(new HostelError('request_too_large', `more than ${options.bodyMaxBytes} bytes`))
      else if (!invocation.write(chunk)) req.pause()
    })
    req.on('end', () => invocation.endBody())
  }

  resumeBody(): void {
    this.req.resume()
  }

  // The answer.

  answerHead(status: number, headers: FlatHeaders): void {
    this.status = status
    try {
      this.heldHead = readResponseFields(headers, this.options.cookieHost)
    } catch (error) {
      this.refuse(error as HostelError)
      return
    }
    this.bodyless = this.req.method === 'HEAD' || hasNoBody(status)
    if (!this.bodyless) this.declaredBytes = this.heldHead.contentLength
    hold(this)
  }

  answerBody(chunk: Buffer): void {
    if (this.over) return
    if (this.bodyless) {
      this.invocation.taken(chunk.length)
      return
    }
    this.sentBytes += chunk.length
    // Not one byte over the declared length may leave: the client would read it as the next answer.
    if (this.declaredBytes !== null && this.sentBytes > this.declaredBytes) this.refuse(wrongLength(this.declaredBytes, 'more'))
    else if (this.heldHead && !this.heldBody) this.heldBody = chunk
    else {
      this.flush()
      this.write(chunk)
    }
  }

  answerEnd(): void {
    if (this.over) return
    if (this.declaredBytes !== null && this.sentBytes < this.declaredBytes) {
      this.refuse(wrongLength(this.declaredBytes, 'fewer'))
      return
    }
    if (!this.heldHead) {
      this.res.end()
      return
    }
    const body = this.heldBody
    this.heldBody = null
    if (!this.bodyless) this.heldHead.contentLength ??= this.sentBytes
    this.writeHead(this.heldHead)
    // As text, Node joins it to the head: one buffer for the kernel instead of three, a tenth of the CPU of a small answer.
    if (body && body.length <= JOINED_BODY_MAX_BYTES) this.res.end(body.toString('latin1'), 'latin1')
    else if (body) this.res.end(body)
    else this.res.end()
  }

  answerFailed(error: HostelError): void {
    if (this.over) return
    if (this.res.headersSent) {
      // Half an answer: the client must not take it for a whole one.
      this.invocation.delivered(this.status)
      this.breakOff()
      return
    }
    this.problem(error)
  }

  /** The connection is gone, or is about to be for this reason. */
  gone(reason?: HostelError): void {
    this.over = true
    if (reason) this.invocation.abandon(reason, reason.status)
    else this.invocation.gone()
  }

  /** Whether bytes of this answer may have left already. */
  get begunAnswer(): boolean {
    return this.res.headersSent
  }

  /** Sends what is held back. */
  flush(): void {
    const held = this.heldHead
    if (!held || this.over) return
    this.writeHead(held)
    const body = this.heldBody
    this.heldBody = null
    if (body) this.write(body)
    else this.res.flushHeaders()
  }

  private writeHead({ headers, contentLength }: ResponseFields): void {
    this.heldHead = null
    headers.push('hostel-invocation', this.options.id)
    // 204 can't have a length, 205 can't be without one (RFC 9110, sections 8.6 and 15.3.6).
    if (this.status === 205) headers.push('content-length', '0')
    else if (contentLength !== null && this.status !== 204) headers.push('content-length', String(contentLength))
    this.sendHead(this.status, headers)
  }

  protected sendHead(status: number, headers: FlatHeaders): void {
    if (this.options.isDraining()) headers.push('connection', 'close')
    this.res.writeHead(status, headers)
  }

  private write(chunk: Buffer): void {
    if (this.res.write(chunk)) {
      this.invocation.taken(chunk.length)
      return
    }
    this.ungrantedBytes += chunk.length
    if (this.awaitsDrain) return
    this.awaitsDrain = true
    this.res.once('drain', () => {
      this.awaitsDrain = false
      const bytes = this.ungrantedBytes
      this.ungrantedBytes = 0
      this.invocation.taken(bytes)
    })
  }

  /** The request's or the answer's own fault, found here. */
  private refuse(error: HostelError): void {
    const begun = this.res.headersSent
    this.invocation.abandon(error, begun ? this.status : error.status)
    if (begun) this.breakOff()
    else this.problem(error)
  }

  private problem(error: HostelError): void {
    this.over = true
    this.heldHead = null
    this.heldBody = null
    this.status = error.status
    this.sendProblem(error)
  }

  protected sendProblem(error: HostelError): void {
    sendProblem(this.res, error, this.options.id, this.options.isDraining())
  }

  protected finished(): void {
    this.over = true
    this.connection.calls.delete(this)
    this.invocation.delivered(this.status)
    this.discard()
  }

  /** What still comes of the request is not wanted. */
  protected discard(): void {
    discardBody(this.req)
  }

  private breakOff(): void {
    this.over = true
    this.connection.calls.delete(this)
    this.cut()
  }

  /** Ends the answer so that nobody takes it for whole. */
  protected cut(): void {
    const { socket } = this.req
    // Before HTTP/1.1 the end of the connection is the end of the answer, so only a reset tells that it is not whole.
    if (this.req.httpVersionMinor === 0 && this.declaredBytes === null) socket.resetAndDestroy()
    else socket.destroy()
  }
}

/** Those whose head is held back until the end of this turn of the event loop. */
let holding: HttpCaller[] = []

function hold(caller: HttpCaller): void {
  if (holding.push(caller) === 1) process.nextTick(flushAll)
}

function flushAll(): void {
  const callers = holding
  holding = []
  for (const caller of callers) caller.flush()
}

function ignore(): void {}

/** For an answer that came before the end of the body: that is read on for a while, so that the client can read the answer. */
export function discardBody(req: IncomingMessage): void {
  if (req.complete) return
  req.removeAllListeners('data')
  req.resume()
  const timer = setTimeout(() => req.socket.destroy(), limits.lingerMs)
  req.once('close', () => clearTimeout(timer))
}

function wrongLength(declaredBytes: number, what: 'more' | 'fewer'): HostelError {
  return new HostelError('invalid_response', undefined, { facts: { rule: `the answer has ${what} bytes than its content-length of ${declaredBytes}` } })
}
