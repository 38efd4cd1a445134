/** The gateway's wishes, carried out by the engine; and what must be known of each sandbox to hand it to the next gateway. */
import { closeSync } from 'node:fs'

import { duplicate } from '../engines/embedded/descriptors.native.ts'
import { type Engine, EngineError, type SandboxEnds } from '../engines/engine.ts'
import type { Logger } from '../telemetry/logger.ts'
import type { Child } from './child.ts'
import type { Doors, SpareClass, ToKeeper } from './messages.ts'
import { type Refusal, parseGatewayMessage } from './parse.ts'

/** Boots that a gateway may have outstanding: far more than a machine works on at once, few enough to bound what waits here. */
const OUTSTANDING_BOOTS_MAX = 256

/** Requests that may wait for their answers, of all kinds: several for each sandbox that a machine can hold. An honest gateway stays far below. */
const OUTSTANDING_MAX = 16_384

/** What is kept back of a booted sandbox: dead gateways lose their ends, these survive. */
interface Kept {
  spareClass: SpareClass
  label: string | null
  /** It was at rest after its specialisation, so that is known to be over. */
  rested: boolean
  /** Second stream, standard output and error; taken away when they are handed to a second gateway. */
  ends: Omit<SandboxEnds, 'stream'> | undefined
  /** Listeners of its doors. */
  doors: number[]
}

export interface Sandboxes {
  /** Answers one message of the gateway; it may be hostile. */
  receive(message: unknown, gateway: Child): void
  /** The gateway has died: ends what it had not finished making. What is idle waits for the next one. */
  gatewayLost(): void
  /** Gives a new gateway the sandboxes that outlived the one before. */
  adoptInto(gateway: Child): void
  count(): number
}

export function createSandboxes(options: { engine: Engine; gateway: () => Child | undefined; maxSandboxes: number; log: Logger }): Sandboxes {
  const { engine, log } = options
  /** Numbers are never used twice in the keeper's life. */
  let nextId = 1
  let booting = 0
  let outstanding = 0
  /** Rises with each gateway: what an earlier one began is not finished for a later one. */
  let generation = 0
  const kept = new Map<number, Kept>()

  engine.onExit = (id, exit) => {
    const sandbox = kept.get(id)
    kept.delete(id)
    closeEnds(sandbox)
    log.debug({ sandbox: id, ...exit }, 'sandbox ended')
    // One that was not kept belonged to a gateway that is no more.
    if (sandbox) options.gateway()?.send({ type: 'exited', sandbox: id, exit })
  }

  return {
    receive(message, gateway) {
      const request = parseGatewayMessage(message)
      if ('refused' in request) {
        refuse(request, gateway)
        return
      }
      if (request.type === 'ready') return
      // What waits here takes memory, and when the keeper runs out of it, all sandboxes end.
      if (outstanding >= OUTSTANDING_MAX) {
        gateway.breaks('it does not wait for answers')
        return
      }
      outstanding++
      void (request.type === 'end' ? end(request.sandbox, request.graceMs) : answer(request, gateway)).finally(() => outstanding--)
    },

    gatewayLost() {
      generation++
      for (const [id, { ends, label, rested }] of kept) {
        // Without a second stream to go to, its shim is at its end too; and whether a specialisation was finished only the dead knew.
        if (ends === undefined || (label !== null && !rested)) void end(id, 0)
      }
    },

    adoptInto(gateway) {
      for (const [id, sandbox] of kept) {
        const { ends } = sandbox
        if (ends === undefined || (sandbox.label !== null && !sandbox.rested)) continue
        sandbox.ends = undefined
        const doors = sandbox.doors.splice(0)
        void engine.thaw(id).then(
          () => {
            gateway.send({ type: 'adopt', sandbox: id, spareClass: sandbox.spareClass, label: sandbox.label, handles: 3 + doors.length })
            // Doors first: with its three descriptors a sandbox is complete.
            handDoors(gateway, 0, id, doors)
            hand(gateway, 0, id, { stream: ends.secondStream, stdout: ends.stdout, stderr: ends.stderr })
          },
          () => closeEnds({ ...sandbox, ends, doors }),
        )
      }
    },

    count: () => kept.size,
  }

  function refuse(refusal: Refusal, gateway: Child): void {
    log.warn({ reason: refusal.refused }, 'the gateway sent a message that does not fit')
    if (refusal.req !== undefined) gateway.send({ type: 'failed', req: refusal.req, code: 'invalid', message: refusal.refused })
  }

  async function answer(request: Exclude<ToKeeper, { type: 'ready' | 'end' }>, gateway: Child): Promise<void> {
    const { req } = request
    try {
      switch (request.type) {
        case 'boot':
          await boot(req, request.spareClass, gateway)
          return
        case 'specialise': {
          const sandbox = kept.get(request.sandbox)
          if (sandbox) Object.assign(sandbox, { label: request.label, rested: false })
          await engine.specialise(request.sandbox, request.codeDigest)
          if (request.doors) await openDoors(req, request.sandbox, request.doors, gateway)
          break
        }
        case 'freeze':
          await engine.freeze(request.sandbox)
          markRested(request.sandbox)
          break
        case 'thaw':
          await engine.thaw(request.sandbox)
          break
        case 'usage':
          gateway.send({ type: 'usage', req, sandboxes: await engine.usage() })
          return
      }
      gateway.send({ type: 'done', req })
    } catch (error) {
      if (!(error instanceof EngineError)) log.error({ err: error, request: request.type }, 'a request of the gateway failed')
      else log.debug({ err: error, request: request.type }, 'a request of the gateway failed')
      gateway.send({ type: 'failed', req, code: error instanceof EngineError ? error.failure : 'system', message: (error as Error).message })
    }
  }

  async function end(id: number, graceMs: number): Promise<void> {
    try {
      await engine.end(id, graceMs)
    } catch (error) {
      log.error({ err: error, sandbox: id }, 'a sandbox could not be ended')
    }
  }

  async function openDoors(req: number, id: number, doors: Doors, gateway: Child): Promise<void> {
    const fds = await engine.openDoors(id, doors)
    // What is kept outlives the gateway, and with it the connections that wait at the doors meanwhile.
    const sandbox = kept.get(id)
    sandbox?.doors.push(...fds.map(duplicate))
    handDoors(gateway, req, id, fds)
  }

  function markRested(id: number): void {
    const sandbox = kept.get(id)
    if (sandbox) sandbox.rested = true
  }

  async function boot(req: number, spareClass: SpareClass, gateway: Child): Promise<void> {
    if (kept.size + booting >= options.maxSandboxes || booting >= OUTSTANDING_BOOTS_MAX)
      throw new EngineError('no_slot', `there are ${kept.size} sandboxes and ${booting} on the way; ${options.maxSandboxes} are allowed`)
    const id = nextId++
    const begunIn = generation
    booting++
    let ends: SandboxEnds
    try {
      ends = await engine.boot({ sandbox: id, runtime: spareClass.runtime, memoryMiB: spareClass.memoryMiB })
    } finally {
      booting--
    }
    if (begunIn !== generation) {
      for (const fd of Object.values(ends)) closeSync(fd)
      await engine.end(id, 0)
      return
    }
    kept.set(id, {
      spareClass,
      label: null,
      rested: false,
      doors: [],
      ends: { secondStream: ends.secondStream, stdout: duplicate(ends.stdout), stderr: duplicate(ends.stderr) },
    })
    // The first stream is not kept: when the gateway dies, the guest must see its end.
    hand(gateway, req, id, { stream: ends.stream, stdout: ends.stdout, stderr: ends.stderr })
    gateway.send({ type: 'done', req, sandbox: id })
  }
}

function hand(gateway: Child, req: number, sandbox: number, parts: { stream: number; stdout: number; stderr: number }): void {
  for (const part of ['stream', 'stdout', 'stderr'] as const) gateway.sendDescriptor({ type: 'handed', req, sandbox, part }, parts[part])
}

function handDoors(gateway: Child, req: number, sandbox: number, fds: number[]): void {
  for (const fd of fds) gateway.sendListener({ type: 'handed', req, sandbox, part: 'door' }, fd)
}

function closeEnds(sandbox: Kept | undefined): void {
  for (const fd of sandbox?.doors ?? []) closeSync(fd)
  if (sandbox?.ends) for (const fd of Object.values(sandbox.ends)) closeSync(fd)
}
