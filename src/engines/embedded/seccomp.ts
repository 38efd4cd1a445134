/**
 * The system calls that a guest may make, as data; whoever audits the wall reads this file. What is not listed answers
 * ENOSYS, so that C libraries fall back instead of failing; what is refused on purpose answers EPERM and is listed too,
 * to be seen. One architecture only: listing two doubles the time the filter takes to load.
 */

interface ArgumentRule {
  index: number
  value: number
  valueTwo?: number
  op: 'SCMP_CMP_EQ' | 'SCMP_CMP_MASKED_EQ'
}

interface SyscallGroup {
  why: string
  names: string[]
  args?: ArgumentRule[]
}

/** CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET} and CLONE_NEWTIME. */
const CLONE_NEW_ANY = 0x7e02_0080
const AF_UNIX = 1
const AF_INET = 2
const AF_INET6 = 10
const SOCK_STREAM = 1
const SOCK_DGRAM = 2
/** Flags such as SOCK_CLOEXEC lie above the type. */
const SOCK_TYPE_MASK = 0xf
const ENOSYS = 38
const EPERM = 1

/** Names apart from each other by space. */
const words = (text: string): string[] => text.trim().split(/\s+/)
const equals = (index: number, value: number): ArgumentRule => ({ index, value, op: 'SCMP_CMP_EQ' })
const masked = (index: number, mask: number, value: number): ArgumentRule => ({ index, value: mask, valueTwo: value, op: 'SCMP_CMP_MASKED_EQ' })

const ALLOWED: SyscallGroup[] = [
  {
    why: 'files: reading, writing, and what the descriptor is',
    names: words(`
      read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 open openat openat2 creat close close_range lseek _llseek fcntl dup
      dup2 dup3 flock fsync fdatasync sync_file_range ftruncate truncate fallocate fadvise64 readahead sendfile splice tee copy_file_range ioctl
    `),
  },
  {
    why: "the directory tree: looking, making, removing; permissions are the file system's business",
    names: words(`
      stat fstat lstat newfstatat statx statfs fstatfs access faccessat faccessat2 getdents getdents64 getcwd chdir fchdir mkdir mkdirat rmdir
      rename renameat renameat2 link linkat unlink unlinkat symlink symlinkat readlink readlinkat chmod fchmod fchmodat fchmodat2 chown fchown
      lchown fchownat utime utimes utimensat futimesat umask getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr inotify_init
      inotify_init1 inotify_add_watch inotify_rm_watch
    `),
  },
  {
    why: 'memory of its own',
    names: words(`
      brk mmap munmap mremap mprotect madvise msync mincore mlock munlock mlock2 membarrier memfd_create pkey_alloc pkey_free pkey_mprotect
    `),
  },
  {
    why: 'processes and threads of its own; no new namespaces',
    names: words(`
      fork vfork execve execveat exit exit_group wait4 waitid set_tid_address set_robust_list get_robust_list rseq arch_prctl prctl gettid getpid
      getppid getpgid getpgrp setpgid getsid setsid pidfd_open pidfd_send_signal
    `),
  },
  { why: 'threads and children by clone without any namespace flag', names: words('clone'), args: [masked(0, CLONE_NEW_ANY, 0)] },
  {
    why: 'signals',
    names: words(`
      rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend rt_sigqueueinfo rt_tgsigqueueinfo sigaltstack kill
      tkill tgkill pause alarm signalfd signalfd4 restart_syscall
    `),
  },
  {
    why: 'scheduling of its own processes',
    names: words(`
      sched_yield sched_getaffinity sched_setaffinity sched_getparam sched_getscheduler sched_get_priority_max sched_get_priority_min
      sched_rr_get_interval getpriority setpriority getcpu
    `),
  },
  { why: 'locks', names: words('futex futex_waitv futex_wake futex_wait futex_requeue') },
  {
    why: 'time: reading clocks and waiting, never setting',
    names: words(`
      time gettimeofday clock_gettime clock_getres clock_nanosleep nanosleep times timer_create timer_settime timer_gettime timer_getoverrun
      timer_delete timerfd_create timerfd_settime timerfd_gettime getitimer setitimer
    `),
  },
  {
    why: 'event loops and pipes',
    names: words(`
      poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd eventfd2 pipe pipe2
    `),
  },
  { why: 'local sockets', names: words('socket socketpair'), args: [equals(0, AF_UNIX)] },
  ...[AF_INET, AF_INET6].flatMap((family) =>
    [SOCK_STREAM, SOCK_DGRAM].map((type) => ({
      why: 'TCP and UDP, within its own network namespace; no raw, packet or netlink sockets',
      names: words('socket'),
      args: [equals(0, family), masked(1, SOCK_TYPE_MASK, type)],
    })),
  ),
  {
    why: 'using sockets',
    names: words(`
      bind listen accept accept4 connect getsockname getpeername getsockopt setsockopt shutdown sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg
    `),
  },
  {
    why: 'who am I, and what are my limits',
    names: words(`
      getuid geteuid getgid getegid getresuid getresgid getgroups setuid setgid setreuid setregid setresuid setresgid setgroups setfsuid setfsgid
      capget capset getrlimit getrusage uname sysinfo getrandom
    `),
  },
  { why: 'reading limits', names: words('prlimit64'), args: [equals(2, 0)] },
  // RLIMIT_CORE is 4: of the numbers up to 15, each other one differs from it in one of these bits. The kernel looks at the lower half alone.
  ...[masked(1, 1, 1), masked(1, 2, 2), masked(1, 4, 0), masked(1, 8, 8)].flatMap((rule) => [
    { why: 'lowering limits, but that of core dumps (`bundle.ts` says why)', names: words('prlimit64'), args: [rule] },
    { why: 'the same', names: words('setrlimit'), args: [{ ...rule, index: 0 }] },
  ]),
]

const REFUSED: SyscallGroup[] = [
  {
    why: 'new or other namespaces, and everything about mounts',
    names: words(`
      unshare setns mount umount umount2 pivot_root chroot open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr statmount listmount
      swapon swapoff quotactl
    `),
  },
  {
    why: 'looking into or driving other processes',
    names: words(`
      ptrace process_vm_readv process_vm_writev process_madvise process_mrelease kcmp pidfd_getfd perf_event_open name_to_handle_at
      open_by_handle_at fanotify_init
    `),
  },
  {
    why: 'large parts of the kernel with a history of holes',
    names: words(`
      bpf userfaultfd io_uring_setup io_uring_enter io_uring_register add_key request_key keyctl vmsplice modify_ldt seccomp personality
      landlock_create_ruleset
    `),
  },
  {
    why: 'the machine itself',
    names: words(`
      kexec_load kexec_file_load init_module finit_module delete_module reboot syslog acct iopl ioperm sethostname setdomainname settimeofday
      clock_settime clock_adjtime adjtimex mknod mknodat vhangup nfsservctl lookup_dcookie
    `),
  },
]

const ARCHITECTURES: Partial<Record<NodeJS.Architecture, string>> = { x64: 'SCMP_ARCH_X86_64', arm64: 'SCMP_ARCH_AARCH64' }

/** The profile in the OCI form. Names that an architecture lacks are skipped by the OCI runtime. @throws Error on another architecture. */
export function seccompProfile(arch: NodeJS.Architecture): Record<string, unknown> {
  const architecture = ARCHITECTURES[arch]
  if (architecture === undefined) throw new Error(`there is no list of system calls for ${arch}`)
  return {
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: ENOSYS,
    architectures: [architecture],
    syscalls: [
      ...ALLOWED.map(({ names, args }) => ({ names, action: 'SCMP_ACT_ALLOW', ...(args && { args }) })),
      ...REFUSED.map(({ names }) => ({ names, action: 'SCMP_ACT_ERRNO', errnoRet: EPERM })),
    ],
  }
}
