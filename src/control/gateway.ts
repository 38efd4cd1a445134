/** Control's end of the link to the gateway: it gets the routing table first, then each change, and hands over its records. */
import type { Socket } from 'node:net'
import { performance } from 'node:perf_hooks'
import { setImmediate as nextTurn } from 'node:timers/promises'

import { HostelError } from '../errors.ts'
import type { Gateway } from '../functions/deploy.ts'
import type { InvokeToken, RoutedFunction, RoutedVersion, SandboxInfo, TenantQuotas } from '../functions/types.ts'
import { limits } from '../limits.ts'
import { Link } from '../link/link.ts'
import type { MetricSample } from '../telemetry/catalogue.ts'
import type { LinkCalls } from '../link/messages.ts'
import { pagesOf } from './pages.ts'

export interface GatewayLink extends Gateway {
  readonly connected: boolean
  /** Uses this stream from now on; the one before is closed. */
  attach(socket: Socket): void
  /** The functions of a tenant of which some version names this secret. */
  namingSecret(tenant: string, name: string): RoutedFunction[]
  /** Sends these functions anew, filled as they are now; resolves once the gateway has taken them, or is away: then it gets all when it is back. */
  resend(functions: readonly RoutedFunction[]): Promise<void>
  sandboxes(): Promise<SandboxInfo[]>
  /** Runs a builder, whose answer comes part by part. @throws HostelError `unavailable` when the gateway is away, or goes. */
  build(call: { build: string; version: RoutedVersion; source: Buffer }, events: BuildEvents): Promise<LinkCalls['build']['result']>
  /** All tenants with quotas, from now on and for later links. */
  quotas(tenants: TenantQuotas[]): Promise<void>
  /** All tokens that may call functions, likewise. Both resolve once the gateway has taken them, or is away. */
  tokens(tokens: InvokeToken[]): Promise<void>
  /** The gateway's figures. @throws HostelError `unavailable` */
  metrics(): Promise<MetricSample[]>
  close(): void
}

export interface BuildEvents {
  /** What it throws ends the build. */
  output(chunk: Buffer): Promise<void>
  note(text: string): void
}

/** What is added to functions just before they are sent, and kept nowhere else: the values of their secrets. */
export interface Filler {
  filled(functions: readonly RoutedFunction[]): RoutedFunction[]
  /** For one that is about to start. @throws HostelError when something is missing */
  fillVersion(version: RoutedVersion): RoutedVersion
}

/** The gateway answers from memory. */
const SANDBOXES_TIMEOUT_MS = 5_000
const SYNC_TIMEOUT_MS = 5_000
/** Prometheus gives up after 10 s. */
const METRICS_TIMEOUT_MS = 3_000
/** All that a first start may take, and something for the way. */
const BUILD_TIMEOUT_MS = limits.buildTimeoutMs + limits.queueMaxWaitMs + limits.bootTimeoutMs + 5_000
const PREPARE_TIMEOUT_MS = limits.queueMaxWaitMs + limits.bootTimeoutMs + limits.initTimeoutMs + 5_000

/**
 * @param routes all functions as they are now; kept up to date by `route` and `unroute`.
 * @param onBatch makes a batch (the JSON text of its records and logs) durable; `mayRepeat` when the gateway may have sent it before: on
 * the link before, or since it did not wait for the answer.
 * @param onTokensUsed hashes of tokens with which functions were called.
 */
export function createGatewayLink(
  routes: readonly RoutedFunction[],
  filler: Filler,
  onBatch: (batch: Uint8Array, options: { mayRepeat: boolean }) => Promise<void>,
  onTokensUsed: (hashes: readonly string[]) => void,
): GatewayLink {
  const table = new Map(routes.map((one) => [key(one.tenant, one.name), one]))
  let quotas: TenantQuotas[] = []
  let tokens: InvokeToken[] = []
  let link: Link | undefined
  const builds = new Map<string, BuildEvents>()

  function connected(): Link {
    if (!link) throw new HostelError('unavailable', 'the gateway is not there at the moment', { retryAfterSeconds: 1 })
    return link
  }

  function send(to: Link | undefined, one: RoutedFunction): void {
    to?.emit('route', { function: filler.filled([one])[0]! })
  }

  /** Page by page, so that neither end has to hold or parse it all at once. What changes meanwhile is sent as it changes. */
  async function sendTable(to: Link): Promise<void> {
    let first = true
    for (const page of pagesOf(table.values(), filler.filled)) {
      if (link !== to) return
      to.emit('routes', { ...page, first })
      first = false
      await to.drained()
      await nextTurn()
    }
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
        events: { tokensUsed: ({ hashes }) => onTokensUsed(hashes), buildNote: ({ build, text }) => builds.get(build)?.note(text) },
        calls: {
          async buildOutput({ build, data }) {
            const events = builds.get(build)
            if (!events) throw new Error('nobody waits for this build')
            await events.output(Buffer.from(data, 'base64'))
            return {}
          },
        },
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
      // Before the routes: nobody is served by them without these.
      fresh.emit('quotas', { tenants: quotas })
      fresh.emit('tokens', { tokens })
      link = fresh
      void sendTable(fresh)
      void fresh.closed.then(() => {
        if (link === fresh) link = undefined
      })
    },

    async prepare(version) {
      return connected().call('prepare', { version: filler.fillVersion(version) }, { timeoutMs: PREPARE_TIMEOUT_MS })
    },

    route(changed) {
      table.set(key(changed.tenant, changed.name), changed)
      send(link, changed)
    },

    unroute(tenant, name) {
      table.delete(key(tenant, name))
      link?.emit('unroute', { tenant, name })
    },

    async quotas(tenants) {
      quotas = tenants
      link?.emit('quotas', { tenants })
      await taken(link)
    },

    async tokens(all) {
      tokens = all
      link?.emit('tokens', { tokens })
      await taken(link)
    },

    namingSecret(tenant, name) {
      return [...table.values()].filter((one) => one.tenant === tenant && one.versions.some(({ secrets }) => secrets && Object.values(secrets).includes(name)))
    },

    async resend(functions) {
      const to = link
      for (const one of functions) send(to, one)
      await taken(to)
    },

    async sandboxes() {
      return (await connected().call('sandboxes', {}, { timeoutMs: SANDBOXES_TIMEOUT_MS })).sandboxes
    },

    async metrics() {
      return (await connected().call('metrics', {}, { timeoutMs: METRICS_TIMEOUT_MS })).samples
    },

    async build({ build, version, source }, events) {
      builds.set(build, events)
      try {
        return await connected().call('build', { build, version, source: source.toString('base64') }, { timeoutMs: BUILD_TIMEOUT_MS })
      } finally {
        builds.delete(build)
      }
    },

    close() {
      link?.close()
    },
  }
}

/** Resolves once what was sent before has been seen to. A gateway that does not answer is on its way out, and the next gets all of it. */
async function taken(link: Link | undefined): Promise<void> {
  await link?.call('sync', {}, { timeoutMs: SYNC_TIMEOUT_MS }).catch(() => {})
}

function key(tenant: string, name: string): string {
  return `${tenant}/${name}`
}
