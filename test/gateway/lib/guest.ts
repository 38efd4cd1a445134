/** A guest in this process: speaks the sandbox protocol over a real socket, and answers each request with a handler of the test's. */
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { limits } from '../../../src/limits.ts'
import { encodeFrame, FrameDecoder, frameFlags, frameTypes } from '../../../src/sandbox/protocol.ts'
import type { FlatHeaders, Frame, RequestMeta } from '../../../src/sandbox/protocol.ts'

export interface GuestRequest {
  method: string
  url: string
  headers: FlatHeaders
  meta: RequestMeta
  /** First value of a field. */
  header(name: string): string | undefined
  /** Gives credit as it is read. */
  body(): AsyncGenerator<Buffer>
  /** Resolves with the reason when the host gives up; the request has settled by then. */
  cancelled: Promise<string>
}

export interface GuestAnswer {
  head(status: number, headers?: FlatHeaders, flags?: number): void
  /** Waits for credit. */
  body(chunk: Buffer | string, flags?: number): Promise<void>
  error(error: { kind: string; name: string; message: string; file?: string; line?: number }): void
  settled(): void
  /** Cuts the stream, as a process that dies does. */
  die(): void
}

export type GuestHandler = (request: GuestRequest, answer: GuestAnswer) => unknown

/** Both ends of a Unix stream connection. */
export async function socketPair(): Promise<[Socket, Socket]> {
  const directory = await mkdtemp(join(tmpdir(), 'hostel-pair-'))
  const path = join(directory, 's')
  const server = createServer({ pauseOnConnect: true })
  const accepted = Promise.withResolvers<Socket>()
  server.once('connection', accepted.resolve)
  await new Promise<void>((resolve) => server.listen(path, resolve))
  const dialled = connect(path)
  const other = await accepted.promise
  server.close()
  await rm(directory, { recursive: true })
  return [dialled, other]
}

interface Stream {
  chunks: Buffer[]
  ended: boolean
  wake: () => void
  creditBytes: number
  onCredit: () => void
  cancel: (reason: string) => void
}

/** Serves the guest's end until the socket closes. */
export function serveGuest(socket: Socket, handler: GuestHandler): void {
  const decoder = new FrameDecoder()
  const streams = new Map<number, Stream>()
  const send = (type: number, flags: number, stream: number, payload?: Buffer | string): void => void socket.write(encodeFrame(type, flags, stream, payload))
  socket.on('error', () => {})
  socket.on('data', (chunk: Buffer) => decoder.push(Buffer.from(chunk), onFrame))
  socket.resume()

  function onFrame({ type, flags, stream, payload }: Frame): void {
    const known = streams.get(stream)
    if (type === frameTypes.HELLO) send(frameTypes.READY, 0, 0, JSON.stringify({ protocol: 1, runtime: 'test', runtimeVersion: '1' }))
    else if (type === frameTypes.SPECIALISE) send(frameTypes.SPECIALISED, 0, 0, JSON.stringify({ contract: 'fetch' }))
    else if (type === frameTypes.PING) send(frameTypes.PONG, 0, 0, payload)
    else if (type === frameTypes.REQUEST_HEAD) begin(stream, JSON.parse(payload.toString()), (flags & frameFlags.END) !== 0)
    else if (type === frameTypes.REQUEST_BODY && known) {
      if (payload.length > 0) known.chunks.push(payload)
      if (flags & frameFlags.END) known.ended = true
      known.wake()
    } else if (type === frameTypes.CREDIT && known) {
      known.creditBytes += payload.readUInt32BE(0)
      known.onCredit()
    } else if (type === frameTypes.CANCEL && known) {
      send(frameTypes.RESPONSE_ERROR, frameFlags.SETTLED, stream, JSON.stringify({ kind: 'handler', name: 'AbortError', message: 'cancelled' }))
      streams.delete(stream)
      known.cancel((JSON.parse(payload.toString()) as { reason: string }).reason)
    }
  }

  function begin(id: number, [method, url, headers, meta]: [string, string, FlatHeaders, RequestMeta], ended: boolean): void {
    const cancelled = Promise.withResolvers<string>()
    const stream: Stream = { chunks: [], ended, wake() {}, creditBytes: limits.streamWindowBytes, onCredit() {}, cancel: cancelled.resolve }
    streams.set(id, stream)
    const request: GuestRequest = {
      method,
      url,
      headers,
      meta,
      cancelled: cancelled.promise,
      header(name) {
        const at = headers.findIndex((value, index) => index % 2 === 0 && value === name)
        return at < 0 ? undefined : headers[at + 1]
      },
      async *body() {
        for (;;) {
          const chunk = stream.chunks.shift()
          if (chunk) {
            yield chunk
            const credit = Buffer.alloc(4)
            credit.writeUInt32BE(chunk.length)
            if (streams.has(id)) send(frameTypes.CREDIT, 0, id, credit)
          } else if (stream.ended) return
          else await new Promise<void>((resolve) => (stream.wake = resolve))
        }
      },
    }
    const done = (flags: number): void => {
      if (flags & frameFlags.SETTLED) streams.delete(id)
    }
    const answer: GuestAnswer = {
      head(status, answerHeaders = [], answerFlags = 0) {
        if (streams.has(id)) send(frameTypes.RESPONSE_HEAD, answerFlags, id, JSON.stringify([status, answerHeaders]))
        done(answerFlags)
      },
      async body(chunk, answerFlags = 0) {
        let rest = Buffer.from(chunk)
        while (rest.length > limits.framePayloadMaxBytes || rest.length > stream.creditBytes) {
          const part = rest.subarray(0, Math.min(limits.framePayloadMaxBytes, stream.creditBytes))
          if (part.length === 0) await new Promise<void>((resolve) => (stream.onCredit = resolve))
          else {
            stream.creditBytes -= part.length
            rest = rest.subarray(part.length)
            if (streams.has(id)) send(frameTypes.RESPONSE_BODY, 0, id, part)
          }
        }
        stream.creditBytes -= rest.length
        if (streams.has(id)) send(frameTypes.RESPONSE_BODY, answerFlags, id, rest)
        done(answerFlags)
      },
      error(error) {
        send(frameTypes.RESPONSE_ERROR, frameFlags.SETTLED, id, JSON.stringify(error))
        streams.delete(id)
      },
      settled() {
        send(frameTypes.SETTLED, frameFlags.SETTLED, id)
        streams.delete(id)
      },
      die() {
        socket.destroy()
      },
    }
    void handler(request, answer)
  }
}
