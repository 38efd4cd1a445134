/**
 * Console and standard streams, line by line, each with the invocation during which it was written.
 * What child processes write to their inherited descriptors does not come by here: the host reads those pipes itself.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { Writable } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'
import { format } from 'node:util'

import { flush, sendLog } from './wire.mjs'

/** The levels of LOG frames. */
export const levels = /** @type {const} */ ({ stdout: 1, stderr: 2, debug: 3, info: 4, warn: 5, error: 6 })

const LINE_MAX_BYTES = 16_384 - 1
const CUT_MARK = '… [cut]'
/** Lines that are written at once in one turn of the event loop, so that they survive a crash; a flood goes out in blocks. */
const PROMPT_LINES = 32

/** What a line needs to know of its invocation; `parts` holds text that waits for its line break, by level. @typedef {{ stream: number, epoch: number, parts: (string | undefined)[] | null }} LogContext */

/** @type {AsyncLocalStorage<LogContext>} */
export const context = new AsyncLocalStorage()
/** @type {LogContext} */
const outside = { stream: 0, epoch: 0, parts: null }
const current = () => context.getStore() ?? outside

/** Counts the streams to the host; a new one knows nothing of the requests of the one before. */
export let epoch = 0
/** Lines wait until the host has said HELLO and was answered. @type {[level: number, of: LogContext, line: string][] | null} */
let early = []
const EARLY_LINES_MAX = 1_000

/** Another stream begins. */
export function nextEpoch() {
  epoch++
  early = []
}

/** READY has been sent. */
export function openLogs() {
  const lines = early ?? []
  early = null
  for (const line of lines) writeLine(...line)
}

let promptLines = 0
let dropped = 0

/** Writes one text, which may have several lines. @param {number} level @param {string} text */
export function log(level, text) {
  writeLines(level, current(), text)
}

/** @param {number} level @param {LogContext} of @param {string} text */
function writeLines(level, of, text) {
  if (!text.includes('\n')) return writeLine(level, of, text)
  for (const line of text.split('\n')) writeLine(level, of, line)
}

/** @param {number} level @param {LogContext} of @param {string} line */
function writeLine(level, of, line) {
  if (early !== null) {
    if (early.length < EARLY_LINES_MAX) early.push([level, of, line])
    else dropped++
    return
  }
  const stream = of.epoch === epoch ? of.stream : 0
  if (line.length * 3 > LINE_MAX_BYTES) line = cutToBytes(line, LINE_MAX_BYTES, CUT_MARK)
  if (dropped > 0 && sendLog(levels.warn, stream, `… [${dropped} lines lost: they came faster than they could be read]`)) dropped = 0
  if (dropped > 0 || !sendLog(level, stream, line)) {
    dropped++
    return
  }
  if (promptLines === 0) setImmediate(() => (promptLines = 0))
  if (promptLines++ < PROMPT_LINES) flush()
}

/** @param {string} text @param {number} maxBytes @param {string} mark @returns {string} at most so many bytes in UTF-8, the mark included */
export function cutToBytes(text, maxBytes, mark) {
  const bytes = Buffer.from(text.length > maxBytes ? text.slice(0, maxBytes + 1) : text)
  if (bytes.length <= maxBytes) return text
  let end = maxBytes - Buffer.byteLength(mark)
  while (end > 0 && (bytes[end] & 0xc0) === 0x80) end--
  return bytes.toString('utf8', 0, end) + mark
}

/** Sends what was written without a line break so far. @param {LogContext} of */
export function flushParts(of) {
  const { parts } = of
  if (parts === null) return
  of.parts = null
  for (const [level, text] of parts.entries()) if (text) writeLine(level, of, text)
}

/** Before the process ends. */
export const flushOutside = () => flushParts(outside)

/** @param {number} level @param {string} text */
function writeText(level, text) {
  const of = current()
  const end = text.lastIndexOf('\n')
  const before = of.parts?.[level] ?? ''
  if (end >= 0) writeLines(level, of, before + text.slice(0, end))
  const rest = end >= 0 ? text.slice(end + 1) : before + text
  if (rest.length > LINE_MAX_BYTES) writeLine(level, of, rest)
  if (rest !== '' || of.parts !== null) (of.parts ??= [])[level] = rest.length > LINE_MAX_BYTES ? '' : rest
}

/** A stream in the place of process.stdout or stderr. @param {number} level @param {number} fd */
function capture(level, fd) {
  const decoder = new StringDecoder()
  const stream = new Writable({
    decodeStrings: false,
    write(chunk, encoding, callback) {
      writeText(
        level,
        typeof chunk === 'string' ? (encoding === 'utf8' || encoding === 'utf-8' ? chunk : decoder.write(Buffer.from(chunk, encoding))) : decoder.write(chunk),
      )
      callback()
    },
  })
  return Object.assign(stream, { fd, isTTY: false })
}

/** Level by the console's method; what is not named takes that of the stream it writes to. */
const methodLevels = { debug: levels.debug, info: levels.info, warn: levels.warn, assert: levels.warn, error: levels.error }

/** Once, before any code of the user's runs. @param {(stack: string) => string} cleanStack takes the shim's own frames out */
export function installLogs(cleanStack) {
  for (const [name, level, fd] of /** @type {const} */ ([
    ['stdout', levels.stdout, 1],
    ['stderr', levels.stderr, 2],
  ])) {
    const stream = capture(level, fd)
    Object.defineProperty(process, name, { configurable: true, enumerable: true, get: () => stream })
  }
  let level = 0
  const sink = (/** @type {number} */ standard) => ({
    write: (/** @type {string} */ text) => log(level || standard, text.endsWith('\n') ? text.slice(0, -1) : text),
    on() {},
    once() {},
    removeListener() {},
    listenerCount: () => 0,
  })
  const formatter = /** @type {any} */ (new console.Console(/** @type {any} */ ({ stdout: sink(levels.stdout), stderr: sink(levels.error) })))
  for (const name of Object.keys(formatter)) {
    if (typeof formatter[name] !== 'function' || !(name in console)) continue
    const method = formatter[name].bind(formatter)
    const own = methodLevels[/** @type {keyof typeof methodLevels} */ (name)]
    const replacement = own
      ? (/** @type {unknown[]} */ ...args) => {
          level = own
          try {
            method(...args)
          } finally {
            level = 0
          }
        }
      : method
    Object.defineProperty(replacement, 'name', { value: name })
    ;/** @type {any} */ (console)[name] = replacement
  }
  console.trace = function trace(...args) {
    const at = { name: 'Trace', message: format(...args), stack: '' }
    Error.captureStackTrace(at, trace)
    log(levels.error, cleanStack(at.stack))
  }
}
