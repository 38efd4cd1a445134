/** For tests: the API over a store of its own, without a gateway. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { RouteOptions } from 'fastify'

import { createBackups } from '../../backup/write.ts'
import { createBuildLogs } from '../../builds/log.ts'
import { openCodeStore } from '../../functions/code/store.ts'
import { createDeployer } from '../../functions/deploy.ts'
import { createLogs } from '../../functions/logs.ts'
import { createTenants } from '../../functions/tenants.ts'
import { hashToken } from '../../functions/token.ts'
import { createTokens } from '../../functions/tokens.ts'
import { urlMaker } from '../../functions/urls.ts'
import { openKeyRing } from '../../secrets/keys.ts'
import { createSecrets } from '../../secrets/secrets.ts'
import { openVault } from '../../secrets/vault.ts'
import { openStore } from '../../store/store.ts'
import { createLogger } from '../../telemetry/logger.ts'
import { createRegistry } from '../../telemetry/registry.ts'
import type { ApiContext } from '../context.ts'
import { createApi } from '../server.ts'
import type { Api } from '../server.ts'

/** The server's own token. */
export const ADMIN_TOKEN = 'admin-token'

export async function startTestApi(onRoute: (route: RouteOptions) => void): Promise<{ api: Api; context: ApiContext; close(): Promise<void> }> {
  const directory = mkdtempSync(join(tmpdir(), 'hostel-api-'))
  const store = await openStore(directory, { onProblem: (message) => assert.fail(message), onLost: (error) => assert.fail(error) })
  await store.access.setAdminToken(hashToken(ADMIN_TOKEN))
  const code = openCodeStore(directory)
  const gateway = {
    connected: true,
    prepare: () => Promise.reject(new Error('no gateway')),
    route() {},
    unroute() {},
    namingSecret: () => [],
    resend: () => Promise.resolve(),
    quotas: () => Promise.resolve(),
    tokens: () => Promise.resolve(),
    sandboxes: () => Promise.resolve([]),
  }
  const system = { version: '0', runtimes: [], domain: 'localhost', apiAddress: 'hostel.example:8081', apiUrl: '', memoryBudgetMiB: 1, maxSandboxes: 1 }
  const deployer = createDeployer({ functions: store.functions, code, gateway, runtimes: [], dependencies: { treeFor: async () => undefined } })
  const tokens = createTokens(store.access, gateway)
  const vault = await openVault(store.secrets, openKeyRing(join(directory, 'keys')))
  const context: ApiContext = {
    store,
    code,
    deployer,
    tenants: createTenants({ store, deployer, tokens, gateway, vault }),
    tokens,
    secrets: createSecrets({ vault, store: store.secrets, gateway }),
    backups: createBackups({ dataDir: directory, store, code, version: '0' }),
    logs: createLogs(store.records),
    metrics: createRegistry(),
    figures: { text: () => Promise.resolve('') },
    keeper: { connected: true },
    gateway,
    urls: urlMaker('127.0.0.1:8080', 'localhost'),
    buildLogs: createBuildLogs(),
    system,
    logger: createLogger('test'),
  }
  const api = await createApi(context, onRoute)
  return {
    api,
    context,
    async close() {
      await api.close()
      await code.close()
      await store.close()
      rmSync(directory, { recursive: true })
    },
  }
}
