/** Notes each change that goes through the API in the audit log, before its answer leaves. */
import type { FastifyReply, FastifyRequest } from 'fastify'

import type { AuditStore } from '../store/audit.ts'
import type { Logger } from '../telemetry/logger.ts'

/** What a route tells of its change, beyond what its path does. Never values of secrets or of environment variables. */
export interface Change {
  /** Where the path does not name it. */
  tenant?: string
  target?: string
  before?: object | null
  after?: object | null
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** For routes that are no GET and change nothing all the same. */
    changesNothing?: boolean
  }
  interface FastifyRequest {
    /** Set by a route; `none` when nothing was changed after all. */
    change: Change | 'none' | null
  }
}

const READING = ['GET', 'HEAD', 'OPTIONS']

/** A hook for `onSend`. */
export function createAudit(audit: AuditStore, logger: Logger): (request: FastifyRequest, reply: FastifyReply) => Promise<void> {
  return async (request, reply) => {
    const { token, change } = request
    const { config, schema } = request.routeOptions
    if (reply.statusCode >= 400 || READING.includes(request.method) || config.changesNothing || change === 'none' || !token) return
    const { tenant, ...rest } = (request.params ?? {}) as Record<string, string | number>
    try {
      await audit.add({
        token: token.id,
        tokenName: token.name,
        address: request.ip,
        tenant: change?.tenant ?? (tenant === undefined ? null : String(tenant)),
        action: (schema as { operationId?: string } | undefined)?.operationId ?? `${request.method} ${request.routeOptions.url}`,
        target: change?.target ?? Object.values(rest).join(' '),
        before: recordOf(change?.before),
        after: recordOf(change?.after),
      })
    } catch (error) {
      // It is done already; that it is not noted is for the operator to know.
      logger.error({ err: error, method: request.method, url: request.url, token: token.id }, 'a change could not be noted in the audit log')
    }
  }
}

function recordOf(value: object | null | undefined): Record<string, unknown> | null {
  return value ? { ...value } : null
}
