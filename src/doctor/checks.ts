/** All checks of the machine, in the order in which they are shown. Needs no server. */
import type { Check } from './check.ts'
import { checkCgroups } from './cgroups.ts'
import { checkKernel, checkOverlay, checkRoot, checkSeccomp, checkUserNamespaces } from './kernel.ts'
import { checkOptionalEngines } from './optional.ts'
import { checkPorts } from './ports.ts'
import { checkPrograms } from './programs.ts'
import { checkClock, checkDisk, checkMemory, checkOpenFiles } from './resources.ts'
import { checkRuntimes } from './runtimes.ts'

/** Never rejects: a check that fails in an unforeseen way becomes a failed check with that error. */
export async function runChecks(): Promise<Check[]> {
  const groups: Record<string, () => Check | Check[] | Promise<Check | Check[]>> = {
    root: checkRoot,
    kernel: checkKernel,
    cgroups: checkCgroups,
    'user namespaces': checkUserNamespaces,
    seccomp: checkSeccomp,
    overlayfs: checkOverlay,
    programs: checkPrograms,
    runtimes: checkRuntimes,
    ports: checkPorts,
    memory: checkMemory,
    disk: checkDisk,
    'open files': checkOpenFiles,
    clock: checkClock,
    'optional engines': checkOptionalEngines,
  }
  const found = await Promise.all(
    Object.entries(groups).map(async ([name, check]): Promise<Check | Check[]> => {
      try {
        return await check()
      } catch (error) {
        return { name, ok: false, detail: `could not be checked: ${error instanceof Error ? error.message : String(error)}` }
      }
    }),
  )
  return found.flat()
}
