/** For tests: a guest's end of the protocol in this process, which says exactly what it is told to, right or wrong. */
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import type { FlatHeaders, Frame, RequestMeta, SpecialiseMessage } from '../protocol.ts'
import { encodeFrame, FrameDecoder, frameFlags, frameTypes } from '../protocol.ts'

/** Two ends of a real Unix stream socket. */
export async function socketPair(): Promise<[Socket, Socket]> {
  const directory = await mkdtemp(join(tmpdir(), 'hostel-pair-'))
  const server = createServer({ pauseOnConnect: true })
  try {
    server.listen(join(directory, 's'))
    await once(server, 'listening')
    const far = connect(join(directory, 's'))
    const [near] = (await once(server, 'connection')) as [Socket]
    if (far.connecting) await once(far, 'connect')
    return [near, far]
  } finally {
    server.close()
    await rm(directory, { recursive: true, force: true })
  }
}

export interface ReceivedRequest {
  stream: number
  method: string
  url: string
  headers: FlatHeaders
  meta: RequestMeta
}

export interface Guest {
  readonly socket: Socket
  /** All frames received so far. */
  readonly frames: Frame[]
  readonly requests: ReceivedRequest[]
  /** Called for every frame received, after it was noted. */
  onFrame: (frame: Frame) => void
  /** Called for every REQUEST_HEAD. */
  onRequest: (request: ReceivedRequest) => void
  send(type: number, flags: number, stream: number, payload?: string | Uint8Array): void
  json(type: number, flags: number, stream: number, value: unknown): void
  /** A whole answer, settled. */
  answer(stream: number, status: number, body: string): void
  log(stream: number, level: number, text: string): void
  /** Waits for a frame of that type that was not waited for before. */
  next(type: number): Promise<Frame>
}

/** `manners`: answers HELLO, SPECIALISE and PING as a well-behaved shim does. */
export function createGuest(socket: Socket, options: { manners: boolean }): Guest {
  const decoder = new FrameDecoder()
  const unclaimed: Frame[] = []
  const waiting: { type: number; resolve: (frame: Frame) => void }[] = []
  const guest: Guest = {
    socket,
    frames: [],
    requests: [],
    onFrame() {},
    onRequest() {},
    send(type, flags, stream, payload) {
      if (!socket.destroyed) socket.write(encodeFrame(type, flags, stream, payload))
    },
    json(type, flags, stream, value) {
      guest.send(type, flags, stream, JSON.stringify(value))
    },
    answer(stream, status, body) {
      guest.json(frameTypes.RESPONSE_HEAD, 0, stream, [status, ['content-type', 'text/plain']])
      guest.send(frameTypes.RESPONSE_BODY, frameFlags.END | frameFlags.SETTLED, stream, body)
    },
    log(stream, level, text) {
      guest.send(frameTypes.LOG, 0, stream, Buffer.concat([Buffer.from([level]), Buffer.from(text)]))
    },
    async next(type) {
      const at = unclaimed.findIndex((frame) => frame.type === type)
      if (at >= 0) return unclaimed.splice(at, 1)[0]!
      const { promise, resolve } = Promise.withResolvers<Frame>()
      waiting.push({ type, resolve })
      return promise
    },
  }
  socket.on('error', () => {})
  socket.on('data', (chunk: Buffer) => decoder.push(chunk, receive))

  function receive(frame: Frame): void {
    guest.frames.push(frame)
    if (options.manners) behave(frame)
    if (frame.type === frameTypes.REQUEST_HEAD) {
      const [method, url, headers, meta] = JSON.parse(frame.payload.toString()) as [string, string, FlatHeaders, RequestMeta]
      const request = { stream: frame.stream, method, url, headers, meta }
      guest.requests.push(request)
      guest.onRequest(request)
    }
    guest.onFrame(frame)
    const at = waiting.findIndex((waiter) => waiter.type === frame.type)
    if (at >= 0) waiting.splice(at, 1)[0]!.resolve(frame)
    else unclaimed.push(frame)
  }

  function behave(frame: Frame): void {
    if (frame.type === frameTypes.HELLO) guest.json(frameTypes.READY, 0, 0, { protocol: 1, runtime: 'nodejs24', runtimeVersion: '24.0.0' })
    else if (frame.type === frameTypes.SPECIALISE) guest.json(frameTypes.SPECIALISED, 0, 0, { contract: 'fetch' })
    else if (frame.type === frameTypes.PING) guest.send(frameTypes.PONG, 0, 0, frame.payload)
  }
  return guest
}

/** What SPECIALISE carries in tests. */
export const specialiseMessage: SpecialiseMessage = {
  tenant: 'default',
  function: 'hello',
  version: 1,
  handler: 'index.ts',
  env: {},
  memoryMiB: 256,
  timeoutMs: 5_000,
  concurrency: 10,
}
