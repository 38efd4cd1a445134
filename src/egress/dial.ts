/** From a target to a connected socket: look the name up, check every address, connect to one of those checked. */
import { connect } from 'node:net'
import type { Socket } from 'node:net'

import { limits } from '../limits.ts'
import { formatAddress } from './addresses.ts'
import type { Address } from './addresses.ts'
import type { Guard } from './guard.ts'
import type { Lookup } from './lookup.ts'
import type { Target } from './rules.ts'

export interface Reached {
  socket: Socket
  address: string
}

/** Why there is no connection. `refused`: a rule said no. */
export class DialError extends Error {
  readonly verdict: 'refused' | 'failed'
  readonly address: string | null
  constructor(verdict: 'refused' | 'failed', message: string, address: string | null = null) {
    super(message)
    this.name = 'DialError'
    this.verdict = verdict
    this.address = address
  }
}

/** Of a name with many addresses. */
const ADDRESSES_TRIED_MAX = 8

const LOOKUP_FAILURES: Record<string, string> = {
  ENOTFOUND: 'there is no such name',
  ENODATA: 'the name has no addresses',
  ETIMEOUT: 'the name server did not answer in time',
  ESERVFAIL: 'the name server failed',
  ECONNREFUSED: 'the name server cannot be reached',
  EREFUSED: 'the name server refused',
}
const CONNECT_FAILURES: Record<string, string> = {
  ECONNREFUSED: 'it refused the connection',
  ECONNRESET: 'it broke the connection off',
  EHOSTUNREACH: 'there is no way to it',
  ENETUNREACH: 'there is no way to its network',
  EADDRNOTAVAIL: 'there is no way to it',
  ETIMEDOUT: 'it did not answer in time',
}

/** @throws DialError; nothing is left open then. Aborting gives up. */
export async function dial(target: Target, options: { guard: Guard; lookup: Lookup; signal: AbortSignal }): Promise<Reached> {
  const signal = AbortSignal.any([options.signal, AbortSignal.timeout(limits.egressConnectTimeoutMs)])
  const found = target.kind === 'address' ? [target.address] : await lookUp(target.name, options.lookup, signal)
  let refusal: DialError | undefined
  const admitted: Address[] = []
  for (const address of found) {
    const why = options.guard(address, target.port)
    if (why === undefined) admitted.push(address)
    else refusal ??= new DialError('refused', why, formatAddress(address))
  }
  if (admitted.length === 0) throw refusal ?? new DialError('failed', 'the name has no addresses')
  return connectToOneOf(admitted.map(formatAddress), target.port, signal)
}

/** Connects to the first of these addresses that answers. @throws DialError */
export async function connectToOneOf(addresses: string[], port: number, signal: AbortSignal): Promise<Reached> {
  let last: DialError | undefined
  for (const address of addresses.slice(0, ADDRESSES_TRIED_MAX)) {
    try {
      return { socket: await open(address, port, signal), address }
    } catch (error) {
      last = new DialError('failed', signal.aborted ? 'it did not answer in time' : connectFailure(error as NodeJS.ErrnoException), address)
      if (signal.aborted) break
    }
  }
  throw last!
}

function lookUp(name: string, lookup: Lookup, signal: AbortSignal): Promise<Address[]> {
  return new Promise((resolve, reject) => {
    const giveUp = (): void => reject(new DialError('failed', LOOKUP_FAILURES['ETIMEOUT']!))
    if (signal.aborted) return giveUp()
    signal.addEventListener('abort', giveUp, { once: true })
    lookup(name)
      .then(resolve, (error: NodeJS.ErrnoException) =>
        reject(new DialError('failed', LOOKUP_FAILURES[error.code ?? ''] ?? `its look-up failed (${error.code})`)),
      )
      .finally(() => signal.removeEventListener('abort', giveUp))
  })
}

function open(host: string, port: number, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    // An address, so nothing is looked up again; half-open, since the guest's end may close first.
    const socket = connect({ host, port, allowHalfOpen: true, noDelay: true })
    const giveUp = (): void => void socket.destroy(new Error('given up'))
    const failed = (error: Error): void => {
      signal.removeEventListener('abort', giveUp)
      reject(error)
    }
    if (signal.aborted) giveUp()
    signal.addEventListener('abort', giveUp, { once: true })
    socket.once('error', failed)
    socket.once('connect', () => {
      signal.removeEventListener('abort', giveUp)
      socket.off('error', failed)
      resolve(socket)
    })
  })
}

function connectFailure(error: NodeJS.ErrnoException): string {
  return CONNECT_FAILURES[error.code ?? ''] ?? `the connection failed (${error.code ?? error.message})`
}
