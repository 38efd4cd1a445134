/** cgroup v2: the one tree. */
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'

import { groupsIn, readKey, readNumber, readNumberSoon, removeGroup, signalListed, untilFrozen, writeIfThere } from './cgroup-files.ts'
import type { CgroupLimits, Cgroups, SandboxCgroup } from './cgroups.ts'

export function createCgroupsV2(instance: string, mount: string | undefined): Cgroups {
  if (mount === undefined) throw new Error('no cgroup file system is mounted; mount one: mount -t cgroup2 none /sys/fs/cgroup')
  const root = `${mount}/hostel/${instance}`
  let prepared: Promise<void> | undefined

  const remove = async (name: string): Promise<void> => {
    // Page cache would hold the removed group in the kernel; the kernel can be asked to drop it since 5.19.
    if (readKey(`${root}/${name}/memory.stat`, 'file')) await writeFile(`${root}/${name}/memory.reclaim`, '1G').catch(() => {})
    await removeGroup(`${root}/${name}`)
  }
  return {
    async create(name, limits) {
      prepared ??= prepare()
      await prepared
      await mkdir(`${root}/${name}`)
      try {
        await applyLimits(`${root}/${name}`, limits)
      } catch (error) {
        await remove(name)
        throw error
      }
      return sandboxCgroup(name)
    },
    async removeInstance() {
      for (const name of await groupsIn(root)) {
        sandboxCgroup(name).kill()
        await remove(name)
      }
      await removeGroup(root)
    },
  }

  /** A controller works in a group once each group above passes it down. */
  async function prepare(): Promise<void> {
    await mkdir(root, { recursive: true })
    for (const group of [mount!, `${mount}/hostel`, root]) await writeFile(`${group}/cgroup.subtree_control`, '+memory +pids +cpu')
  }

  async function applyLimits(group: string, limits: CgroupLimits): Promise<void> {
    await writeFile(`${group}/memory.max`, String(limits.memoryBytes))
    if (existsSync(`${group}/memory.swap.max`)) await writeFile(`${group}/memory.swap.max`, '0')
    await writeFile(`${group}/pids.max`, String(limits.pids))
    await writeFile(`${group}/cpu.weight`, String(limits.cpuWeight))
  }

  function sandboxCgroup(name: string): SandboxCgroup {
    const group = `${root}/${name}`
    let wanted = false
    return {
      joinFiles: [`${group}/cgroup.procs`],
      setCpuWeight: (weight) => writeIfThere(`${group}/cpu.weight`, String(weight)),
      async freeze() {
        wanted = true
        writeIfThere(`${group}/cgroup.freeze`, '1')
        await untilFrozen(() => !wanted || readKey(`${group}/cgroup.events`, 'frozen') !== 0)
      },
      thaw() {
        wanted = false
        writeIfThere(`${group}/cgroup.freeze`, '0')
      },
      memoryBytes: () => readNumberSoon(`${group}/memory.current`),
      record: () => ({ oomKills: readKey(`${group}/memory.events`, 'oom_kill') ?? 0, memoryPeakBytes: readNumber(`${group}/memory.peak`) }),
      kill() {
        if (existsSync(`${group}/cgroup.kill`)) writeIfThere(`${group}/cgroup.kill`, '1')
        else signalListed(`${group}/cgroup.procs`, 'SIGKILL')
      },
      remove: () => remove(name),
    }
  }
}
