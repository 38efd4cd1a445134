/** cgroup v1: one tree per controller, of which a sandbox needs four. */
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'

import { groupsIn, readIfThere, readKey, readNumber, readNumberSoon, removeGroup, signalListed, untilFrozen, writeIfThere } from './cgroup-files.ts'
import type { CgroupLimits, Cgroups, SandboxCgroup } from './cgroups.ts'

export const V1_CONTROLLERS = ['memory', 'pids', 'cpu', 'freezer'] as const

/** v1 counts shares of 1,024 where v2 counts weights of 100. */
const SHARES_PER_WEIGHT = 10.24

/** A guest at rest may compute for a thousandth of the time: see `freeze`. */
const RESTING_PERIOD_US = 1_000_000
const RESTING_QUOTA_US = 1_000

export function createCgroupsV1(instance: string, mounts: Map<string, string>): Cgroups {
  const roots = {} as Record<(typeof V1_CONTROLLERS)[number], string>
  for (const controller of V1_CONTROLLERS) {
    const mount = mounts.get(controller)
    if (mount === undefined) throw new Error(`the kernel's cgroup controller "${controller}" is not mounted`)
    roots[controller] = `${mount}/hostel/${instance}`
  }
  const remove = async (name: string): Promise<void> => {
    // Page cache charged to a removed group keeps it in the kernel for as long as the files stay cached; emptied first, it goes
    // at once. The kernel takes 100 ms over it, so only where there is some (files that nobody outside had read before).
    if (readKey(`${roots.memory}/${name}/memory.stat`, 'cache')) await writeFile(`${roots.memory}/${name}/memory.force_empty`, '0').catch(() => {})
    await Promise.all(V1_CONTROLLERS.map((controller) => removeGroup(`${roots[controller]}/${name}`)))
  }
  return {
    async create(name, limits) {
      await Promise.all(V1_CONTROLLERS.map((controller) => mkdir(`${roots[controller]}/${name}`, { recursive: true })))
      try {
        await applyLimits(name, limits)
      } catch (error) {
        await remove(name)
        throw error
      }
      return sandboxCgroup(name)
    },
    async removeInstance() {
      for (const controller of V1_CONTROLLERS) {
        for (const name of await groupsIn(roots[controller])) {
          writeIfThere(`${roots.freezer}/${name}/freezer.state`, 'THAWED')
          signalListed(`${roots[controller]}/${name}/cgroup.procs`, 'SIGKILL')
          await remove(name)
        }
        await removeGroup(roots[controller])
      }
    },
  }

  async function applyLimits(name: string, limits: CgroupLimits): Promise<void> {
    const memory = `${roots.memory}/${name}`
    await writeFile(`${memory}/memory.limit_in_bytes`, String(limits.memoryBytes))
    // Memory and swap together: only there when the kernel accounts swap.
    if (existsSync(`${memory}/memory.memsw.limit_in_bytes`)) await writeFile(`${memory}/memory.memsw.limit_in_bytes`, String(limits.memoryBytes))
    await writeFile(`${roots.pids}/${name}/pids.max`, String(limits.pids))
    await writeFile(`${roots.cpu}/${name}/cpu.shares`, shares(limits.cpuWeight))
  }

  function sandboxCgroup(name: string): SandboxCgroup {
    const memory = `${roots.memory}/${name}`
    const frozenState = `${roots.freezer}/${name}/freezer.state`
    const cpu = `${roots.cpu}/${name}`
    let wanted = false
    return {
      joinFiles: V1_CONTROLLERS.map((controller) => `${roots[controller]}/${name}/cgroup.procs`),
      setCpuWeight: (weight) => writeIfThere(`${roots.cpu}/${name}/cpu.shares`, shares(weight)),
      // What this freezer holds cannot even be killed: guests would outlive a keeper that dies, and hold its pid namespace and
      // everybody who waits for that. So it holds them only for as long as it takes to stop them all, none running meanwhile.
      async freeze() {
        wanted = true
        writeIfThere(frozenState, 'FROZEN')
        try {
          await untilFrozen(() => {
            const state = readIfThere(frozenState)
            // A process that was about to fork can hold it in FREEZING until it is asked again.
            if (wanted && state === 'FREEZING') writeIfThere(frozenState, 'FROZEN')
            return !wanted || state !== 'FREEZING'
          })
          if (wanted) {
            signalListed(`${memory}/cgroup.procs`, 'SIGSTOP')
            // A timer of the guest's own can send it SIGCONT: what wakes itself up gets next to no time.
            writeIfThere(`${cpu}/cpu.cfs_period_us`, String(RESTING_PERIOD_US))
            writeIfThere(`${cpu}/cpu.cfs_quota_us`, String(RESTING_QUOTA_US))
          }
        } finally {
          writeIfThere(frozenState, 'THAWED')
        }
      },
      thaw() {
        wanted = false
        writeIfThere(`${cpu}/cpu.cfs_quota_us`, '-1')
        writeIfThere(frozenState, 'THAWED')
        signalListed(`${memory}/cgroup.procs`, 'SIGCONT')
      },
      memoryBytes: () => readNumberSoon(`${memory}/memory.usage_in_bytes`),
      record: () => ({
        oomKills: readKey(`${memory}/memory.oom_control`, 'oom_kill') ?? 0,
        memoryPeakBytes: readNumber(`${memory}/memory.max_usage_in_bytes`),
      }),
      kill() {
        writeIfThere(frozenState, 'THAWED')
        signalListed(`${memory}/cgroup.procs`, 'SIGKILL')
      },
      remove: () => remove(name),
    }
  }
}

function shares(weight: number): string {
  return String(Math.max(2, Math.round(weight * SHARES_PER_WEIGHT)))
}
