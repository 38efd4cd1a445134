/** Counts the control API's answers by route, of which there are so many and no more. */
import type { FastifyReply, FastifyRequest } from 'fastify'

import type { Registry } from '../telemetry/registry.ts'

/** A hook for `onResponse`. */
export function createMeasure(registry: Registry): (request: FastifyRequest, reply: FastifyReply) => Promise<void> {
  const duration = registry.histogram('hostel_api_duration_seconds')
  return async (request, reply) => {
    const { url } = request.routeOptions
    const route = url === undefined ? 'unknown' : `${request.method} ${url}`
    registry.counter('hostel_api_requests_total', { route, status: String(reply.statusCode) }).value++
    // These end when their reader goes.
    if (!url?.endsWith('/logs')) duration.observe(reply.elapsedTime / 1_000)
  }
}
