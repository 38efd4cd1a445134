/** Joins a guest's connection with the one made for it, until both are done or a limit ends them. */
import type { Socket } from 'node:net'

import { limits } from '../limits.ts'

/** What came of it: why it was broken off, or null when both sides ended it. */
export type OnSpliced = (reason: string | null) => void

/** Each side slows the other down, and ends the other's input when its own output ends. `onDone` is called exactly once, with both destroyed. */
export function splice(guest: Socket, outside: Socket, onDone: OnSpliced): void {
  let bytes = 0
  let over = false

  const finish = (reason: string | null): void => {
    if (over) return
    over = true
    clearTimeout(timer)
    guest.destroy()
    outside.destroy()
    onDone(reason)
  }
  const timer = setTimeout(() => finish('it was open for longer than a connection may be'), limits.egressConnectionMaxMs)
  const count = (chunk: Buffer): void => {
    bytes += chunk.length
    if (bytes > limits.egressConnectionMaxBytes) finish('it carried more bytes than a connection may')
  }
  /** Both outputs ended and passed on: nothing more can come. */
  const closed = (one: Socket, other: Socket): void => {
    const ended = one.readableEnded && other.readableEnded
    if (!ended) finish(one === guest ? 'the function broke it off' : 'the target broke it off')
    else if (one.destroyed && other.destroyed) finish(null)
  }

  for (const [from, to] of [
    [guest, outside],
    [outside, guest],
  ] as const) {
    from.on('data', count)
    // 'close' follows, and is where ends are handled.
    from.on('error', () => {})
    // A program that is done says so only for its own direction; the other's last words get less time.
    from.once('end', () => outside.setTimeout(limits.egressHalfClosedTimeoutMs))
    from.once('close', () => closed(from, to))
    from.pipe(to)
  }
  // Whatever moves, moves through this one.
  outside.setTimeout(limits.egressIdleTimeoutMs)
  outside.once('timeout', () => finish(`nothing came or went for ${outside.timeout! / 60_000} min`))
  if (guest.destroyed) finish('the function broke it off')
}
