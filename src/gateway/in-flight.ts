/** How many invocations are under way, and waiting until there are none. */
export interface InFlight {
  readonly count: number
  change(by: 1 | -1): void
  /** Resolves when there are none, with true, or after so long, with false. */
  drained(withinMs: number): Promise<boolean>
}

export function createInFlight(): InFlight {
  let count = 0
  let onNone: (() => void) | null = null
  return {
    get count() {
      return count
    },
    change(by) {
      count += by
      if (count === 0) onNone?.()
    },
    async drained(withinMs) {
      if (count === 0) return true
      const { promise, resolve } = Promise.withResolvers<boolean>()
      onNone = () => resolve(true)
      const timer = setTimeout(() => resolve(false), withinMs)
      try {
        return await promise
      } finally {
        clearTimeout(timer)
        onNone = null
      }
    },
  }
}
