/** The gateway's end of the link to control: takes the routing table, answers what control asks, and outlives control's absence. */
import type { Socket } from 'node:net'

import { HostelError } from '../errors.ts'
import type { Reports } from '../invocations/reports.ts'
import { Link } from '../link/link.ts'
import type { LinkCalls } from '../link/messages.ts'
import type { GuestError } from '../sandbox/protocol.ts'
import type { Scheduler } from '../scheduler/types.ts'
import type { Access } from './auth.ts'
import type { Registry } from '../telemetry/registry.ts'
import type { RoutingTable } from './routes.ts'

export interface ControlLink {
  /** Uses this stream from now on; one from before is closed. */
  attach(socket: Socket): void
  /** Resolves when the first routing table has come, or after so long. */
  firstTable(withinMs: number): Promise<void>
}

/** As often as control notes the use of a token at most. */
const TOKENS_USED_EVERY_MS = 60_000

/** Runs builders for control. */
export interface BuildCalls {
  run(call: LinkCalls['build']['params'], link: Link): Promise<LinkCalls['build']['result']>
}

export function createControlLink(options: {
  table: RoutingTable
  scheduler: Scheduler
  reports: Reports
  access: Access
  metrics: Registry
  builds: BuildCalls
}): ControlLink {
  const { table, scheduler, reports, access, metrics, builds } = options
  const { promise: filled, resolve: onFilled } = Promise.withResolvers<void>()
  let link: Link | null = null

  setInterval(() => {
    const hashes = access.takeUsed()
    if (hashes.length > 0) link?.emit('tokensUsed', { hashes })
  }, TOKENS_USED_EVERY_MS).unref()

  return {
    attach(socket) {
      link?.close()
      const fresh: Link = new Link(socket, {
        events: {
          routes(page) {
            table.take(page)
            if (page.last) onFilled()
          },
          route: (event) => table.replace(event.function),
          quotas({ tenants }) {
            access.setQuotas(tenants)
            scheduler.setQuotas(tenants)
          },
          tokens: ({ tokens }) => access.setTokens(tokens),
          unroute: ({ tenant, name }) => table.remove(tenant, name),
        },
        calls: {
          prepare: (params) => prepare(scheduler, params),
          // Events come in order, so that those before it have been seen to.
          sync: async () => ({}),
          metrics: async () => ({ samples: metrics.samples() }),
          sandboxes: async () => ({ sandboxes: await scheduler.list() }),
          build: (params) => builds.run(params, fresh),
        },
      })
      link = fresh
      reports.attach(fresh)
    },
    async firstTable(withinMs) {
      const { promise: late, resolve } = Promise.withResolvers<void>()
      const timer = setTimeout(resolve, withinMs)
      await Promise.race([filled, late])
      clearTimeout(timer)
    },
  }
}

/** A version that fails to start is an answer, not a fault of the link. */
async function prepare(scheduler: Scheduler, { version }: LinkCalls['prepare']['params']): Promise<LinkCalls['prepare']['result']> {
  try {
    return await scheduler.prepare(version)
  } catch (error) {
    if (!(error instanceof HostelError)) throw error
    const { guest, ...facts } = error.facts as { guest?: GuestError }
    return { error: { code: error.code, message: error.message, ...(guest && { guest }), facts } }
  }
}
