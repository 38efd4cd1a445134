/** The Node shim's WebSockets: its frames byte by byte. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'

import { Fault, Frames, closePayload, frameOf, readClose } from './websocket-frames.mjs'

/** A client's frame: masked. */
function clientFrame(opcode: number, payload: Uint8Array, { fin = true, rsv = 0, mask = [1, 2, 3, 4] as number[] } = {}): Buffer {
  const frame = Buffer.from(frameOf(opcode, payload))
  const headBytes = frame.length - payload.length
  frame[0] = (fin ? 0x80 : 0) | rsv | opcode
  frame[1]! |= 0x80
  const body = Buffer.from(payload).map((byte, index) => byte ^ mask[index & 3]!)
  return Buffer.concat([frame.subarray(0, headBytes), Buffer.from(mask), body])
}

function messagesOf(bytes: Buffer, sizes: number[] = []): unknown[] {
  const frames = new Frames()
  const messages: unknown[] = []
  let rest = bytes
  const push = (chunk: Buffer): void => {
    frames.push(new Uint8Array(chunk))
    for (let message = frames.next(); message !== null; message = frames.next())
      messages.push([message.opcode, typeof message.payload === 'string' ? message.payload : Buffer.from(message.payload).toString('latin1')])
  }
  for (const size of sizes) {
    push(rest.subarray(0, size))
    rest = rest.subarray(size)
  }
  push(rest)
  return messages
}

const bytes = (text: string): Buffer => Buffer.from(text)

describe('WebSocket frames', () => {
  it('make whole messages, with control frames between the parts', () => {
    const all = Buffer.concat([
      clientFrame(1, bytes('whole')),
      clientFrame(1, bytes('in '), { fin: false }),
      clientFrame(9, bytes('ping')),
      clientFrame(0, bytes('par'), { fin: false }),
      clientFrame(0, bytes('ts é')),
      clientFrame(2, bytes('')),
      clientFrame(2, Buffer.alloc(70_000, 'a')),
      clientFrame(1, Buffer.alloc(126, 'b')),
    ])
    const expected = [
      [1, 'whole'],
      [9, 'ping'],
      [1, 'in parts é'],
      [2, ''],
      [2, 'a'.repeat(70_000)],
      [1, 'b'.repeat(126)],
    ]
    assert.deepEqual(messagesOf(all), expected)
    assert.deepEqual(messagesOf(all.subarray(0, 60), new Array(60).fill(1)), messagesOf(all.subarray(0, 60)))
  })

  it('are the same however they are cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom(1, 2, 9), fc.string({ maxLength: 120 })), { maxLength: 8 }),
        fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 40 }),
        (parts, sizes) => {
          const all = Buffer.concat(parts.map(([opcode, text]) => clientFrame(opcode, bytes(text))))
          assert.deepEqual(messagesOf(all, sizes), messagesOf(all))
          assert.equal(messagesOf(all).length, parts.length)
        },
      ),
      { numRuns: 200 },
    )
  })

  it('of any bytes end in messages, a fault or the wish for more', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (data) => {
        try {
          messagesOf(Buffer.from(data))
        } catch (error) {
          assert.ok(error instanceof Fault)
        }
      }),
      { numRuns: 2_000 },
    )
  })

  const wrong: [what: string, code: number, data: Buffer][] = [
    ['no mask', 1002, Buffer.from(frameOf(1, bytes('a')))],
    ['a reserved bit', 1002, clientFrame(1, bytes('a'), { rsv: 0x40 })],
    ['an unknown opcode', 1002, clientFrame(3, bytes('a'))],
    ['an unknown control opcode', 1002, clientFrame(11, bytes(''))],
    ['a ping of 126 bytes', 1002, clientFrame(9, Buffer.alloc(126))],
    ['a ping in parts', 1002, clientFrame(9, bytes(''), { fin: false })],
    ['a continuation of nothing', 1002, clientFrame(0, bytes('a'))],
    ['a message within a message', 1002, Buffer.concat([clientFrame(1, bytes('a'), { fin: false }), clientFrame(1, bytes('b'))])],
    ['a length in more bytes than it needs', 1002, Buffer.from([0x82, 0x80 | 126, 0, 1, 0, 0, 0, 0, 0])],
    ['a length over the limit, before its bytes', 1009, Buffer.from([0x82, 0x80 | 127, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])],
    ['a length with its first bit set', 1002, Buffer.from([0x82, 0x80 | 127, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0])],
    ['text that is no UTF-8', 1007, clientFrame(1, Buffer.from([0xc0, 0xaf]))],
    ['text that ends in the middle of a character', 1007, clientFrame(1, Buffer.from([0xe2, 0x82]))],
    ['a lone surrogate', 1007, clientFrame(1, Buffer.from([0xed, 0xa0, 0x80]))],
  ]
  for (const [what, code, data] of wrong) {
    it(`with ${what} are a fault with code ${code}`, () => {
      assert.throws(
        () => messagesOf(data),
        (error) => error instanceof Fault && error.code === code && bytes(error.message).length <= 123,
      )
    })
  }

  it('of a close carry a code that may be sent, and a reason in UTF-8', () => {
    assert.deepEqual(readClose(closePayload(1000, 'done')), { code: 1000, reason: 'done' })
    assert.deepEqual(readClose(closePayload(undefined, '')), { code: 1005, reason: '' })
    for (const code of [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535])
      assert.throws(() => readClose(new Uint8Array([code >> 8, code & 255])), { code: 1002 }, String(code))
    for (const code of [1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 4999]) assert.equal(readClose(new Uint8Array([code >> 8, code & 255])).code, code)
    assert.throws(() => readClose(new Uint8Array([3])), { code: 1002 })
    assert.throws(() => readClose(new Uint8Array([3, 232, 0xff])), { code: 1007 })
  })
})
