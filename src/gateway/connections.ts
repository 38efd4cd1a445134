/** What is known of a client's connection while it lives: the calls in hand on it, and where it comes from. */
import type { Socket } from 'node:net'

import type { HostelError } from '../errors.ts'
import { plainAddress } from './client.ts'
import type { TrustedProxies } from './client.ts'

/** A call as its connection sees it. */
export interface ConnectionCall {
  /** The connection is gone, or is about to be for this reason. */
  gone(reason?: HostelError): void
  /** Whether bytes of its answer may have left already. */
  readonly begunAnswer: boolean
}

export interface Connection {
  /** Several with pipelining or HTTP/2. */
  readonly calls: Set<ConnectionCall>
  /** A request could not be understood, so that nothing behind it can be either: the connection closes. */
  refused: boolean
  /** The address at its other end, IPv4 in its plain spelling. */
  readonly remoteAddress: string
  readonly scheme: 'http' | 'https'
  /** Its other end is a proxy that is believed. */
  readonly isProxy: boolean
}

const key = Symbol('connection')
interface Known {
  [key]?: Connection
}

/** A connection is a socket, or an HTTP/2 session, of which `connectionOf` then knows. */
export function noteConnection(owner: object, remoteAddress: string | undefined, isSecure: boolean, proxies: TrustedProxies): Connection {
  const address = plainAddress(remoteAddress ?? '')
  const connection: Connection = {
    calls: new Set(),
    refused: false,
    remoteAddress: address,
    scheme: isSecure ? 'https' : 'http',
    isProxy: proxies.has(address),
  }
  ;(owner as Known)[key] = connection
  return connection
}

/** Watches a new socket: when it goes, so do its calls. */
export function watchConnection(socket: Socket, proxies: TrustedProxies): void {
  const { calls } = noteConnection(socket, socket.remoteAddress, 'encrypted' in socket, proxies)
  // One listener per connection: the answer objects of pipelined requests hear nothing of its end, and one per request costs more.
  socket.once('close', () => {
    for (const call of calls) call.gone()
  })
}

/** Of a socket or session that has been noted. */
export function connectionOf(owner: object): Connection {
  return (owner as Known)[key]!
}
