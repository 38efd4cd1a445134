/** The control API: one Fastify server with its guard, its errors, its description and its routes. */
import swagger from '@fastify/swagger'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import fastify from 'fastify'
import type { FastifyBaseLogger, FastifyInstance, RawServerDefault, RouteOptions } from 'fastify'
import type { IncomingMessage, ServerResponse } from 'node:http'

import { HostelError } from '../errors.ts'
import { limits } from '../limits.ts'
import { createAudit } from './audit.ts'
import type { ApiContext } from './context.ts'
import { createGuard } from './guard.ts'
import { createMeasure } from './measure.ts'
import { description } from './openapi.ts'
import { sendProblem } from './problems.ts'
import { auditRoutes } from './routes/audit.ts'
import { backupRoutes } from './routes/backup.ts'
import { buildRoutes } from './routes/builds.ts'
import { codeRoutes } from './routes/code.ts'
import { egressRoutes } from './routes/egress.ts'
import { functionRoutes } from './routes/functions.ts'
import { invocationRoutes } from './routes/invocations.ts'
import { logRoutes } from './routes/logs.ts'
import { operationRoutes } from './routes/operations.ts'
import { sandboxRoutes } from './routes/sandboxes.ts'
import { secretRoutes } from './routes/secrets.ts'
import { systemRoutes } from './routes/system.ts'
import { tenantRoutes } from './routes/tenants.ts'
import { tokenRoutes } from './routes/tokens.ts'
import { versionRoutes } from './routes/versions.ts'
import { validatorCompiler } from './validation.ts'

export type Api = FastifyInstance<RawServerDefault, IncomingMessage, ServerResponse, FastifyBaseLogger, TypeBoxTypeProvider>

/** JSON bodies: an environment at its limit, escaped, and then some. */
const JSON_BODY_MAX_BYTES = 512 * 1024
/** For a whole request to arrive, an upload at its limit over a slow line included. */
const REQUEST_TIMEOUT_MS = 300_000
const HEADERS_TIMEOUT_MS = 10_000
const IDLE_TIMEOUT_MS = 65_000
/** The API is for people and their tools; ten times what may follow logs. */
const CONNECTIONS_MAX = 10 * limits.logFollowersMax

/** Builds the server, ready to be given a socket to listen on. `onRoute` sees each route that there is. */
export async function createApi(context: ApiContext, onRoute: (route: RouteOptions) => void = () => {}): Promise<Api> {
  const api = fastify({
    bodyLimit: JSON_BODY_MAX_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: IDLE_TIMEOUT_MS,
    http: { headersTimeout: HEADERS_TIMEOUT_MS, maxHeaderSize: limits.requestHeadMaxBytes, keepAlive: true },
    exposeHeadRoutes: false,
    requestIdHeader: false,
    frameworkErrors: (error, request, reply) => void sendProblem(error, request, reply, context.logger),
  }).withTypeProvider<TypeBoxTypeProvider>()

  api.addHook('onRoute', onRoute)
  api.addHook('onResponse', createMeasure(context.metrics))
  api.decorateRequest('token', null)
  api.decorateRequest('change', null)
  api.addHook('onRequest', createGuard(context.store, context.system.apiAddress.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1')))
  api.addHook('onSend', createAudit(context.store.audit, context.logger))
  api.setValidatorCompiler(validatorCompiler)
  api.setErrorHandler((error, request, reply) => sendProblem(error, request, reply, context.logger))
  api.setNotFoundHandler((request) => {
    throw new HostelError('not_found', `the control API has no ${request.method} ${request.url.split('?')[0]!.slice(0, 200)}; /openapi.json lists what it has`)
  })
  // An archive is passed on as it comes: its size is counted where it is received.
  api.addContentTypeParser('application/gzip', (_request, payload, done) => done(null, payload))
  api.removeContentTypeParser('text/plain')

  await api.register(swagger, description(context.system.version))
  systemRoutes(api, context)
  operationRoutes(api, context)
  codeRoutes(api, context)
  functionRoutes(api, context)
  buildRoutes(api, context)
  egressRoutes(api, context)
  versionRoutes(api, context)
  logRoutes(api, context)
  invocationRoutes(api, context)
  sandboxRoutes(api, context)
  tenantRoutes(api, context)
  tokenRoutes(api, context)
  auditRoutes(api, context)
  secretRoutes(api, context)
  backupRoutes(api, context)
  // Public since it tells nothing that the source does not.
  api.get('/openapi.json', { config: { public: true }, schema: { hide: true } }, async () => api.swagger())
  await api.ready()
  api.server.maxConnections = CONNECTIONS_MAX
  return api
}
