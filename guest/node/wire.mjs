/**
 * The stream to the host (docs/reference/sandbox-protocol.md): frames in, frames out.
 * Reading goes through a Socket, which knows how to wait. Writing does not: what one turn of the event loop has to say
 * is gathered in one buffer and given to the kernel with one write(2); only what it will not take goes through the Socket.
 */
import { writeSync } from 'node:fs'
import { Socket } from 'node:net'

const { parse } = JSON
const { wait } = Atomics
const { exit } = process

export const types = /** @type {const} */ ({
  HELLO: 0x01,
  READY: 0x02,
  SPECIALISE: 0x03,
  SPECIALISED: 0x04,
  INIT_FAILED: 0x05,
  REQUEST_HEAD: 0x10,
  REQUEST_BODY: 0x11,
  CANCEL: 0x12,
  RESPONSE_HEAD: 0x20,
  RESPONSE_BODY: 0x21,
  RESPONSE_ERROR: 0x22,
  SETTLED: 0x23,
  CREDIT: 0x30,
  LOG: 0x31,
  PING: 0x32,
  PONG: 0x33,
})
export const END = 0x01
export const SETTLED = 0x02

const HEADER_BYTES = 10
export const PAYLOAD_MAX_BYTES = 65_536
export const WINDOW_BYTES = 262_144
/** Room for the largest frame several times over. */
const OUT_BYTES = 262_144
/** Bytes that wait for the host to read on, from which bodies pause. */
const BACKLOG_PAUSE_BYTES = 262_144
/** How long a writer of logs waits for the host before it goes on without. */
const LOG_WAIT_MS = 200

const out = Buffer.allocUnsafeSlow(OUT_BYTES)
let used = 0
let scheduled = false
let fd = -1
/** @type {Socket | undefined} */
let socket
/** Bytes that the Socket holds since the kernel would not take them. */
let backlogBytes = 0
/** @type {(() => void)[]} */
let waiting = []
const sleeper = new Int32Array(new SharedArrayBuffer(4))

/**
 * @callback OnFrame
 * @param {number} type
 * @param {number} flags
 * @param {number} stream
 * @param {Buffer} data the payload lies in it, and only during the call
 * @param {number} start
 * @param {number} end
 * @returns {void}
 */

/** Starts reading. @param {number} descriptor @param {OnFrame} onFrame @param {() => void} onEnd at the end of the stream, for whatever reason, once */
export function openWire(descriptor, onFrame, onEnd) {
  fd = descriptor
  used = 0
  backlogBytes = 0
  /** @type {Buffer | null} */
  let held = null
  let ended = false
  const end = () => {
    if (!ended) onEnd()
    ended = true
  }
  socket = new Socket({
    fd: descriptor,
    readable: true,
    writable: true,
    allowHalfOpen: true,
    onread: {
      buffer: Buffer.allocUnsafeSlow(128 * 1024),
      callback: (/** @type {number} */ bytes, /** @type {Buffer} */ buffer) => {
        let data = buffer.subarray(0, bytes)
        if (held !== null) data = Buffer.concat([held, data])
        const rest = cut(data, onFrame)
        // The buffer is read into again, so what waits for its other half needs a place of its own.
        held = rest === data.length ? null : Buffer.from(data.subarray(rest))
        return true
      },
    },
  })
  socket.on('end', end)
  socket.on('close', end)
  socket.on('error', end)
}

/** Gives up the stream. The descriptor is closed by it. */
export function closeWire() {
  socket?.destroy()
  socket = undefined
}

/** Ends the process: a host that breaks the protocol is not ours. @param {string} rule @returns {never} */
export function violation(rule) {
  writeSync(2, `hostel shim: the host broke the protocol: ${rule}\n`)
  return exit(70)
}

/** @param {Buffer} data @param {OnFrame} onFrame @returns {number} where the first incomplete frame starts */
function cut(data, onFrame) {
  let offset = 0
  while (data.length - offset >= HEADER_BYTES) {
    const payloadBytes = data.readUInt32BE(offset)
    if (payloadBytes > PAYLOAD_MAX_BYTES) violation(`a payload of ${payloadBytes} bytes`)
    const end = offset + HEADER_BYTES + payloadBytes
    if (end > data.length) break
    onFrame(data[offset + 4], data[offset + 5], data.readUInt32BE(offset + 6), data, offset + HEADER_BYTES, end)
    offset = end
  }
  return offset
}

/** @param {Buffer} data @param {number} start @param {number} end @returns {any} */
export function jsonIn(data, start, end) {
  try {
    return parse(data.toString('utf8', start, end))
  } catch {
    return violation('a payload that is no JSON')
  }
}

/** @param {number} type @param {number} flags @param {number} stream @param {string | Uint8Array} [payload] at most PAYLOAD_MAX_BYTES */
export function send(type, flags, stream, payload) {
  let bytes = 0
  if (typeof payload === 'string') {
    // A character takes at most three bytes; only long text is worth counting.
    needRoom(HEADER_BYTES + (payload.length > 8_192 ? Buffer.byteLength(payload) : payload.length * 3))
    bytes = out.write(payload, used + HEADER_BYTES)
  } else if (payload !== undefined) {
    bytes = payload.byteLength
    needRoom(HEADER_BYTES + bytes)
    out.set(payload, used + HEADER_BYTES)
  } else needRoom(HEADER_BYTES)
  writeHeader(type, flags, stream, bytes)
  schedule()
}

/** @param {number} stream @param {number} bytes */
export function sendCredit(stream, bytes) {
  needRoom(HEADER_BYTES + 4)
  out.writeUInt32BE(bytes, used + HEADER_BYTES)
  writeHeader(types.CREDIT, 0, stream, 4)
  schedule()
}

/** One line of log of at most 16 KiB. @param {number} level @param {number} stream @param {string} text @returns {boolean} false when it is lost, since the host does not read on */
export function sendLog(level, stream, text) {
  if (used > OUT_BYTES / 2 && (backlogBytes > 0 || !flushWaiting())) return false
  needRoom(HEADER_BYTES + 1 + text.length * 3)
  out[used + HEADER_BYTES] = level
  const bytes = out.write(text, used + HEADER_BYTES + 1)
  writeHeader(types.LOG, 0, stream, bytes + 1)
  schedule()
  return true
}

/** @param {number} type @param {number} flags @param {number} stream @param {number} bytes */
function writeHeader(type, flags, stream, bytes) {
  out.writeUInt32BE(bytes, used)
  out[used + 4] = type
  out[used + 5] = flags
  out.writeUInt32BE(stream, used + 6)
  used += HEADER_BYTES + bytes
}

/** @param {number} bytes */
function needRoom(bytes) {
  if (used + bytes <= OUT_BYTES) return
  flush()
  if (used > 0) handOver(0)
}

function schedule() {
  if (scheduled) return
  scheduled = true
  setImmediate(flush)
}

/** Writes what has gathered; at the latest at the end of the event loop's turn. While the Socket holds something it waits for that. */
export function flush() {
  scheduled = false
  if (used === 0 || backlogBytes > 0) return
  const sent = writeSome(0)
  if (sent < used) handOver(sent)
  used = 0
}

/** Gives the Socket what the kernel would not take. @param {number} from */
function handOver(from) {
  const rest = Buffer.from(out.subarray(from, used))
  used = 0
  if (!socket || socket.destroyed) return
  backlogBytes += rest.length
  socket.write(rest, () => {
    backlogBytes -= rest.length
    if (backlogBytes > 0) return
    flush()
    const ready = waiting
    waiting = []
    for (const resume of ready) resume()
  })
}

/** @param {number} from @returns {number} up to where the kernel took the buffer; all of it when nobody reads any more */
function writeSome(from) {
  let sent = from
  try {
    while (sent < used) sent += writeSync(fd, out, sent, used - sent)
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'EAGAIN') return used
  }
  return sent
}

/**
 * Writes all, waiting for the host if need be: for code that logs in a loop without ever letting the event loop turn,
 * and for the last words of a process. @returns {boolean} whether all went out
 */
export function flushWaiting() {
  if (backlogBytes > 0) return false
  let sent = writeSome(0)
  for (let waited = 0; sent < used && waited < LOG_WAIT_MS; waited++) {
    wait(sleeper, 0, 0, 1)
    sent = writeSome(sent)
  }
  out.copyWithin(0, sent, used)
  used -= sent
  return used === 0
}

/** Whether bodies should pause until the host has read on. */
export const isCongested = () => backlogBytes > BACKLOG_PAUSE_BYTES

/** Resolves once the host has read on. @returns {Promise<void>} */
export const drained = () => new Promise((resolve) => (backlogBytes > 0 ? waiting.push(resolve) : resolve()))
