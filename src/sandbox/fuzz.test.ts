/** The guest is an attacker: whatever bytes it sends, the host goes on or ends the connection with a named rule, and holds little. */
import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import { test } from 'node:test'

import fc from 'fast-check'

import { limits } from '../limits.ts'
import { Connection } from './connection.ts'
import type { ConnectionEnd } from './connection.ts'
import { encodeFrame, FrameDecoder, frameTypes, ProtocolViolation } from './protocol.ts'
import { specialiseMessage } from './testing/guest.ts'
import { NotingSink, requestHead } from './testing/sink.ts'

const KIB = 1024
const RUNS = 400

/** Enough of a socket to push bytes through synchronously, thousands of times a second. */
function fakeSocket(): Socket {
  const socket = new EventEmitter() as EventEmitter & Record<string, unknown>
  Object.assign(socket, { destroyed: false, writableEnded: false, writableLength: 0, writableNeedDrain: false, errored: null })
  Object.assign(socket, { write: () => true, cork() {}, uncork() {}, pause() {}, resume() {}, destroy: () => (socket['destroyed'] = true) })
  return socket as unknown as Socket
}

function openConnection(): { socket: Socket; connection: Connection; sinks: NotingSink[]; ends: ConnectionEnd[] } {
  const socket = fakeSocket()
  const ends: ConnectionEnd[] = []
  const connection = new Connection(socket, { specialised() {}, initFailed() {}, log: () => true, settled() {}, closed: (end) => ends.push(end) })
  void connection.handshake(60_000).catch(() => {})
  socket.emit('data', encodeFrame(frameTypes.READY, 0, 0, '{"protocol":1,"runtime":"r","runtimeVersion":"1"}'))
  connection.specialise(specialiseMessage)
  socket.emit('data', encodeFrame(frameTypes.SPECIALISED, 0, 0, '{"contract":"fetch"}'))
  const sinks = Array.from({ length: 4 }, () => new NotingSink())
  for (const sink of sinks) connection.exchange(requestHead(), sink)
  return { socket, connection, sinks, ends }
}

function feed(chunks: Uint8Array[]): void {
  const { socket, sinks, ends } = openConnection()
  for (const chunk of chunks) socket.emit('data', Buffer.from(chunk))
  assert.ok(ends.length <= 1, 'it ends once')
  if (ends.length === 1) assert.equal(ends[0]!.kind, 'violation')
  for (const sink of sinks) {
    assert.ok(sink.bodyBytes <= limits.streamWindowBytes, 'a sink never holds more than its window')
    assert.equal(new Set(sink.calls).size, sink.calls.length, 'no call comes twice')
    const order = ['head', 'body', 'end', 'failed', 'settled']
    const places = sink.calls.map((call) => order.indexOf(call))
    assert.deepEqual(
      places,
      [...places].sort((a, b) => a - b),
      'calls come in order',
    )
    assert.ok(!(sink.calls.includes('end') && sink.calls.includes('failed')))
  }
  socket.emit('close')
}

const json = fc.oneof(
  fc.constantFrom(
    '[200,[]]',
    '[200,["a","b"]]',
    '[99,[]]',
    '{"kind":"handler","name":"E","message":"m"}',
    '{"contract":"event"}',
    '[200,["a","b\\r\\nc"]]',
    'null',
    '[]',
    '{}',
    '',
  ),
  fc.json(),
)
const payload = fc.oneof(
  json.map((text) => Buffer.from(text)),
  fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
  fc.constantFrom(Buffer.alloc(4), Buffer.alloc(64 * KIB)),
)
const frame = fc
  .tuple(
    fc.oneof(fc.constantFrom(...Object.values(frameTypes)), fc.nat(255)),
    fc.oneof(fc.constantFrom(0, 0, 1, 2, 3), fc.nat(255)),
    fc.oneof(fc.nat(5), fc.nat(0xffff_ffff)),
    payload,
  )
  .map(([type, flags, stream, bytes]) => encodeFrame(type, flags, stream, bytes))

/** Frames that fit, in an order that makes sense. */
const valid = fc.array(
  fc
    .integer({ min: 1, max: 4 })
    .map((stream) =>
      Buffer.concat([
        encodeFrame(frameTypes.RESPONSE_HEAD, 0, stream, '[200,["a","b"]]'),
        encodeFrame(frameTypes.RESPONSE_BODY, 0, stream, 'body'),
        encodeFrame(frameTypes.LOG, 0, stream, '\u0001line'),
        encodeFrame(frameTypes.CREDIT, 0, stream, Buffer.alloc(4, 1)),
        encodeFrame(frameTypes.RESPONSE_BODY, 3, stream, ''),
      ]),
    ),
  { minLength: 1, maxLength: 4 },
)

/** Cuts bytes into chunks at arbitrary places. */
const cuts = fc.array(fc.nat(1_000), { maxLength: 20 })
function cut(bytes: Buffer, sizes: number[]): Buffer[] {
  const chunks: Buffer[] = []
  let at = 0
  for (const size of sizes) {
    chunks.push(bytes.subarray(at, at + size))
    at += size
  }
  return [...chunks, bytes.subarray(at)]
}

test('random bytes never throw, and end the connection with a rule or leave it as it is', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 }), (chunks) => feed(chunks)),
    { numRuns: RUNS },
  )
})

test('random frames in any state never throw, reach a sink in order, and never exceed its window', () => {
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 30 }), cuts, (frames, sizes) => feed(cut(Buffer.concat(frames), sizes))),
    { numRuns: RUNS },
  )
})

test('valid frames with mutated bytes never throw', () => {
  const mutations = fc.array(fc.tuple(fc.nat(2_000), fc.nat(255)), { minLength: 1, maxLength: 5 })
  fc.assert(
    fc.property(valid, mutations, cuts, (frames, changes, sizes) => {
      const bytes = Buffer.concat(frames)
      for (const [at, value] of changes) bytes[at % bytes.length] = value
      feed(cut(bytes, sizes))
    }),
    { numRuns: RUNS },
  )
})

test('however a valid stream is cut into chunks, the same frames come out', () => {
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 10 }), cuts, (frames, sizes) => {
      const decoder = new FrameDecoder()
      const out: Buffer[] = []
      for (const chunk of cut(Buffer.concat(frames), sizes)) decoder.push(chunk, (one) => out.push(encodeFrame(one.type, one.flags, one.stream, one.payload)))
      assert.ok(Buffer.concat(out).equals(Buffer.concat(frames)))
    }),
    { numRuns: RUNS },
  )
})

test('a frame that drips in byte by byte is held as few pieces', () => {
  const decoder = new FrameDecoder()
  const bytes = encodeFrame(frameTypes.RESPONSE_BODY, 0, 1, Buffer.alloc(20 * KIB, 7))
  let frames = 0
  for (const byte of bytes) {
    decoder.push(Buffer.from([byte]), () => frames++)
    assert.ok((decoder as unknown as { parts: Buffer[] }).parts.length <= 65)
  }
  assert.equal(frames, 1)
})

test('a length over the limit is refused as soon as its head is there', () => {
  assert.throws(() => new FrameDecoder().push(Buffer.from([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0]), () => {}), ProtocolViolation)
})
