/** Installs what code depends on, once for all deploys that depend on the same, and gives each the tree of both. */
import { createHash, randomUUID } from 'node:crypto'
import { createWriteStream, mkdirSync } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { once } from 'node:events'

import { HostelError } from '../errors.ts'
import type { CodeStore } from '../functions/code/store.ts'
import type { Dependencies } from '../functions/deploy.ts'
import type { RoutedVersion } from '../functions/types.ts'
import type { RuntimeInfo } from '../keeper/messages.ts'
import { limits } from '../limits.ts'
import type { LinkCalls } from '../link/messages.ts'
import { createBuilders } from './builder.ts'
import type { Registries } from './builder.ts'
import { openBuildCache } from './cache.ts'
import type { Found } from './cache.ts'
import { buildFailure } from './explain.ts'
import { createFrameReader } from './frames.ts'
import { joinedDigest, joinTrees } from './join.ts'
import type { BuildLog, BuildLogs } from './log.ts'
import { needOf } from './need.ts'
import type { Need } from './need.ts'
import { packSource } from './source.ts'
import { createTurnstile } from './turnstile.ts'

/** The gateway, as builds need it. */
export interface BuildGateway {
  /** Runs a builder, whose answer comes part by part; what `output` throws ends it. @throws HostelError `unavailable` when the gateway is away, or goes. */
  build(
    call: { build: string; version: RoutedVersion; source: Buffer },
    events: { output(chunk: Buffer): Promise<void>; note(text: string): void },
  ): Promise<LinkCalls['build']['result']>
}

interface Parts {
  dataDir: string
  code: CodeStore
  gateway: BuildGateway
  registries: Registries
  memoryBudgetMiB: number
  logs: BuildLogs
}

export function createBuilds(parts: Parts): Dependencies {
  const { dataDir, code, gateway, logs } = parts
  const root = join(dataDir, 'deps')
  mkdirSync(root, { recursive: true, mode: 0o700 })
  const cache = openBuildCache(root, { totalMaxBytes: limits.buildCacheMaxBytes, tenantMaxBytes: limits.buildCachePerTenantMaxBytes })
  const builders = createBuilders(code, parts.registries, parts.memoryBudgetMiB)
  const turnstile = createTurnstile(limits.buildsAtOnceMax, limits.buildsWaitingMax)
  /** Builds under way, so that deploys that need the same wait for one. */
  const underWay = new Map<string, Promise<Found>>()

  async function treeFor(wish: Parameters<Dependencies['treeFor']>[0], log: BuildLog): Promise<string | undefined> {
    const directory = code.directoryOf(wish.code)
    const need = await needOf(directory, wish.runtime.name)
    if (!need) return undefined
    for (const note of need.notes) log.say(note)
    const key = await keyOf(need, wish.tenant, wish.code, wish.runtime)
    const cached = await cache.find(wish.tenant, key)
    if (cached) {
      log.say(`${need.command}: nothing has changed, taken from the cache (${describe(cached)})`)
      // It may be the one that has just gone.
      const tree = await joined(wish.code, directory, cached).catch(() => undefined)
      if (tree) return tree
    }
    const running = underWay.get(`${wish.tenant}/${key}`)
    if (running) log.say('the same is being built already; waiting for it')
    const mine = running ?? build(need, wish, key, directory, log).finally(() => underWay.delete(`${wish.tenant}/${key}`))
    underWay.set(`${wish.tenant}/${key}`, mine)
    return joined(wish.code, directory, await mine)
  }

  async function joined(digest: string, directory: string, found: Found): Promise<string> {
    const name = joinedDigest(digest, found.digest)
    if (code.has(name)) return name
    await inWorkDirectory(async (work) => {
      const tree = join(work, 'tree')
      await mkdir(tree)
      await joinTrees([directory, found.directory], tree)
      await code.add(name, tree)
    })
    return name
  }

  async function build(need: Need, wish: { tenant: string; runtime: RuntimeInfo }, key: string, directory: string, log: BuildLog): Promise<Found> {
    const source = await packSource(need, directory)
    using _turn = await turnstile.enter(wish.tenant, () => log.say('waiting for other builds'))
    const id = randomUUID()
    log.say(`${need.command} in a sandbox of its own, from ${builders.registryOf(need.tool)}`)
    return inWorkDirectory(async (work) => {
      const archive = join(work, 'archive')
      await run(id, { need, source, version: await builders.versionOf(id, need, wish.runtime.name) }, archive, log)
      log.say('unpacking')
      await mkdir(join(work, 'tree'))
      const installed = await code.unpack(archive, join(work, 'tree')).catch((error: unknown) => {
        if (error instanceof HostelError && error.code !== 'internal')
          throw new HostelError('build_failed', `what was installed can't be used: ${error.message}`, { cause: error })
        throw error
      })
      await rm(archive)
      const found = await cache.add(wish.tenant, key, work, installed)
      log.say(`installed ${describe(found)}`)
      return found
    })
  }

  /** One builder, whose archive is written down. @throws HostelError `build_failed` with the reason and the end of the log */
  async function run(id: string, what: { need: Need; source: Buffer; version: RoutedVersion }, archive: string, log: BuildLog): Promise<void> {
    const read = createFrameReader()
    const file = createWriteStream(archive, { flags: 'wx', mode: 0o600 })
    let end: { ok: boolean; message: string } | undefined
    let bytes = 0
    let refusal: Error | undefined
    const take = async (chunk: Buffer): Promise<void> => {
      for (const frame of read(chunk)) {
        if (frame.kind === 'line') {
          if (frame.text.trim() !== '') log.say(frame.text)
        } else if (frame.kind === 'end') end = frame
        else {
          bytes += frame.bytes.length
          if (bytes > limits.codeArchiveMaxBytes)
            throw new HostelError('build_failed', `what was installed is larger than ${limits.codeArchiveMaxBytes / 1024 / 1024} MiB packed`)
          if (!file.write(frame.bytes)) await once(file, 'drain')
        }
      }
    }
    try {
      const result = await gateway.build(
        { build: id, version: what.version, source: what.source },
        {
          note: (text) => log.say(text),
          async output(chunk) {
            try {
              await take(chunk)
            } catch (error) {
              refusal ??= error as Error
              throw error
            }
          },
        },
      )
      file.end()
      await once(file, 'close')
      if (refusal) throw refusal
      if (result.outcome !== 'ok' || !end?.ok) throw buildFailure(what.need, result, end?.message, log)
    } finally {
      file.destroy()
    }
  }

  async function keyOf(need: Need, tenant: string, digest: string, runtime: RuntimeInfo): Promise<string> {
    const parts = [
      tenant,
      runtime.name,
      runtime.version,
      runtime.digest,
      process.arch,
      need.command,
      builders.registryOf(need.tool),
      await builders.digest(),
      need.files,
      need.isLocal && digest,
    ]
    return createHash('sha256').update(JSON.stringify(parts)).digest('hex')
  }

  async function inWorkDirectory<T>(work: (directory: string) => Promise<T>): Promise<T> {
    // Cleared when the server starts, should this process end before.
    const directory = join(dataDir, 'tmp', randomUUID())
    await mkdir(directory, { mode: 0o700 })
    try {
      return await work(directory)
    } finally {
      await rm(directory, { recursive: true, force: true })
    }
  }

  return {
    async treeFor(wish) {
      const log = logs.open(wish.tenant, wish.build)
      try {
        return await treeFor(wish, log)
      } finally {
        log.end()
      }
    },
  }
}

function describe({ files, bytes }: { files: number; bytes: number }): string {
  return `${files} file${files === 1 ? '' : 's'}, ${(bytes / 1_048_576).toFixed(1)} MiB`
}
