/** Typed messages over one byte stream between gateway and control: length-prefixed JSON, events and calls in both directions. */
import type { Socket } from 'node:net'

import { HostelError } from '../errors.ts'
import type { LinkCalls, LinkEvents } from './messages.ts'

/** One message; both ends are ours, so a longer one is a fault of ours. */
const MESSAGE_MAX_BYTES = 256 * 1024 * 1024

const RAW_CALL_START = /^\{"kind":"call","id":(\d{1,16}),"name":"(\w{1,32})","params":/
const RAW_CALL_START_MAX_BYTES = 128

type EventHandlers = { [K in keyof LinkEvents]?: (payload: LinkEvents[K]) => void }
type CallHandlers = { [K in keyof LinkCalls]?: (params: LinkCalls[K]['params']) => Promise<LinkCalls[K]['result']> }
/** Handlers that get the parameters as the bytes of their JSON, for those that another thread parses. */
type RawCallHandlers = { [K in keyof LinkCalls]?: (json: Buffer) => Promise<LinkCalls[K]['result']> }

interface Handlers {
  events?: EventHandlers
  calls?: CallHandlers
  rawCalls?: RawCallHandlers
}

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

  constructor(socket: Socket, handlers: Handlers) {
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
      this.receive(chunk, (body) => {
        if (!handlers.rawCalls || !this.dispatchRaw(body, handlers.rawCalls)) this.dispatch(JSON.parse(body.toString()) as Wire, handlers)
      })
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

  /** Resolves once the stream takes more, or is gone. */
  async drained(): Promise<void> {
    const { socket } = this
    if (socket.destroyed || !socket.writableNeedDrain) return
    const { promise, resolve } = Promise.withResolvers<void>()
    socket.once('drain', resolve)
    socket.once('close', resolve)
    await promise
    socket.off('drain', resolve)
    socket.off('close', resolve)
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

  private receive(chunk: Buffer, onMessage: (body: Buffer) => void): void {
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
      onMessage(body)
    }
  }

  /** Whether it was a call for one of these. Calls are told by how `send` writes them: parameters last. */
  private dispatchRaw(body: Buffer, handlers: RawCallHandlers): boolean {
    const start = RAW_CALL_START.exec(body.toString('latin1', 0, RAW_CALL_START_MAX_BYTES))
    const handler = start ? handlers[start[2] as keyof LinkCalls] : undefined
    if (!start || !handler) return false
    void this.answer(Number(start[1]), start[2]!, (json) => handler(json as Buffer), body.subarray(start[0].length, body.length - 1))
    return true
  }

  private dispatch(message: Wire, handlers: Handlers): void {
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
