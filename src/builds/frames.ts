/** What a builder answers: frames of a byte for what it is, a length as u32, and so many bytes. The builder ran strangers' code beside it, so nothing of it is believed. */
import { stripVTControlCharacters } from 'node:util'

import { HostelError } from '../errors.ts'
import { limits } from '../limits.ts'

export type Frame = { kind: 'line'; text: string } | { kind: 'archive'; bytes: Buffer } | { kind: 'end'; ok: boolean; message: string }

const HEAD_BYTES = 5
const LINE_MAX_BYTES = 16 * 1024
const CHUNK_MAX_BYTES = 1024 * 1024

/** Puts chunks together and takes frames out. @throws HostelError `build_failed` for what is none */
export function createFrameReader(): (chunk: Buffer) => Frame[] {
  let held: Buffer = Buffer.alloc(0)
  let ended = false
  return (chunk) => {
    held = held.length === 0 ? chunk : Buffer.concat([held, chunk])
    const frames: Frame[] = []
    while (held.length >= HEAD_BYTES) {
      const kind = held[0]!
      const length = held.readUInt32BE(1)
      if (ended || kind < 1 || kind > 3 || length > (kind === 2 ? CHUNK_MAX_BYTES : LINE_MAX_BYTES)) throw garbled()
      if (held.length < HEAD_BYTES + length) break
      const payload = held.subarray(HEAD_BYTES, HEAD_BYTES + length)
      held = held.subarray(HEAD_BYTES + length)
      frames.push(toFrame(kind, payload))
      ended = kind === 3
    }
    return frames
  }
}

function toFrame(kind: number, payload: Buffer): Frame {
  if (kind === 1) return { kind: 'line', text: printable(payload.toString()) }
  if (kind === 2) return { kind: 'archive', bytes: payload }
  try {
    const { ok, message } = JSON.parse(payload.toString()) as { ok?: unknown; message?: unknown }
    return { kind: 'end', ok: ok === true, message: typeof message === 'string' ? printable(message) : '' }
  } catch (error) {
    throw garbled(error)
  }
}

/** Without what a terminal would act on. */
export function printable(text: string): string {
  return stripVTControlCharacters(text)
    .replace(/[\p{Cc}\p{Zl}\p{Zp}\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]/gu, (character) => (character === '\t' ? character : ''))
    .slice(0, limits.buildLineMaxChars)
}

function garbled(cause?: unknown): HostelError {
  return new HostelError('build_failed', 'the builder answered with something that is no answer of a builder; an install script may have disturbed it', {
    cause,
  })
}
