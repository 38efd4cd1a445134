/** A host for the Node shim's own tests: starts it beside its code, without a sandbox, and speaks the protocol with it. */
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

import { FrameDecoder, encodeFrame, frameFlags, frameTypes, type GuestError } from '../../src/sandbox/protocol.ts'

const WAIT_MS = 15_000
const LEVELS = ['', 'stdout', 'stderr', 'debug', 'info', 'warn', 'error']

export interface Answer {
  status: number
  headers: string[]
  body: string
  error: GuestError | null
  /** `stream level text` of every line so far that was written in this request. */
  lines: string[]
}

interface Call extends Answer {
  chunks: Buffer[]
  settled: PromiseWithResolvers<void>
}

export class Shim implements AsyncDisposable {
  readonly exited: Promise<number | string | null>
  /** `level text` of lines outside requests. */
  readonly lines: string[] = []
  contract = ''
  initError: GuestError | null = null
  private readonly child: ChildProcess
  private readonly socket: Socket
  private readonly root: string
  private readonly calls = new Map<number, Call>()
  private readonly ready = Promise.withResolvers<void>()
  private readonly specialised = Promise.withResolvers<void>()
  private nextStream = 1

  constructor(files: Record<string, string>) {
    this.root = mkdtempSync(join(tmpdir(), 'hostel-shim-'))
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(this.root, name)), { recursive: true })
      writeFileSync(join(this.root, name), text)
    }
    this.child = spawn(process.execPath, [join(import.meta.dirname, '../../guest/node/shim.mjs'), this.root], {
      stdio: ['ignore', 'inherit', 'inherit', 'pipe', 'pipe'],
      env: { PATH: process.env['PATH'] },
    })
    this.socket = this.child.stdio[3] as Socket
    this.socket.on('error', () => {})
    const decoder = new FrameDecoder()
    this.socket.on('data', (chunk: Buffer) => decoder.push(chunk, ({ type, flags, stream, payload }) => this.receive(type, flags, stream, payload)))
    this.exited = new Promise((resolve) => this.child.once('exit', (code, signal) => resolve(code ?? signal)))
  }

  /** A shim with a version in it; `initError` is set when that failed. */
  static async start(files: Record<string, string>, handler = Object.keys(files)[0]!, env: Record<string, string> = {}): Promise<Shim> {
    const shim = new Shim(files)
    shim.socket.write(encodeFrame(frameTypes.HELLO, 0, 0, JSON.stringify({ protocol: 1 })))
    await shim.within(shim.ready.promise)
    shim.socket.write(
      encodeFrame(
        frameTypes.SPECIALISE,
        0,
        0,
        JSON.stringify({ tenant: 'acme', function: 'orders', version: 7, handler, env, memoryMiB: 256, timeoutMs: 5_000, concurrency: 10 }),
      ),
    )
    await shim.within(shim.specialised.promise)
    return shim
  }

  /** Sends a request and waits for it to settle, or for the shim's exit. */
  async call(
    path = '/',
    options: { method?: string; body?: string | Buffer; headers?: string[]; event?: true; onStart?: (stream: number) => void } = {},
  ): Promise<Answer> {
    const stream = this.nextStream++
    const call: Call = { status: 0, headers: [], body: '', error: null, lines: [], chunks: [], settled: Promise.withResolvers() }
    this.calls.set(stream, call)
    const { body, method = body === undefined ? 'GET' : 'POST', headers = [], event } = options
    this.socket.write(
      encodeFrame(
        frameTypes.REQUEST_HEAD,
        body === undefined ? frameFlags.END : 0,
        stream,
        JSON.stringify([method, `http://orders.test${path}`, headers, { id: `id-${stream}`, deadlineMs: 5_000, ...(event && { event }) }]),
      ),
    )
    if (body !== undefined) this.socket.write(encodeFrame(frameTypes.REQUEST_BODY, frameFlags.END, stream, body))
    options.onStart?.(stream)
    await this.within(Promise.race([call.settled.promise, this.exited]))
    return call
  }

  cancel(stream: number, reason = 'disconnect'): void {
    this.socket.write(encodeFrame(frameTypes.CANCEL, 0, stream, JSON.stringify({ reason })))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill('SIGKILL')
    await this.exited
    rmSync(this.root, { recursive: true, force: true })
  }

  private receive(type: number, flags: number, stream: number, payload: Buffer): void {
    const call = this.calls.get(stream)
    if (type === frameTypes.READY) this.ready.resolve()
    else if (type === frameTypes.SPECIALISED) {
      this.contract = (JSON.parse(payload.toString()) as { contract: string }).contract
      this.specialised.resolve()
    } else if (type === frameTypes.INIT_FAILED) {
      this.initError = JSON.parse(payload.toString()) as GuestError
      this.specialised.resolve()
    } else if (type === frameTypes.LOG) (call?.lines ?? this.lines).push(`${LEVELS[payload[0]!]} ${payload.toString('utf8', 1)}`)
    else if (type === frameTypes.RESPONSE_HEAD) [call!.status, call!.headers] = JSON.parse(payload.toString()) as [number, string[]]
    else if (type === frameTypes.RESPONSE_BODY) {
      call!.chunks.push(Buffer.from(payload))
      const credit = Buffer.alloc(4)
      credit.writeUInt32BE(payload.length)
      if (payload.length > 0) this.socket.write(encodeFrame(frameTypes.CREDIT, 0, stream, credit))
    } else if (type === frameTypes.RESPONSE_ERROR) call!.error = JSON.parse(payload.toString()) as GuestError
    if (flags & frameFlags.SETTLED || type === frameTypes.SETTLED) {
      call!.body = Buffer.concat(call!.chunks).toString()
      call!.settled.resolve()
    }
  }

  private async within(promise: Promise<unknown>): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(`nothing within ${WAIT_MS} ms`)), WAIT_MS)))
    const gone = this.exited.then((code) => {
      if (!this.contract) throw new Error(`the shim exited with ${code}`)
    })
    gone.catch(() => {})
    try {
      await Promise.race([promise, late, gone])
    } finally {
      clearTimeout(timer)
    }
  }
}
