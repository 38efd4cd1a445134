/** The gateway process: the data plane. Strangers' HTTP comes in here, so that nothing here can open a secret at rest or a root file system. */
import type { Server } from 'node:http'
import { Socket } from 'node:net'
import type { AddressInfo } from 'node:net'

import { createBuildRunner } from './builds/runner.ts'
import { withBuilderDoors } from './builds/doors.ts'
import { createGuard } from './egress/guard.ts'
import { createLookup } from './egress/lookup.ts'
import { HostelError } from './errors.ts'
import { hostRulesOf } from './gateway/address.ts'
import type { HostRules } from './gateway/address.ts'
import { createAccess } from './gateway/auth.ts'
import { createAccessLog } from './gateway/access-log.ts'
import { clientAddressOf, trustedProxiesOf } from './gateway/client.ts'
import { createControlLink } from './gateway/control-link.ts'
import { createHealth } from './gateway/health.ts'
import { createInFlight } from './gateway/in-flight.ts'
import { createRateLimiter } from './gateway/rate-limit.ts'
import { createRoutingTable } from './gateway/routes.ts'
import { createEdge } from './gateway/server.ts'
import { createTlsListener } from './gateway/tls.ts'
import { newInvocationId } from './invocations/ids.ts'
import { createReports } from './invocations/reports.ts'
import type { InvocationRecord } from './functions/types.ts'
import type { CertificatePair, ChildSettings, EdgeSettings, FromKeeper } from './keeper/messages.ts'
import { limits } from './limits.ts'
import { createKeeperClient } from './scheduler/keeper.ts'
import { createScheduler } from './scheduler/scheduler.ts'
import { countEgress } from './telemetry/egress.ts'
import { countInvocations } from './telemetry/invocations.ts'
import { createLogger } from './telemetry/logger.ts'
import { countLogs } from './telemetry/logs.ts'
import { processFigures } from './telemetry/process.ts'
import { createRegistry } from './telemetry/registry.ts'
import { createTracer } from './telemetry/tracer.ts'
import { steadyNowMs } from './telemetry/clock.ts'

/** Where the keeper leaves the listening socket. */
const LISTENING_FD = 4
/** And those for TLS and for the access log, where there are any. */
const TLS_FD = 5
const ACCESS_LOG_FD = 6
/** Of the time for a stop: kept back for ending sandboxes and handing over the last records. */
const STOP_RESERVE = 0.3

const logger = createLogger('gateway')
const keeper = createKeeperClient((message) => process.send!(message))
let gateway: ReturnType<typeof start> | undefined

process.on('message', (message: FromKeeper, handle: unknown) => {
  if (keeper.receive(message, handle)) return
  if (message.type === 'start') gateway = start(message.settings)
  else if (message.type === 'certificates') gateway?.useCertificates(message.pairs)
  else if (message.type === 'link' && handle instanceof Socket) gateway?.attach(handle)
  else if (message.type === 'stop') void gateway?.stop(message.withinMs).finally(() => process.exit(0))
})
// Signals reach the whole process group; what they mean is the keeper's to decide, and it says `stop`.
process.on('SIGTERM', () => {})
process.on('SIGINT', () => {})
process.on('disconnect', () => process.exit(1))

interface Gateway {
  attach(socket: Socket): void
  useCertificates(pairs: CertificatePair[]): void
  stop(withinMs: number): Promise<void>
}

function start(settings: ChildSettings): Gateway {
  const { tlsAddress, trustedProxies, clientRequestsPerSecond, accessLog: accessLogFormat } = settings.edge ?? noEdge
  let draining = false
  const inFlight = createInFlight()

  // Figures, which control asks for.
  const metrics = createRegistry()
  metrics.source(processFigures('gateway'))
  metrics.gauge('hostel_invocations_in_flight', () => inFlight.count)
  const countInvocation = countInvocations(metrics)
  const countLog = countLogs(metrics)
  const countAttempt = countEgress(metrics)

  // What functions did, on its way to control.
  const reports = createReports(logger, metrics)

  // The ways out of sandboxes, where a version has any.
  const ownPorts = [settings.apiAddress, settings.gatewayAddress, ...(tlsAddress === null ? [] : [tlsAddress])].map(portOf)
  const egress = withBuilderDoors(
    {
      guard: createGuard(settings.egressAllow, ownPorts),
      lookup: createLookup(settings.egressDns),
      services: settings.services,
      record(attempt) {
        countAttempt(attempt)
        reports.egress(attempt)
        builds.egress(attempt)
      },
      newId: newInvocationId,
    },
    ownPorts,
  )

  // Sandboxes.
  const scheduler = createScheduler({
    keeper,
    settings,
    logger,
    egress,
    metrics,
    events: {
      onLog(line, dropped) {
        countLog(line, dropped)
        reports.log(line)
      },
      onSandboxEnd: (end) => logger.info(end, 'a sandbox ended'),
    },
  })

  // Which function a request means.
  const table = createRoutingTable({
    onRetire: (tenant, name, keep) => scheduler.retire(tenant, name, keep),
    onVersions: (versions) => scheduler.noteVersions(versions),
  })

  // Requests, and builds, which are requests of our own.
  const tracer = settings.otlp === null ? undefined : createTracer({ url: new URL(settings.otlp), ratio: settings.traceRatio, metrics, logger })
  const services = {
    ...(tracer && { tracer }),
    scheduler,
    record(record: InvocationRecord) {
      countInvocation(record)
      reports.record(record)
    },
    count: inFlight.change,
    refusal: () => (draining ? new HostelError('shutting_down', undefined, { retryAfterSeconds: 1 }) : null),
  }
  const builds = createBuildRunner(services)
  const access = createAccess()
  const control = createControlLink({ table, scheduler, reports, access, metrics, builds })
  const health = createHealth({ table, scheduler, isDraining: () => draining })
  const proxies = trustedProxiesOf(trustedProxies)
  const accessLog =
    accessLogFormat === null ? null : createAccessLog(ACCESS_LOG_FD, accessLogFormat, (req, connection) => clientAddressOf(req, connection, proxies))
  const edge = createEdge({
    table,
    services,
    access,
    logger,
    health,
    proxies,
    clientLimiter: clientRequestsPerSecond === null ? null : createRateLimiter(clientRequestsPerSecond, limits.rateLimitClientsMax),
    accessLog,
    hostRules: (server) => hostRules(server, settings),
    isDraining: () => draining,
  })
  const tls = tlsAddress === null ? null : createTlsListener(edge, logger)

  // Until the table is there, the kernel keeps connections waiting.
  void control.firstTable(limits.firstRoutesTimeoutMs).then(() => {
    if (draining) return
    tls?.server.listen({ fd: TLS_FD })
    edge.server.listen({ fd: LISTENING_FD }, () => process.send!({ type: 'ready' }))
  })

  return {
    attach: control.attach,
    useCertificates(pairs) {
      try {
        tls?.replace(pairs)
      } catch (error) {
        logger.error({ err: error }, 'certificates that cannot be used; those from before stay')
      }
    },
    async stop(withinMs) {
      const until = steadyNowMs() + withinMs
      draining = true
      tls?.server.close()
      edge.drain()
      await inFlight.drained(withinMs * (1 - STOP_RESERVE))
      edge.end()
      await scheduler.stop(Math.max(0, until - steadyNowMs()))
      void tracer?.flush()
      await accessLog?.flush()
      await reports.flush(Math.max(0, until - steadyNowMs()))
    },
  }
}

function hostRules(server: Server, settings: ChildSettings): HostRules {
  const named = URL.parse(settings.gatewayAddress.includes('://') ? settings.gatewayAddress : `http://${settings.gatewayAddress}`)
  const secure = URL.parse(`https://${settings.edge?.tlsAddress ?? ''}`)
  return hostRulesOf(settings.domain, [(server.address() as AddressInfo).address, ...[named, secure].flatMap((url) => (url ? [url.hostname] : []))])
}

const noEdge: EdgeSettings = { tlsAddress: null, trustedProxies: [], clientRequestsPerSecond: null, accessLog: null }

function portOf(address: string): number {
  return Number(address.slice(address.lastIndexOf(':') + 1))
}
