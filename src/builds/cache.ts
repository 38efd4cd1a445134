/**
 * What builds installed, by what decided it: `deps/<tenant>/<key>/` with the tree and what is known of it. A tenant's entries are that
 * tenant's alone, since what install scripts made is only as good as who asked for them. The least lately used go first.
 */
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

export interface Installed {
  /** Of the installed tree. */
  digest: string
  bytes: number
  files: number
}

export interface Found extends Installed {
  directory: string
}

export interface BuildCache {
  find(tenant: string, key: string): Promise<Found | undefined>
  /** Takes over what is at `work`: a directory with the tree in `tree`. */
  add(tenant: string, key: string, work: string, installed: Installed): Promise<Found>
}

interface Bounds {
  totalMaxBytes: number
  tenantMaxBytes: number
}

export function openBuildCache(root: string, bounds: Bounds): BuildCache {
  const placeOf = (tenant: string, key: string): string => join(root, tenant, key)

  async function shrink(keep: string): Promise<void> {
    const entries: { directory: string; tenant: string; bytes: number; usedAtMs: number }[] = []
    for (const tenant of await readdir(root)) {
      for (const key of await readdir(join(root, tenant))) {
        const directory = join(root, tenant, key)
        const meta = join(directory, 'meta.json')
        const [text, found] = await Promise.all([readFile(meta, 'utf8').catch(() => '{}'), stat(meta).catch(() => undefined)])
        entries.push({ directory, tenant, bytes: (JSON.parse(text) as Partial<Installed>).bytes ?? 0, usedAtMs: found?.mtimeMs ?? 0 })
      }
    }
    entries.sort((a, b) => b.usedAtMs - a.usedAtMs)
    const ofTenant = new Map<string, number>()
    let total = 0
    for (const entry of entries) {
      const mine = (ofTenant.get(entry.tenant) ?? 0) + entry.bytes
      if (entry.directory !== keep && (total + entry.bytes > bounds.totalMaxBytes || mine > bounds.tenantMaxBytes)) {
        await rm(entry.directory, { recursive: true, force: true })
        continue
      }
      total += entry.bytes
      ofTenant.set(entry.tenant, mine)
    }
  }

  return {
    async find(tenant, key) {
      const directory = placeOf(tenant, key)
      const meta = join(directory, 'meta.json')
      const text = await readFile(meta, 'utf8').catch(() => undefined)
      if (text === undefined) return undefined
      const now = new Date()
      await utimes(meta, now, now)
      return { ...(JSON.parse(text) as Installed), directory: join(directory, 'tree') }
    },

    async add(tenant, key, work, installed) {
      const directory = placeOf(tenant, key)
      await writeFile(join(work, 'meta.json'), JSON.stringify(installed))
      await mkdir(join(root, tenant), { recursive: true, mode: 0o700 })
      if (existsSync(directory)) await rm(directory, { recursive: true })
      await rename(work, directory)
      await shrink(directory)
      return { ...installed, directory: join(directory, 'tree') }
    },
  }
}
