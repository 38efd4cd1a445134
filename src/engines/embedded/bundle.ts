/** The OCI document of a sandbox, as data. Everything a guest can see and do follows from here and from `seccomp.ts`. */
import { type MemoryClassMiB, limits } from '../../limits.ts'
import type { Runtime } from './runtimes.ts'
import { seccompProfile } from './seccomp.ts'

/** Whom the guest's processes run as inside; outside it is the slot's first id plus this. */
const GUEST_UID = 1_000

/** Kernel knobs and tables that tell of the host or reach it; what the OCI runtimes mask by default, and more. */
const MASKED_PATHS = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/bus',
  '/proc/config.gz',
  '/proc/fs',
  '/proc/interrupts',
  '/proc/irq',
  '/proc/kallsyms',
  '/proc/kcore',
  '/proc/key-users',
  '/proc/keys',
  '/proc/kmsg',
  '/proc/latency_stats',
  '/proc/modules',
  '/proc/mtrr',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/slabinfo',
  '/proc/sysrq-trigger',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/vmallocinfo',
  '/proc/zoneinfo',
]
const READONLY_PATHS = ['/proc/sys']

/**
 * V8 sizes its heap by the machine, not by the cgroup, and ignores flags set after its start: without these a guest is killed
 * long before it collects garbage. Of a class, about a third is left for code, buffers and stacks.
 */
const NODE_HEAP_MIB: Record<MemoryClassMiB, { old: number; semi: number }> = {
  128: { old: 64, semi: 4 },
  256: { old: 160, semi: 8 },
  512: { old: 384, semi: 16 },
  1024: { old: 832, semi: 16 },
  2048: { old: 1_792, semi: 16 },
  4096: { old: 3_712, semi: 16 },
}

/** Where every runtime looks for the authorities it trusts (SSL_CERT_FILE in `runtimes/recipes.mjs`). */
export const AUTHORITIES = '/etc/ssl/certs/ca-certificates.crt'

export interface BundleRequest {
  runtime: Runtime
  memoryMiB: MemoryClassMiB
  /** First user and group id of the sandbox's range. */
  firstUid: number
  hostname: string
  /** Host directories that appear at /hostel, /code and /tmp. */
  shimDir: string
  codeDir: string
  tmpDir: string
  /** File that appears at /etc/hosts. */
  hostsFile: string
  /** File with the authorities that guests trust, instead of the root file system's own; undefined leaves that. */
  authoritiesFile: string | undefined
}

/** The `config.json` for crun or runc. */
export function bundleConfig(request: BundleRequest): Record<string, unknown> {
  const { runtime } = request
  const ids = [{ containerID: 0, hostID: request.firstUid, size: limits.uidsPerSlot }]
  return {
    ociVersion: '1.0.2',
    hostname: request.hostname,
    root: { path: runtime.rootfs, readonly: true },
    process: {
      terminal: false,
      user: { uid: GUEST_UID, gid: GUEST_UID, umask: 0o22 },
      args: [...runtime.init, ...commandFor(runtime, request.memoryMiB)],
      env: Object.entries(runtime.env).map(([name, value]) => `${name}=${value}`),
      cwd: '/',
      capabilities: { bounding: [], effective: [], inheritable: [], permitted: [], ambient: [] },
      noNewPrivileges: true,
      // When the whole machine is short of memory, guests go before anything of the host's.
      oomScoreAdj: 500,
      rlimits: [
        { type: 'RLIMIT_NOFILE', soft: limits.openFilesMax, hard: limits.openFilesMax },
        // Not 0, which does not count where dumps go to a program of the host's (`|` in core_pattern, as most distributions have it):
        // it would run as root for each crash in here. At 1 the kernel does not start it (core(5); fs/coredump.c).
        { type: 'RLIMIT_CORE', soft: 1, hard: 1 },
      ],
    },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'nodev', 'noexec'] },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'noexec', 'mode=755', 'size=64k', 'nr_inodes=64'] },
      { destination: '/hostel', type: 'bind', source: request.shimDir, options: ['bind', 'private', 'ro', 'nosuid', 'nodev'] },
      // Slaves of a shared mount of the keeper's: what it mounts there at specialisation appears here.
      { destination: '/code', type: 'bind', source: request.codeDir, options: ['bind', 'rslave', 'ro', 'nosuid', 'nodev'] },
      fileMount('/etc/hosts', request.hostsFile),
      ...(request.authoritiesFile === undefined ? [] : [fileMount(AUTHORITIES, request.authoritiesFile)]),
      { destination: '/tmp', type: 'bind', source: request.tmpDir, options: ['bind', 'rslave', 'ro', 'nosuid', 'nodev'] },
    ],
    linux: {
      namespaces: ['pid', 'mount', 'ipc', 'uts', 'cgroup', 'network', 'user'].map((type) => ({ type })),
      uidMappings: ids,
      gidMappings: ids,
      // Slave, not private as by default: otherwise the binds above would get nothing.
      rootfsPropagation: 'rslave',
      maskedPaths: MASKED_PATHS,
      readonlyPaths: READONLY_PATHS,
      seccomp: seccompProfile(process.arch),
    },
  }
}

function fileMount(destination: string, source: string): Record<string, unknown> {
  return { destination, type: 'bind', source, options: ['bind', 'private', 'ro', 'nosuid', 'nodev', 'noexec'] }
}

function commandFor(runtime: Runtime, memoryMiB: MemoryClassMiB): string[] {
  const [program, ...rest] = runtime.command
  if (runtime.heapFlags !== 'node') return runtime.command
  const heap = NODE_HEAP_MIB[memoryMiB]
  // Means nothing until HTTP_PROXY is set, which happens at specialisation, for versions with a proxy door.
  return [program!, '--use-env-proxy', `--max-old-space-size=${heap.old}`, `--max-semi-space-size=${heap.semi}`, ...rest]
}
