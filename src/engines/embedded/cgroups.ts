/** Control groups behind one small interface: `cgroups-v1.ts` (hybrid too) and `cgroups-v2.ts`. */
import { readFileSync } from 'node:fs'
import { rmdir } from 'node:fs/promises'

import { groupsIn } from './cgroup-files.ts'
import { V1_CONTROLLERS, createCgroupsV1 } from './cgroups-v1.ts'
import { createCgroupsV2 } from './cgroups-v2.ts'
import { unmount } from './mounts.native.ts'

export interface CgroupLimits {
  memoryBytes: number
  pids: number
  /** 1 to 10,000, 100 being what everyone gets by default (cgroup v2's scale). */
  cpuWeight: number
}

/** What the kernel counted in a group's life. */
export interface CgroupRecord {
  oomKills: number
  /** Highest memory use in bytes; undefined where the kernel does not tell. */
  memoryPeakBytes: number | undefined
}

/** One sandbox's group. */
export interface SandboxCgroup {
  /** A process that writes `0` into each of these is in the group. */
  readonly joinFiles: readonly string[]
  setCpuWeight(weight: number): void
  /** Resolves when every process stands still. @throws Error after a second without that. */
  freeze(): Promise<void>
  thaw(): void
  memoryBytes(): Promise<number>
  record(): CgroupRecord
  /** SIGKILL to whatever is in it. */
  kill(): void
  /** Gives back what is charged and removes the group; it must be empty or about to be. @throws Error when it stays busy for two seconds. */
  remove(): Promise<void>
}

/** The groups of one server: `hostel/<instance>/`. */
export interface Cgroups {
  create(name: string, limits: CgroupLimits): Promise<SandboxCgroup>
  /** Kills and removes all groups of the instance, and the instance's own. */
  removeInstance(): Promise<void>
}

/** Groups of `instance`, on whatever the machine has. @throws Error naming what is missing. */
export function openCgroups(instance: string): Cgroups {
  const mounts = cgroupMounts()
  return mounts.v1.has('memory') ? createCgroupsV1(instance, mounts.v1) : createCgroupsV2(instance, mounts.v2)
}

/**
 * On a hybrid machine, takes the v2 tree away from this mount namespace: it has no controllers there, and crun refuses to
 * work beside it.
 */
export async function hideUnifiedTree(): Promise<void> {
  const mounts = cgroupMounts()
  if (mounts.v1.has('memory') && mounts.v2 !== undefined) await unmount(mounts.v2)
}

/** Names of the instances that have groups now: ours, other servers' and dead ones'. */
export async function instancesWithCgroups(): Promise<string[]> {
  const found = await Promise.all(roots().map((root) => groupsIn(root)))
  return [...new Set(found.flat())]
}

/** Removes `hostel/` itself unless another server has groups in it. */
export async function removeCgroupRoot(): Promise<void> {
  for (const root of roots()) if ((await groupsIn(root)).length === 0) await rmdir(root).catch(() => {})
}

function roots(): string[] {
  const mounts = cgroupMounts()
  const used = mounts.v1.has('memory') ? V1_CONTROLLERS.map((controller) => mounts.v1.get(controller)) : [mounts.v2]
  return used.filter((root) => root !== undefined).map((root) => `${root}/hostel`)
}

interface CgroupMounts {
  /** Controller → mount point. */
  v1: Map<string, string>
  v2: string | undefined
}

function cgroupMounts(): CgroupMounts {
  const v1 = new Map<string, string>()
  let v2: string | undefined
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    // id parent major:minor root mountpoint options … - type source superoptions
    const [left, right] = line.split(' - ')
    if (left === undefined || right === undefined) continue
    const mountPoint = left.split(' ')[4]!
    const [type, , options] = right.split(' ')
    if (type === 'cgroup2') v2 ??= mountPoint
    if (type === 'cgroup') for (const option of options!.split(',')) if (!v1.has(option)) v1.set(option, mountPoint)
  }
  return { v1, v2 }
}
