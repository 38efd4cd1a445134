/**
 * One request and its answer, as the gateway sees them: the gateway implements `ExchangeSink`, and is given an `Exchange`.
 * Nothing here knows HTTP beyond status and headers; hop-by-hop headers are the gateway's matter.
 */
import type { HostelError } from '../errors.ts'
import type { FlatHeaders, GuestError, RequestMeta } from './protocol.ts'

/** What REQUEST_HEAD carries. */
export interface RequestHead {
  /** An HTTP token, upper case. */
  method: string
  /** Absolute: `http://host/path?query`, with the path that the function sees. */
  url: string
  headers: FlatHeaders
  meta: RequestMeta
  /** No request body follows. */
  endStream: boolean
}

/**
 * What an exchange reports, in this order: `head` `body`* `end`, or `failed` at any point before `end`; then `settled`.
 * Called synchronously from the socket's data handler: never throws, and may call the exchange back. A call is never made from
 * inside `Lease.exchange` itself, so that the caller has the exchange in hand first.
 */
export interface ExchangeSink {
  /** Status 200–599, or 101 where `meta.upgrade` asked for it; names and values fit RFC 9110's grammar, names in lower case. */
  head(status: number, headers: FlatHeaders): void
  /** The bytes are the sink's to keep. The guest may have `limits.streamWindowBytes` that were not granted back under way, never more: that bounds what a sink holds. */
  body(chunk: Buffer): void
  /** The answer is complete. The invocation may go on (waitUntil) until `settled`. */
  end(): void
  /** Instead of a head, or after one: the answer is broken off. `guest` is what the shim says of it; `error.facts` tells the owner the rest. */
  failed(error: HostelError, guest?: GuestError): void
  /** The guest has room for more request body again. Only after a `write` that returned false. */
  drain(): void
  /**
   * The invocation is over in the guest (waitUntil included), or its sandbox is gone. Exactly once, last; its place has
   * been given back. After `cancel`, the only call that still comes.
   */
  settled(): void
}

/** The gateway's hold on a running exchange. All methods may be called at any time; after the end they do nothing. */
export interface Exchange {
  /** Sends request body; the bytes must stay untouched. Always takes the whole chunk; false: send no more until `drain`. */
  write(chunk: Buffer): boolean
  /** The request body is complete. */
  end(): void
  /** So many bytes of response body have been taken by the client: gives the guest credit for as many more. */
  grant(bytes: number): void
  /**
   * The answer is wanted no more. From here on the sink gets `settled` only. The scheduler sees to a guest that does not give up.
   * The caller's deadline holds until `settled`, not until `end`: it also bounds waitUntil.
   */
  cancel(reason: 'disconnect' | 'deadline'): void
}
