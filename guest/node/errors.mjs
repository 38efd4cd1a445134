/** Errors as the protocol carries them: with the user's own files, lines and columns, and without ours. */
import { inspect } from 'node:util'

import { cutToBytes } from './logs.mjs'

const { stringify } = JSON
const MESSAGE_MAX_BYTES = 8_192
const STACK_MAX_BYTES = 16_384

let root = '/code'

/** @param {string} directory where the user's code lies */
export function setRoot(directory) {
  root = directory
}

/** Paths as the user knows them. @param {string} text */
export const relative = (text) => text.replaceAll(`file://${root}/`, '').replaceAll(`${root}/`, '').replaceAll(`'${root}'`, "'.'")

/** Where this file lies, as it shows in stacks. */
const OWN = new URL('.', import.meta.url).href

/**
 * @param {unknown} error anything that was thrown
 * @param {'handler' | 'invalid_response' | 'init'} kind
 * @returns {{ kind: string, name: string, message: string, stack?: string, file?: string, line?: number, column?: number }}
 */
export function describe(error, kind) {
  try {
    if (!(error instanceof Error)) {
      const text = typeof error === 'string' ? error : inspect(error, { depth: 3 })
      return { kind, name: 'Error', message: cutToBytes(relative(text), MESSAGE_MAX_BYTES, '…') }
    }
    const name = String(error.name || 'Error')
    const stack = cleanStack(String(error.stack ?? `${name}: ${error.message}`))
    const place = placeIn(error, stack)
    return {
      kind,
      name,
      message: cutToBytes(relative(String(error.message)), MESSAGE_MAX_BYTES, '…'),
      stack: cutToBytes(stack, STACK_MAX_BYTES, '…'),
      ...place,
    }
  } catch {
    // An error may be a trap: getters that throw, a proxy.
    return { kind, name: 'Error', message: 'the error that was thrown could not be read' }
  }
}

/** @param {unknown} error @param {'handler' | 'invalid_response' | 'init'} kind */
export const errorPayload = (error, kind) => stringify(describe(error, kind))

/** For the log: the stack, with causes and further properties as the console shows them. @param {unknown} error */
export function errorText(error) {
  try {
    // An error without frames is shown in brackets.
    return cleanStack(inspect(error).replace(error instanceof Error ? /^\[(.*)\]$/s : /^$/, '$1'))
  } catch {
    return 'the error that was thrown could not be read'
  }
}

/** A frame of the shim's or of Node's loader. @param {string} line */
const isForeign = (line) => /^\s+at /.test(line) && (line.includes(OWN) || /\(?node:(internal\/|diagnostics_channel)/.test(line))

/** Without frames of ours and with paths as the user knows them. @param {string} stack */
export function cleanStack(stack) {
  return relative(
    stack
      .split('\n')
      .filter((line) => !isForeign(line))
      .join('\n'),
  )
}

/** @param {Error} error @param {string} stack relative to the root already */
function placeIn(error, stack) {
  // A syntax error has no frame of the user's; Node puts the place before the text, or the loader knows it.
  const head = /^(?!\s+at )(?:file:\/\/)?([^\s:()][^\n:()]*\.[cm]?[jt]sx?):(\d+)(?::(\d+))?\n(?:(?:[^\n]*\n){1,2}?([ \t]*)\^)?/.exec(stack)
  if (head && !head[1].startsWith('node:'))
    return { file: head[1], line: Number(head[2]), ...(head[3] ? { column: Number(head[3]) } : head[4] !== undefined && { column: head[4].length + 1 }) }
  for (const line of stack.split('\n')) {
    const frame = /^\s+at (?:.*\()?([^\s()][^()]*?):(\d+):(\d+)\)?$/.exec(line)
    if (frame && !/^(node:|file:|data:|\/)/.test(frame[1])) return { file: frame[1], line: Number(frame[2]), column: Number(frame[3]) }
  }
  const named = /imported from (\S+)$|^(\S+\.json): /m.exec(relative(error.message))
  return named ? { file: named[1] ?? named[2] } : {}
}
