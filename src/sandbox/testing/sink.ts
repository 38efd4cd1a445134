/** For tests: a sink that notes what it hears, and lets a test wait for it. */
import type { HostelError } from '../../errors.ts'
import type { ExchangeSink, RequestHead } from '../exchange.ts'
import type { FlatHeaders, GuestError } from '../protocol.ts'

export class NotingSink implements ExchangeSink {
  readonly calls: string[] = []
  status = 0
  headers: FlatHeaders = []
  readonly chunks: Buffer[] = []
  bodyBytes = 0
  error: HostelError | null = null
  guestError: GuestError | undefined
  drains = 0
  onBody: (chunk: Buffer) => void = () => {}
  onDrain: () => void = () => {}
  readonly ended: Promise<void>
  readonly done: Promise<void>
  private resolveEnded!: () => void
  private resolveDone!: () => void

  constructor() {
    this.ended = new Promise((resolve) => (this.resolveEnded = resolve))
    this.done = new Promise((resolve) => (this.resolveDone = resolve))
  }

  get text(): string {
    return Buffer.concat(this.chunks).toString()
  }

  head(status: number, headers: FlatHeaders): void {
    this.calls.push('head')
    this.status = status
    this.headers = headers
  }

  body(chunk: Buffer): void {
    if (this.calls.at(-1) !== 'body') this.calls.push('body')
    this.chunks.push(chunk)
    this.bodyBytes += chunk.length
    this.onBody(chunk)
  }

  end(): void {
    this.calls.push('end')
    this.resolveEnded()
  }

  failed(error: HostelError, guest?: GuestError): void {
    this.calls.push('failed')
    this.error = error
    this.guestError = guest
    this.resolveEnded()
  }

  drain(): void {
    this.drains++
    this.onDrain()
  }

  settled(): void {
    this.calls.push('settled')
    this.resolveDone()
  }
}

export function requestHead(fields: Partial<RequestHead> & { id?: string } = {}): RequestHead {
  const { id = '0190-test', ...rest } = fields
  return {
    method: 'GET',
    url: 'http://hello.default.localhost/',
    headers: ['host', 'hello.default.localhost'],
    meta: { id, deadlineMs: 5_000 },
    endStream: true,
    ...rest,
  }
}
