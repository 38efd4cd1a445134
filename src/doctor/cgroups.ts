/** Which control groups the machine has: Hostel limits memory, processes and CPU with them, and freezes idle sandboxes. */
import { readFileSync } from 'node:fs'

import type { Check } from './check.ts'

/** `hybrid`: version 1 controllers beside a version 2 tree without any. */
type CgroupMode = 'v2' | 'v1' | 'hybrid' | 'none'

const V1_NEEDED = ['memory', 'pids', 'cpu', 'freezer']
/** Version 2 freezes in every group, without a controller. */
const V2_NEEDED = ['memory', 'pids', 'cpu']

export function checkCgroups(): Check {
  const { mode, v1Controllers, v2Mount } = parseCgroupMounts(readFileSync('/proc/self/mountinfo', 'utf8'))
  const controllers = mode === 'v2' ? readFileSync(`${v2Mount}/cgroup.controllers`, 'utf8').trim().split(/\s+/) : v1Controllers
  return judgeCgroups(mode, controllers)
}

export function judgeCgroups(mode: CgroupMode, controllers: string[]): Check {
  const name = 'cgroups'
  if (mode === 'none') return { name, ok: false, detail: 'no control groups are mounted', mend: 'mount -t cgroup2 none /sys/fs/cgroup' }
  const missing = (mode === 'v2' ? V2_NEEDED : V1_NEEDED).filter((controller) => !controllers.includes(controller))
  const kind = { v2: 'version 2', v1: 'version 1', hybrid: 'version 1 with an empty version 2 tree beside it' }[mode]
  if (missing.length === 0) return { name, ok: true, detail: `${kind}; ${(mode === 'v2' ? V2_NEEDED : V1_NEEDED).join(', ')}` }
  const mend = missing.includes('memory') ? 'boot the kernel with cgroup_enable=memory' : 'boot the kernel with systemd.unified_cgroup_hierarchy=1'
  return { name, ok: false, detail: `${kind}, without ${missing.join(', ')}`, mend }
}

/** Reads /proc/PID/mountinfo (proc_pid_mountinfo(5)). */
export function parseCgroupMounts(mountinfo: string): { mode: CgroupMode; v1Controllers: string[]; v2Mount: string | null } {
  const v1Controllers: string[] = []
  let v2Mount: string | null = null
  for (const line of mountinfo.split('\n')) {
    const [before, after] = line.split(' - ')
    const [type, , superOptions] = after?.split(' ') ?? []
    if (type === 'cgroup2') v2Mount ??= before!.split(' ')[4]!
    // Flags such as rw stand among the controllers.
    if (type === 'cgroup')
      v1Controllers.push(...(superOptions ?? '').split(',').filter((option) => option !== 'rw' && option !== 'ro' && !option.includes('=')))
  }
  const mode = v1Controllers.length > 0 ? (v2Mount ? 'hybrid' : 'v1') : v2Mount ? 'v2' : 'none'
  return { mode, v1Controllers, v2Mount }
}
