/** The access log: a line for each request, in the Combined Log Format or as JSON, written in batches beside the requests' way. */
import { write } from 'node:fs'
import type { EventEmitter } from 'node:events'
import type { IncomingMessage } from 'node:http'

import { limits } from '../limits.ts'
import type { Connection } from './connections.ts'

export type AccessLogFormat = 'combined' | 'json'

export interface AccessLog {
  /** Notes a request for the line that is written when its answer (or its connection) closes. What became of it is told with the function that this returns. */
  watch(req: IncomingMessage, answer: EventEmitter, connection: Connection, id: string): (outcome: Outcome) => void
  /** Resolves when all has been written. */
  flush(): Promise<void>
}

/** Read when the answer is over. */
export interface Outcome {
  /** 0: there was none. */
  readonly status: number
  /** Of the answer's body, as far as they have been sent. */
  readonly sentBytes: number
}

/** Lines wait this long for others. */
const DELAY_MS = 200
/** Bytes that are written at once, as soon as there are so many. */
const BATCH_BYTES = 64 * 1024
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

interface Entry {
  atMs: number
  client: string
  method: string
  target: string
  protocol: string
  status: number
  bytes: number
  durationMs: number
  referer: string
  userAgent: string
  host: string
  invocation: string
}

/** `fd` is open for appending; it is never closed. */
export function createAccessLog(fd: number, format: AccessLogFormat, clientOf: (req: IncomingMessage, connection: Connection) => string): AccessLog {
  let waiting: string[] = []
  let waitingBytes = 0
  let dropped = 0
  let timer: NodeJS.Timeout | undefined
  let writing = false
  const onIdle: (() => void)[] = []

  const start = (): void => {
    clearTimeout(timer)
    timer = undefined
    if (writing || waiting.length === 0) return
    if (dropped > 0) waiting.push(format === 'json' ? `${JSON.stringify({ dropped })}\n` : `# ${dropped} lines dropped\n`)
    const batch = Buffer.from(waiting.join(''))
    waiting = []
    waitingBytes = dropped = 0
    writing = true
    writeAll(batch)
  }
  const writeAll = (batch: Buffer): void => {
    write(fd, batch, (error, written) => {
      if (!error && written < batch.length) {
        writeAll(batch.subarray(written))
        return
      }
      // A full disk costs lines, never requests.
      writing = false
      if (waiting.length > 0) start()
      else for (const resolve of onIdle.splice(0)) resolve()
    })
  }
  const add = (entry: Entry): void => {
    const line = format === 'json' ? jsonLine(entry) : combinedLine(entry)
    if (waitingBytes + line.length > limits.accessLogBufferBytes) {
      dropped++
      return
    }
    waiting.push(line)
    waitingBytes += line.length
    if (waitingBytes > BATCH_BYTES) start()
    else timer ??= setTimeout(start, DELAY_MS)
  }

  return {
    watch(req, answer, connection, id) {
      const atMs = Date.now()
      const startedAt = performance.now()
      let outcome: Outcome = { status: 0, sentBytes: 0 }
      answer.once('close', () => {
        add({
          atMs,
          client: clientOf(req, connection),
          method: req.method ?? '-',
          target: req.url ?? '-',
          protocol: `HTTP/${req.httpVersion}`,
          // Nginx's word for a client that left before the answer.
          status: outcome.status || 499,
          bytes: outcome.sentBytes,
          durationMs: Math.round(performance.now() - startedAt),
          referer: req.headers.referer ?? '',
          userAgent: req.headers['user-agent'] ?? '',
          host: req.headers.host ?? String(req.headers[':authority'] ?? ''),
          invocation: id,
        })
      })
      return (known) => (outcome = known)
    },
    async flush() {
      start()
      if (!writing) return
      const { promise, resolve } = Promise.withResolvers<void>()
      onIdle.push(resolve)
      await promise
    },
  }
}

/** As Apache and nginx write it. */
function combinedLine(entry: Entry): string {
  return `${entry.client} - - [${clfTime(entry.atMs)}] "${quoted(`${entry.method} ${entry.target} ${entry.protocol}`)}" ${entry.status} ${entry.bytes} "${quoted(entry.referer) || '-'}" "${quoted(entry.userAgent) || '-'}"\n`
}

function jsonLine({ atMs, ...entry }: Entry): string {
  return `${JSON.stringify({ time: new Date(atMs).toISOString(), ...entry })}\n`
}

function clfTime(atMs: number): string {
  const time = new Date(atMs)
  const two = (value: number): string => String(value).padStart(2, '0')
  return `${two(time.getUTCDate())}/${MONTHS[time.getUTCMonth()]}/${time.getUTCFullYear()}:${two(time.getUTCHours())}:${two(time.getUTCMinutes())}:${two(time.getUTCSeconds())} +0000`
}

/** What a client sends must not end a field or a line. */
function quoted(text: string): string {
  // oxlint-disable-next-line no-control-regex -- they are what is looked for
  return text.replaceAll(/["\\\x00-\x1f\x7f-\uffff]/g, (char) =>
    char === '"' || char === '\\' ? `\\${char}` : `\\x${(char.charCodeAt(0) & 0xff).toString(16).padStart(2, '0')}`,
  )
}
