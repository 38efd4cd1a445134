/** What the kernel must offer. */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { release } from 'node:os'
import { promisify } from 'node:util'

import type { Check } from './check.ts'

const PROBE_TIMEOUT_MS = 5_000
/** mount_setattr(2), by which a sandbox's code becomes read-only, is in 5.12; cgroup.kill in 5.14. */
const KERNEL_NEEDED: [number, number] = [5, 14]

export function checkRoot(): Check {
  const uid = process.getuid?.()
  if (uid === 0) return { name: 'root', ok: true, detail: 'running as root' }
  return {
    name: 'root',
    ok: 'warn',
    detail: `running as uid ${uid}; the server must be started by root, and some checks see less without it`,
    mend: 'sudo hostel doctor',
  }
}

export function checkKernel(): Check {
  return judgeKernel(release())
}

export function judgeKernel(version: string): Check {
  const [major = 0, minor = 0] = version.split(/[.-]/).map(Number)
  const [neededMajor, neededMinor] = KERNEL_NEEDED
  if (major > neededMajor || (major === neededMajor && minor >= neededMinor)) return { name: 'kernel', ok: true, detail: `Linux ${version}` }
  return {
    name: 'kernel',
    ok: false,
    detail: `Linux ${version} is older than ${KERNEL_NEEDED.join('.')}`,
    mend: 'apt-get install linux-image-amd64 (or -arm64), then reboot',
  }
}

export async function checkUserNamespaces(): Promise<Check> {
  const name = 'user namespaces'
  try {
    await promisify(execFile)('unshare', ['--user', '--map-root-user', '--mount', '--pid', '--fork', '--net', 'true'], { timeout: PROBE_TIMEOUT_MS })
    return { name, ok: true, detail: 'can be made, with pid, mount and network namespaces in them' }
  } catch (error) {
    return {
      name,
      ok: false,
      detail: `cannot be made: ${((error as { stderr?: string }).stderr || (error as Error).message).trim()}`,
      mend: 'sysctl -w user.max_user_namespaces=63000',
    }
  }
}

export function checkSeccomp(): Check {
  // The file lists what filters can do; without filters it is not there.
  const actions = readOr('/proc/sys/kernel/seccomp/actions_avail', '')
  if (actions.includes('errno')) return { name: 'seccomp', ok: true, detail: 'system call filters are available' }
  return { name: 'seccomp', ok: false, detail: 'this kernel filters no system calls', mend: 'use a kernel built with CONFIG_SECCOMP_FILTER' }
}

export function checkOverlay(): Check {
  if (/\boverlay$/m.test(readOr('/proc/filesystems', ''))) return { name: 'overlayfs', ok: true, detail: 'available' }
  return { name: 'overlayfs', ok: 'warn', detail: 'not loaded; functions made from images will need it', mend: 'modprobe overlay' }
}

function readOr(path: string, otherwise: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return otherwise
  }
}
