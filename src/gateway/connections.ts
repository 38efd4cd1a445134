/** What is known of a client's connection while it lives: the calls in hand on it, and where it comes from. */
import type { Socket } from 'node:net'

import type { HostelError } from '../errors.ts'

/** A call as its connection sees it. */
export interface ConnectionCall {
  /** The connection is gone, or is about to be for this reason. */
  gone(reason?: HostelError): void
  /** Whether bytes of its answer may have left already. */
  readonly begunAnswer: boolean
}

export interface Connection {
  /** Several with pipelining. */
  readonly calls: Set<ConnectionCall>
  /** A request could not be understood, so that nothing behind it can be either: the connection closes. */
  refused: boolean
  /** The client's address, IPv4 in its plain spelling. */
  readonly remoteAddress: string
}

const key = Symbol('connection')
type Known = Socket & { [key]?: Connection }

/** Watches a new connection: when it goes, so do its calls. */
export function watchConnection(socket: Socket): void {
  const address = socket.remoteAddress ?? ''
  const calls = new Set<ConnectionCall>()
  ;(socket as Known)[key] = { calls, refused: false, remoteAddress: address.startsWith('::ffff:') ? address.slice(7) : address }
  // One listener per connection: the answer objects of pipelined requests hear nothing of its end, and one per request costs more.
  socket.once('close', () => {
    for (const call of calls) call.gone()
  })
}

/** Of a connection that `watchConnection` has seen. */
export function connectionOf(socket: Socket): Connection {
  return (socket as Known)[key]!
}
