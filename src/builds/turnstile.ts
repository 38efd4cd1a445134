/** Lets so many in at once, one of each tenant at a time, the others in the order in which they came. */
import { HostelError } from '../errors.ts'

export interface Turnstile {
  /** `onWait` when it is not at once. Disposing lets the next one in. @throws HostelError `too_many_requests` when too many wait */
  enter(tenant: string, onWait: () => void): Promise<Disposable>
}

export function createTurnstile(atOnce: number, waitingMax: number): Turnstile {
  const inside = new Set<string>()
  const waiting: { tenant: string; enter: () => void }[] = []

  function letIn(): void {
    while (inside.size < atOnce) {
      const at = waiting.findIndex(({ tenant }) => !inside.has(tenant))
      if (at < 0) return
      const [next] = waiting.splice(at, 1)
      inside.add(next!.tenant)
      next!.enter()
    }
  }

  return {
    async enter(tenant, onWait) {
      if (waiting.length >= waitingMax) throw new HostelError('too_many_requests', 'too many builds wait already', { retryAfterSeconds: 30 })
      const { promise, resolve } = Promise.withResolvers<void>()
      waiting.push({ tenant, enter: resolve })
      letIn()
      if (waiting.some(({ enter }) => enter === resolve)) onWait()
      await promise
      return {
        [Symbol.dispose]() {
          inside.delete(tenant)
          letIn()
        },
      }
    },
  }
}
