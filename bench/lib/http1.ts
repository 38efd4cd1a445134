/**
 * A keep-alive HTTP/1.1 client that sends one fixed GET at a time and times each answer: leaner than node:http's, so
 * that what is measured is the server. Understands content-length and chunked answers, nothing else.
 */
import { connect, type Socket } from 'node:net'

export interface Answer {
  status: number
  body: string
  /** From the first byte written to the last byte read. */
  ms: number
  head: string
}

export class Http1Client {
  private readonly socket: Socket
  private received = ''
  private waiting: { resolve: (answer: Answer) => void; reject: (error: Error) => void; startedAt: number } | undefined

  private constructor(socket: Socket) {
    this.socket = socket
    socket.setNoDelay(true)
    socket.on('data', (chunk) => {
      this.received += chunk.toString('latin1')
      this.tryFinish()
    })
    const fail = (error: Error): void => {
      this.waiting?.reject(error)
      this.waiting = undefined
    }
    socket.on('error', fail)
    socket.on('close', () => fail(new Error('the server closed the connection')))
  }

  static open(host: string, port: number): Promise<Http1Client> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host, port }, () => resolve(new Http1Client(socket)))
      socket.once('error', reject)
    })
  }

  get(path: string, host: string): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.waiting) throw new Error('one request at a time')
      this.received = ''
      this.waiting = { resolve, reject, startedAt: performance.now() }
      this.socket.write(`GET ${path} HTTP/1.1\r\nhost: ${host}\r\n\r\n`)
    })
  }

  close(): void {
    this.waiting = undefined
    this.socket.destroy()
  }

  private tryFinish(): void {
    const waiting = this.waiting
    const headEnd = this.received.indexOf('\r\n\r\n')
    if (!waiting || headEnd < 0) return
    const head = this.received.slice(0, headEnd)
    const body = this.received.slice(headEnd + 4)
    const length = /\r\ncontent-length: *(\d+)/i.exec(head)
    const done = length ? body.length >= Number(length[1]) : body.endsWith('0\r\n\r\n')
    if (!done) return
    this.waiting = undefined
    waiting.resolve({ status: Number(head.slice(9, 12)), body, head, ms: performance.now() - waiting.startedAt })
  }
}
