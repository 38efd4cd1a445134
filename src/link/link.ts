/** Typed messages over one byte stream between gateway and control: length-prefixed JSON, events and calls in both directions. */
import type { Socket } from 'node:net'

import { HostelError } from '../errors.ts'
import type { LinkCalls, LinkEvents } from './messages.ts'

/** One message; both ends are ours, so a longer one is a fault of ours. */
const MESSAGE_MAX_BYTES = 256 * 1024 * 1024

type EventHandlers = { [K in keyof LinkEvents]?: (payload: LinkEvents[K]) => void }
type CallHandlers = { [K in keyof LinkCalls]?: (params: LinkCalls[K]['params']) => Promise<LinkCalls[K]['result']> }

type Wire =
  | { kind: 'event'; name: string; payload: unknown }
  | { kind: 'call'; id: number; name: string; params: unknown }
  | { kind: 'result'; id: number; value?: unknown; error?: { code: string; message: string } }

/** One end of the link, for as long as its stream lives; a new stream gets a new `Link`. */
export class Link {
  /** Settles when the stream has ended, for whatever reason. */
  readonly closed: Promise<void>
  private readonly socket: Socket
  private readonly pending = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>()
  private nextId = 1
  private held: Buffer[] = []
  private heldBytes = 0

  constructor(socket: Socket, handlers: { events?: EventHandlers; calls?: CallHandlers }) {
    this.socket = socket
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        const gone = new HostelError('unavailable', 'the other side of the link is gone')
        for (const { reject } of this.pending.values()) reject(gone)
        this.pending.clear()
        resolve()
      })
    })
    // 'close' follows 'error', and is where ends are handled.
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => {
      this.receive(chunk, (message) => this.dispatch(message, handlers))
    })
    socket.resume()
  }

  /** Sends an event. Silently lost when the stream is gone: the next link starts with a full table. */
  emit<K extends keyof LinkEvents>(name: K, payload: LinkEvents[K]): void {
    this.send({ kind: 'event', name, payload })
  }

  /** @throws HostelError `unavailable` when the stream goes or the deadline passes before the answer. */
  async call<K extends keyof LinkCalls>(name: K, params: LinkCalls[K]['params'], options: { timeoutMs: number }): Promise<LinkCalls[K]['result']> {
    if (this.socket.destroyed) throw new HostelError('unavailable', 'the other side of the link is gone')
    const id = this.nextId++
    const { promise, resolve, reject } = Promise.withResolvers<unknown>()
    const timer = setTimeout(() => {
      this.pending.delete(id)
      reject(new HostelError('unavailable', `no answer to ${name} within ${options.timeoutMs} ms`))
    }, options.timeoutMs)
    this.pending.set(id, { resolve, reject })
    this.send({ kind: 'call', id, name, params })
    try {
      return (await promise) as LinkCalls[K]['result']
    } finally {
      clearTimeout(timer)
    }
  }

  close(): void {
    this.socket.destroy()
  }

  private send(message: Wire): void {
    if (this.socket.destroyed) return
    const body = Buffer.from(JSON.stringify(message))
    const head = Buffer.allocUnsafe(4)
    head.writeUInt32BE(body.length)
    this.socket.cork()
    this.socket.write(head)
    this.socket.write(body)
    this.socket.uncork()
  }

  private receive(chunk: Buffer, onMessage: (message: Wire) => void): void {
    this.held.push(chunk)
    this.heldBytes += chunk.length
    while (this.heldBytes >= 4) {
      // A head may lie across chunks; only then is joining needed to read it.
      if (this.held[0]!.length < 4) this.held = [Buffer.concat(this.held, this.heldBytes)]
      const length = this.held[0]!.readUInt32BE(0)
      if (length > MESSAGE_MAX_BYTES) {
        this.socket.destroy(new Error(`link message of ${length} bytes`))
        return
      }
      if (this.heldBytes < 4 + length) return
      const all = this.held.length === 1 ? this.held[0]! : Buffer.concat(this.held, this.heldBytes)
      const body = all.subarray(4, 4 + length)
      const rest = all.subarray(4 + length)
      this.held = rest.length > 0 ? [rest] : []
      this.heldBytes = rest.length
      onMessage(JSON.parse(body.toString()) as Wire)
    }
  }

  private dispatch(message: Wire, handlers: { events?: EventHandlers; calls?: CallHandlers }): void {
    if (message.kind === 'event') {
      const handler = handlers.events?.[message.name as keyof LinkEvents] as ((payload: unknown) => void) | undefined
      handler?.(message.payload)
      return
    }
    if (message.kind === 'call') {
      const handler = handlers.calls?.[message.name as keyof LinkCalls] as ((params: unknown) => Promise<unknown>) | undefined
      void this.answer(message.id, message.name, handler, message.params)
      return
    }
    const waiting = this.pending.get(message.id)
    if (!waiting) return
    this.pending.delete(message.id)
    if (message.error) waiting.reject(new HostelError('unavailable', message.error.message))
    else waiting.resolve(message.value)
  }

  private async answer(id: number, name: string, handler: ((params: unknown) => Promise<unknown>) | undefined, params: unknown): Promise<void> {
    try {
      if (!handler) throw new Error(`this side answers no ${name}`)
      this.send({ kind: 'result', id, value: await handler(params) })
    } catch (error) {
      this.send({ kind: 'result', id, error: { code: 'internal', message: error instanceof Error ? error.message : String(error) } })
    }
  }
}
