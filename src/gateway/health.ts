/** `/healthz` and `/readyz` of the gateway, for load balancers: answered on bare hosts, without a function. */
import type { ServerResponse } from 'node:http'

import type { Scheduler } from '../scheduler/types.ts'
import type { RoutingTable } from './routes.ts'

export interface Health {
  /** Answers one of the two paths. */
  answer(path: string, res: ServerResponse): void
}

const HEALTH_PATH = '/healthz'
const READY_PATH = '/readyz'

/** No path of a function: those have two segments at least. */
export function isHealthPath(path: string): boolean {
  return path === HEALTH_PATH || path === READY_PATH
}

/** Healthy: the process answers. Ready: calls to functions can be answered, and connections are not about to be closed. */
export function createHealth(options: { table: Pick<RoutingTable, 'filled'>; scheduler: Pick<Scheduler, 'canServe'>; isDraining(): boolean }): Health {
  const { table, scheduler, isDraining } = options
  return {
    answer(path, res) {
      const draining = isDraining()
      const parts = { routes: table.filled, sandboxes: scheduler.canServe(), accepting: !draining }
      const missing = Object.entries(parts).filter(([, isThere]) => !isThere)
      const ok = path === HEALTH_PATH || missing.length === 0
      const text = ok ? 'ok\n' : `not ready: ${missing.map(([name]) => name).join(', ')}\n`
      res.writeHead(ok ? 200 : 503, {
        'content-type': 'text/plain; charset=utf-8',
        'cache-control': 'no-store',
        'content-length': Buffer.byteLength(text),
        ...(draining && { connection: 'close' }),
      })
      res.end(text)
    },
  }
}
