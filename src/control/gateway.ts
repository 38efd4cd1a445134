/** Control's end of the link to the gateway: it gets the routing table first, then each change, and hands over its records. */
import type { Socket } from 'node:net'
import { performance } from 'node:perf_hooks'

import { HostelError } from '../errors.ts'
import type { Gateway } from '../functions/deploy.ts'
import type { RoutedFunction, SandboxInfo } from '../functions/types.ts'
import { limits } from '../limits.ts'
import { Link } from '../link/link.ts'

export interface GatewayLink extends Gateway {
  readonly connected: boolean
  /** Uses this stream from now on; the one before is closed. */
  attach(socket: Socket): void
  sandboxes(): Promise<SandboxInfo[]>
  close(): void
}

/** The gateway answers from memory. */
const SANDBOXES_TIMEOUT_MS = 5_000
/** All that a first start may take, and something for the way. */
const PREPARE_TIMEOUT_MS = limits.queueMaxWaitMs + limits.bootTimeoutMs + limits.initTimeoutMs + 5_000

/**
 * @param routes all functions as they are now; kept up to date by `route` and `unroute`.
 * @param onBatch makes a batch (the JSON text of its records and logs) durable; `mayRepeat` when the gateway may have sent it before: on
 * the link before, or since it did not wait for the answer.
 */
export function createGatewayLink(
  routes: readonly RoutedFunction[],
  onBatch: (batch: Uint8Array, options: { mayRepeat: boolean }) => Promise<void>,
): GatewayLink {
  const table = new Map(routes.map((one) => [key(one.tenant, one.name), one]))
  let link: Link | undefined

  function connected(): Link {
    if (!link) throw new HostelError('unavailable', 'the gateway is not there at the moment', { retryAfterSeconds: 1 })
    return link
  }

  return {
    get connected() {
      return link !== undefined
    },

    attach(socket) {
      link?.close()
      let mayRepeat = true
      let unanswered = 0
      const fresh = new Link(socket, {
        rawCalls: {
          async batch(batch) {
            const startMs = performance.now()
            unanswered += 1
            try {
              const isRepeated = mayRepeat || unanswered > 1
              mayRepeat = true
              await onBatch(batch, { mayRepeat: isRepeated })
              mayRepeat = performance.now() - startMs > limits.batchTimeoutMs / 2
            } finally {
              unanswered -= 1
            }
            return {}
          },
        },
      })
      fresh.emit('routes', { functions: [...table.values()] })
      link = fresh
      void fresh.closed.then(() => {
        if (link === fresh) link = undefined
      })
    },

    async prepare(version) {
      return connected().call('prepare', { version }, { timeoutMs: PREPARE_TIMEOUT_MS })
    },

    route(changed) {
      table.set(key(changed.tenant, changed.name), changed)
      link?.emit('route', { function: changed })
    },

    unroute(tenant, name) {
      table.delete(key(tenant, name))
      link?.emit('unroute', { tenant, name })
    },

    async sandboxes() {
      return (await connected().call('sandboxes', {}, { timeoutMs: SANDBOXES_TIMEOUT_MS })).sandboxes
    },

    close() {
      link?.close()
    },
  }
}

function key(tenant: string, name: string): string {
  return `${tenant}/${name}`
}
