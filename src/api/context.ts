/** What the routes of the control API work with. */
import type { Backups } from '../backup/write.ts'
import type { BuildLogs } from '../builds/log.ts'
import type { CodeStore } from '../functions/code/store.ts'
import type { Deployer } from '../functions/deploy.ts'
import type { Logs } from '../functions/logs.ts'
import type { Tenants } from '../functions/tenants.ts'
import type { Tokens } from '../functions/tokens.ts'
import type { SandboxInfo } from '../functions/types.ts'
import type { FunctionUrls } from '../functions/urls.ts'
import type { RuntimeInfo } from '../keeper/messages.ts'
import type { Secrets } from '../secrets/secrets.ts'
import type { Store } from '../store/store.ts'
import type { Logger } from '../telemetry/logger.ts'
import type { Registry } from '../telemetry/registry.ts'

export interface ApiContext {
  store: Store
  code: CodeStore
  deployer: Deployer
  tenants: Tenants
  tokens: Tokens
  secrets: Secrets
  backups: Backups
  logs: Logs
  /** What the API counts, and all figures as text. */
  metrics: Registry
  figures: { text(tenant: string | null): Promise<string> }
  keeper: { readonly connected: boolean }
  buildLogs: Pick<BuildLogs, 'follow'>
  gateway: { readonly connected: boolean; sandboxes(): Promise<SandboxInfo[]> }
  urls: { gateway: string; of(tenant: string, name: string): FunctionUrls }
  system: {
    version: string
    runtimes: RuntimeInfo[]
    domain: string
    /** `host:port` that the API listens on, and its URL. */
    apiAddress: string
    apiUrl: string
    memoryBudgetMiB: number
    maxSandboxes: number
  }
  logger: Logger
}
