/** For tests: answers as the keeper does, and boots guests in this process. The real keeper has tests of its own. */
import type { Socket } from 'node:net'

import type { FromKeeper, SandboxExit, SpareClass, ToKeeper } from '../../keeper/messages.ts'
import { frameFlags, frameTypes } from '../../sandbox/protocol.ts'
import { createGuest, socketPair } from '../../sandbox/testing/guest.ts'
import type { Guest, ReceivedRequest } from '../../sandbox/testing/guest.ts'
import { createKeeperClient } from '../keeper.ts'
import type { KeeperClient } from '../keeper.ts'

export interface Room {
  id: number
  spareClass: SpareClass
  guest: Guest
  stdout: Socket
  stderr: Socket
  frozen: boolean
  label: string | null
  /** Requests held back by `behaviour: 'hold'`. */
  held: ReceivedRequest[]
}

export interface KeeperStandIn {
  client: KeeperClient
  /** All that was asked of it. */
  asked: ToKeeper[]
  rooms: Map<number, Room>
  bootMs: number
  bootsAtOnce: number
  bootsAtOnceMax: number
  /** Answers `failed` to the next so many messages of this type. */
  fail: Partial<Record<ToKeeper['type'], number>>
  usageBytes: number
  /** False: `exited` never comes. */
  tellsExits: boolean
  /** What a new guest does with a request. */
  onRequest: (room: Room, request: ReceivedRequest) => void
  /** What a new guest does with SPECIALISE. */
  onSpecialise: (room: Room) => void
  count(type: ToKeeper['type']): number
  /** The room dies by itself. */
  die(room: Room, exit: Partial<SandboxExit>, options?: { tellAfterMs?: number }): void
  /** As after a gateway's crash: a living sandbox is handed over, frozen. */
  adopt(id: number, spareClass: SpareClass, label: string | null): Promise<Room>
  close(): void
}

export function createKeeperStandIn(): KeeperStandIn {
  let nextId = 1
  const keeper: KeeperStandIn = {
    client: createKeeperClient((message) => void setImmediate(() => void handle(structuredClone(message)))),
    asked: [],
    rooms: new Map(),
    bootMs: 5,
    bootsAtOnce: 0,
    bootsAtOnceMax: 0,
    fail: {},
    usageBytes: 20 * 1_048_576,
    tellsExits: true,
    onRequest: (room, request) => room.guest.answer(request.stream, 200, `from ${room.id}`),
    onSpecialise: (room) => room.guest.json(frameTypes.SPECIALISED, 0, 0, { contract: 'fetch' }),
    count: (type) => keeper.asked.filter((message) => message.type === type).length,
    die(room, exit, options = {}) {
      keeper.rooms.delete(room.id)
      room.guest.socket.destroy()
      room.stdout.destroy()
      room.stderr.destroy()
      const whole: SandboxExit = { kind: 'requested', oomKills: 0, lifetimeMs: 1, ...exit }
      if (keeper.tellsExits) setTimeout(() => tell({ type: 'exited', sandbox: room.id, exit: whole }), options.tellAfterMs ?? 1)
    },
    async adopt(id, spareClass, label) {
      tell({ type: 'adopt', sandbox: id, spareClass, label, handles: 3 })
      const room = await makeRoom(id, spareClass, 0)
      room.label = label
      setFrozen(room, true)
      return room
    },
    close() {
      for (const room of keeper.rooms.values()) keeper.die(room, {})
    },
  }

  function tell(message: FromKeeper, handle?: unknown): void {
    keeper.client.receive(message, handle)
  }

  async function makeRoom(id: number, spareClass: SpareClass, req: number): Promise<Room> {
    const [stream, stdout, stderr] = await Promise.all([socketPair(), socketPair(), socketPair()])
    const room: Room = {
      id,
      spareClass,
      guest: createGuest(stream[1], { manners: false }),
      stdout: stdout[1],
      stderr: stderr[1],
      frozen: false,
      label: null,
      held: [],
    }
    room.guest.onFrame = (frame) => {
      if (frame.type === frameTypes.HELLO) room.guest.json(frameTypes.READY, 0, 0, { protocol: 1, runtime: spareClass.runtime, runtimeVersion: '1' })
      else if (frame.type === frameTypes.SPECIALISE) keeper.onSpecialise(room)
      else if (frame.type === frameTypes.PING) room.guest.send(frameTypes.PONG, 0, 0, frame.payload)
      else if (frame.type === frameTypes.CANCEL) giveUp(room, frame.stream)
    }
    room.guest.onRequest = (request) => keeper.onRequest(room, request)
    for (const socket of [stdout[1], stderr[1]]) socket.on('error', () => {}).resume()
    keeper.rooms.set(id, room)
    tell({ type: 'handed', req, sandbox: id, part: 'stream' }, stream[0])
    tell({ type: 'handed', req, sandbox: id, part: 'stdout' }, stdout[0])
    tell({ type: 'handed', req, sandbox: id, part: 'stderr' }, stderr[0])
    return room
  }

  function giveUp(room: Room, stream: number): void {
    const at = room.held.findIndex((request) => request.stream === stream)
    if (at < 0) return
    room.held.splice(at, 1)
    room.guest.json(frameTypes.RESPONSE_ERROR, frameFlags.SETTLED, stream, { kind: 'handler', name: 'AbortError', message: 'aborted' })
  }

  async function handle(message: ToKeeper): Promise<void> {
    keeper.asked.push(message)
    const left = keeper.fail[message.type] ?? 0
    if (left > 0 && 'req' in message) {
      keeper.fail[message.type] = left - 1
      tell({ type: 'failed', req: message.req, code: message.type === 'boot' ? 'boot_failed' : 'system', message: 'as told by the test' })
      return
    }
    switch (message.type) {
      case 'boot': {
        keeper.bootsAtOnceMax = Math.max(keeper.bootsAtOnceMax, ++keeper.bootsAtOnce)
        await new Promise((resolve) => setTimeout(resolve, keeper.bootMs))
        const room = await makeRoom(nextId++, message.spareClass, message.req)
        keeper.bootsAtOnce--
        tell({ type: 'done', req: message.req, sandbox: room.id })
        return
      }
      case 'end': {
        const room = keeper.rooms.get(message.sandbox)
        if (room !== undefined) keeper.die(room, { kind: 'requested' })
        return
      }
      case 'usage':
        tell({ type: 'usage', req: message.req, sandboxes: [...keeper.rooms.keys()].map((sandbox) => ({ sandbox, memoryBytes: keeper.usageBytes })) })
        return
      case 'freeze':
      case 'thaw':
      case 'specialise': {
        const room = keeper.rooms.get(message.sandbox)
        if (room === undefined) return tell({ type: 'failed', req: message.req, code: 'unknown_sandbox', message: 'no such sandbox' })
        if (message.type === 'specialise') room.label = message.label
        else setFrozen(room, message.type === 'freeze')
        tell({ type: 'done', req: message.req })
      }
    }
  }

  /** A frozen process reads nothing. */
  function setFrozen(room: Room, frozen: boolean): void {
    room.frozen = frozen
    if (frozen) room.guest.socket.pause()
    else room.guest.socket.resume()
  }

  return keeper
}
