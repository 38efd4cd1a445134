/**
 * The control process: control API, store and deploys. Unprivileged, without a network but its listening socket; started by the
 * keeper, and the gateway's partner over the link. Read it as the table of contents of everything control does.
 */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { join } from 'node:path'

import { createApi } from './api/server.ts'
import { createBackups } from './backup/write.ts'
import { gatherFigures } from './control/figures.ts'
import { createBuilds } from './builds/builds.ts'
import { createBuildLogs } from './builds/log.ts'
import { createGatewayLink } from './control/gateway.ts'
import { startJanitor } from './control/janitor.ts'
import { listenToKeeper, tellReady } from './control/keeper.ts'
import { openCodeStore } from './functions/code/store.ts'
import { createDeployer } from './functions/deploy.ts'
import { createLogs } from './functions/logs.ts'
import { createTenants } from './functions/tenants.ts'
import { hashToken } from './functions/token.ts'
import { createTokens } from './functions/tokens.ts'
import { reachableAddress, urlMaker } from './functions/urls.ts'
import type { ChildSettings } from './keeper/messages.ts'
import { openKeyRing } from './secrets/keys.ts'
import { createSecrets } from './secrets/secrets.ts'
import { openVault } from './secrets/vault.ts'
import { openStore } from './store/store.ts'
import type { MetricSample } from './telemetry/catalogue.ts'
import { createLogger } from './telemetry/logger.ts'
import { createRegistry } from './telemetry/registry.ts'
import type { Registry } from './telemetry/registry.ts'

/** The listening socket that the keeper made. */
const LISTENING_FD = 4

/** For requests in hand when control is asked to stop; a deploy that takes longer is broken off. */
const FINISH_REQUESTS_MS = 1_000

const logger = createLogger('control')
const version = (JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }).version

interface Running {
  link(socket: Socket): void
  metrics(samples: MetricSample[]): void
  stop(): Promise<void>
}

async function start(settings: ChildSettings): Promise<Running> {
  const { dataDir, runtimes, domain, apiAddress, memoryBudgetMiB, maxSandboxes, adminToken } = settings

  // 1. What is kept.
  const store = await openStore(dataDir, { onProblem: (message, error) => logger.error({ err: error }, message), onLost: fail })
  if (adminToken !== undefined) await store.access.setAdminToken(hashToken(adminToken))
  const code = openCodeStore(dataDir)
  const vault = await openVault(store.secrets, openKeyRing(join(dataDir, 'keys')))
  const lost = vault.unreadable()
  if (lost.length > 0) logger.error({ secrets: lost }, 'secrets can not be opened, since their key is lost; set them anew, or restore a backup')

  // 2. The other side: the gateway gets routes, and hands over records and logs.
  const metrics = createRegistry()
  const logs = createLogs(store.records)
  const gateway = createGatewayLink(
    await store.functions.routes(),
    vault,
    async (batch, options) => {
      await measured(metrics, () => store.records.append(batch, options))
      logs.arrived(batch)
    },
    (hashes) => void store.access.noteUse(hashes).catch((error: Error) => logger.warn({ err: error }, 'the use of tokens could not be noted')),
  )
  await gateway.quotas(await store.tenants.quotas())
  const figures = gatherFigures({ registry: metrics, gateway, version })

  // 3. What can be asked for.
  const buildLogs = createBuildLogs()
  const dependencies = createBuilds({ dataDir, code, gateway, registries: settings.registries, memoryBudgetMiB, logs: buildLogs })
  const deployer = createDeployer({ functions: store.functions, code, gateway, runtimes, services: settings.services, dependencies })
  const urls = urlMaker(settings.gatewayAddress, domain)
  const system = { version, runtimes, domain, apiAddress, apiUrl: `http://${reachableAddress(apiAddress)}`, memoryBudgetMiB, maxSandboxes }
  const tokens = createTokens(store.access, gateway)
  await tokens.push()
  const tenants = createTenants({ store, deployer, tokens, gateway, vault })
  const secrets = createSecrets({ vault, store: store.secrets, gateway })
  const backups = createBackups({ dataDir, store, code, version })
  const api = await createApi({
    store,
    code,
    deployer,
    tenants,
    tokens,
    secrets,
    backups,
    logs,
    buildLogs,
    metrics,
    figures,
    keeper: process,
    gateway,
    urls,
    system,
    logger,
  })
  api.server.listen({ fd: LISTENING_FD })
  await once(api.server, 'listening')

  // 4. What goes on by itself.
  const stopJanitor = startJanitor(store, code, settings.retention, logger)

  return {
    link: (socket) => gateway.attach(socket),
    metrics: figures.ofKeeper,
    async stop() {
      // Who follows logs is told at once; other requests get a moment to finish.
      logs.close()
      setTimeout(() => api.server.closeAllConnections(), FINISH_REQUESTS_MS)
      await backups.close()
      await api.close()
      gateway.close()
      await stopJanitor()
      await code.close()
      await store.close()
    },
  }
}

async function measured(metrics: Registry, append: () => Promise<unknown>): Promise<void> {
  const startMs = performance.now()
  try {
    await append()
  } catch (error) {
    metrics.counter('hostel_batches_total', { result: 'failed' }).value++
    throw error
  }
  metrics.counter('hostel_batches_total', { result: 'ok' }).value++
  metrics.histogram('hostel_batch_duration_seconds').observe((performance.now() - startMs) / 1_000)
}

function fail(error: Error): never {
  logger.fatal({ err: error }, error.message)
  process.exit(1)
}

let running: Promise<Running> | undefined

process.umask(0o077)
listenToKeeper({
  start(settings) {
    running = start(settings)
    running.then(tellReady, fail)
  },
  link(socket) {
    running?.then((one) => one.link(socket), fail)
  },
  metrics(samples) {
    running?.then((one) => one.metrics(samples), fail)
  },
  stop(withinMs) {
    setTimeout(() => fail(new Error(`control did not stop within ${withinMs} ms`)), withinMs)
    Promise.resolve(running)
      .then((one) => one?.stop())
      .then(() => process.exit(0), fail)
  },
})
