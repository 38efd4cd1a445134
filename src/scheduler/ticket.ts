/**
 * One request's hold on a place: the lease, the exchange in it, its second try when a sandbox died before it could begin,
 * and what happens when it does not end after being cancelled.
 */
import { HostelError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { StartKind } from '../functions/types.ts'
import type { Exchange, ExchangeSink, RequestHead } from '../sandbox/exchange.ts'
import type { FlatHeaders, GuestError } from '../sandbox/protocol.ts'
import type { GuestStream } from '../sandbox/stream.ts'
import { steadyNowMs } from '../telemetry/clock.ts'
import type { Cause } from './causes.ts'
import type { Sandbox } from './sandbox.ts'
import type { Lease } from './types.ts'

/** What tickets need of the scheduler; one object for all of them. */
export interface TicketOffice {
  /** Gives a place back; `stuck`: it had been counted as stuck. */
  release(sandbox: Sandbox, stuck: boolean): void
  /** Another place of the same version. */
  again(ticket: Ticket, signal: AbortSignal): Promise<Sandbox>
  /** A cancelled request has not settled although its time is up. */
  overdue(ticket: Ticket, sandbox: Sandbox): void
}

export class Ticket implements Lease, ExchangeSink {
  deadlineAtMs: number
  place: Sandbox
  settledInGuest = false
  /** Its handler goes on after its deadline. */
  stuck = false
  start: StartKind
  private readonly office: TicketOffice
  private requestHead: RequestHead | null = null
  private sink: ExchangeSink | null = null
  private stream: GuestStream | null = null
  private holdsPlace = true
  private cancelled: 'disconnect' | 'deadline' | null = null
  private bodyTouched = false
  private triedAgain = false
  /** While another place is looked for: what the caller wrote meanwhile. */
  private searching: AbortController | null = null
  private heldBody: Buffer | null = null
  private bodyEnded = false
  private timer: NodeJS.Timeout | null = null

  constructor(office: TicketOffice, place: Sandbox, deadlineAtMs: number) {
    this.office = office
    this.place = place
    this.deadlineAtMs = deadlineAtMs
    this.start = startKind(place)
  }

  get sandbox(): number {
    return this.place.id
  }

  exchange(head: RequestHead, sink: ExchangeSink): Exchange {
    if (this.sink !== null || !this.holdsPlace) throw new HostelError('internal', 'a lease is good for one exchange')
    this.sink = sink
    this.requestHead = head
    if (this.place.state === 'ending') this.searchAgain()
    else this.open(head)
    return new TicketExchange(this)
  }

  extend(deadlineAtMs: number): void {
    this.deadlineAtMs = deadlineAtMs
  }

  note(text: string): void {
    this.place.logs.system(text, this.requestHead?.meta.id)
  }

  release(): void {
    if (this.sink === null) this.giveBack()
  }

  [Symbol.dispose](): void {
    this.release()
  }

  // What the caller does with the exchange.

  writeBody(chunk: Buffer): boolean {
    this.bodyTouched = true
    if (this.searching === null) return this.stream?.write(chunk) ?? true
    this.heldBody = this.heldBody === null ? chunk : Buffer.concat([this.heldBody, chunk])
    return false
  }

  endBody(): void {
    this.bodyEnded = true
    if (this.searching === null) this.stream?.end()
  }

  grant(bytes: number): void {
    this.stream?.grant(bytes)
  }

  cancel(reason: 'disconnect' | 'deadline'): void {
    if (this.settledInGuest || this.cancelled === 'deadline') return
    const first = this.cancelled === null
    this.cancelled = reason
    if (this.searching !== null) {
      this.searching.abort()
      return
    }
    this.stream?.cancel(reason)
    if (first) this.wait(limits.cancelGraceMs)
    else this.checkOverdue()
  }

  // What the guest answers.

  head(status: number, headers: FlatHeaders): void {
    this.sink!.head(status, headers)
  }

  body(chunk: Buffer): void {
    this.sink!.body(chunk)
  }

  end(): void {
    this.sink!.end()
  }

  failed(error: HostelError, guest?: GuestError): void {
    this.sink!.failed(error, guest)
  }

  drain(): void {
    this.sink!.drain()
  }

  settled(): void {
    this.finish()
  }

  /** Its sandbox is dead. */
  lost(begun: boolean, answered: boolean, cause: Cause): void {
    this.holdsPlace = false
    const mayTryAgain = !begun && !answered && !this.triedAgain && !this.bodyTouched && this.cancelled === null
    // What cannot start here cannot start elsewhere.
    if (mayTryAgain && (this.place.initialised || !cause.ownFault)) {
      this.searchAgain()
      return
    }
    if (!answered) this.sink!.failed(cause.error, cause.error.facts['guest'] as GuestError | undefined)
    this.finish()
  }

  private open(head: RequestHead): void {
    try {
      this.stream = this.place.connection.exchange(head, this)
      this.place.invocations++
    } catch (error) {
      this.giveBack()
      throw error
    }
  }

  private searchAgain(): void {
    this.giveBack()
    this.triedAgain = true
    this.stream = null
    this.searching = new AbortController()
    void this.continueElsewhere(this.searching.signal)
  }

  private async continueElsewhere(signal: AbortSignal): Promise<void> {
    try {
      const place = await this.office.again(this, signal)
      this.searching = null
      this.place = place
      this.start = startKind(place)
      this.holdsPlace = true
      const left = Math.max(1, Math.round(this.deadlineAtMs - steadyNowMs()))
      this.open({ ...this.requestHead!, meta: { ...this.requestHead!.meta, deadlineMs: left } })
      this.continueBody()
    } catch (error) {
      this.searching = null
      const failure = error instanceof HostelError ? error : new HostelError('internal', undefined, { cause: error })
      if (this.cancelled === null) this.sink!.failed(failure)
      this.finish()
    }
  }

  private continueBody(): void {
    const held = this.heldBody
    this.heldBody = null
    const room = held === null || this.stream!.write(held)
    if (this.bodyEnded) this.stream!.end()
    // With no room, the stream itself says when there is.
    if (held !== null && room) this.sink!.drain()
  }

  private wait(forMs: number): void {
    this.timer = setTimeout(() => this.checkOverdue(), forMs)
  }

  /** A client that left may have its handler finish in peace until the deadline; the place is taken so long. */
  private checkOverdue(): void {
    clearTimeout(this.timer ?? undefined)
    if (this.settledInGuest) return
    const leftMs = this.deadlineAtMs - steadyNowMs()
    if (this.cancelled === 'disconnect' && leftMs > 0) this.wait(leftMs)
    // Before the function is started its event loop owes no answer; the limit on starting ends that.
    else if (!this.place.initialised) this.wait(limits.cancelGraceMs)
    else this.office.overdue(this, this.place)
  }

  private finish(): void {
    if (this.settledInGuest) return
    this.settledInGuest = true
    if (this.timer !== null) clearTimeout(this.timer)
    this.giveBack()
    this.sink!.settled()
  }

  private giveBack(): void {
    if (!this.holdsPlace) return
    this.holdsPlace = false
    this.office.release(this.place, this.stuck)
  }
}

/** Its own object, since an exchange's `end` and a sink's are different things. */
class TicketExchange implements Exchange {
  private readonly ticket: Ticket

  constructor(ticket: Ticket) {
    this.ticket = ticket
  }

  write(chunk: Buffer): boolean {
    return this.ticket.writeBody(chunk)
  }

  end(): void {
    this.ticket.endBody()
  }

  grant(bytes: number): void {
    this.ticket.grant(bytes)
  }

  cancel(reason: 'disconnect' | 'deadline'): void {
    this.ticket.cancel(reason)
  }
}

function startKind(place: Sandbox): StartKind {
  return place.initialised ? 'warm' : place.start
}
