/**
 * Mounts by the kernel's descriptor-based calls: a mount is made and restricted while nobody sees it, and only then put in
 * place. Numbers are those of the generic system call table, the same on x86-64 and arm64.
 */
import { closeSync, constants, openSync } from 'node:fs'

import koffi from 'koffi'

import { SystemCallError, checked, libc } from '../libc.native.ts'

const SYS_open_tree = 428
const SYS_move_mount = 429
const SYS_fsopen = 430
const SYS_fsconfig = 431
const SYS_fsmount = 432
const SYS_openat2 = 437
const SYS_mount_setattr = 442

const O_PATH = 0o10000000
const O_CLOEXEC = 0o2000000
const AT_FDCWD = -100
const AT_EMPTY_PATH = 0x1000
const OPEN_TREE_CLONE = 1
const MOVE_MOUNT_F_EMPTY_PATH = 4
const FSOPEN_CLOEXEC = 1
const FSMOUNT_CLOEXEC = 1
const FSCONFIG_SET_STRING = 1
const FSCONFIG_CMD_CREATE = 6
const MOUNT_ATTR_RDONLY = 1
const MOUNT_ATTR_NOSUID = 2
const MOUNT_ATTR_NODEV = 4
const RESOLVE_NO_MAGICLINKS = 0x02
const RESOLVE_NO_SYMLINKS = 0x04
const RESOLVE_BENEATH = 0x08
const MS_SHARED = 1 << 20
const MNT_DETACH = 2

const openat2Call = libc.func('syscall', 'long', ['long', 'int', 'str', 'void *', 'size_t'])
const openTreeCall = libc.func('syscall', 'long', ['long', 'int', 'str', 'uint'])
const moveMountCall = libc.func('syscall', 'long', ['long', 'int', 'str', 'int', 'str', 'uint'])
const mountSetattrCall = libc.func('syscall', 'long', ['long', 'int', 'str', 'uint', 'void *', 'size_t'])
const fsopenCall = libc.func('syscall', 'long', ['long', 'str', 'uint'])
const fsconfigCall = libc.func('syscall', 'long', ['long', 'int', 'uint', 'str', 'str', 'int'])
const fsmountCall = libc.func('syscall', 'long', ['long', 'int', 'uint', 'uint'])
const mountCall = libc.func('mount', 'int', ['str', 'str', 'str', 'ulong', 'str'])
const umount2Call = libc.func('umount2', 'int', ['str', 'int'])

/** A directory that later paths are resolved beneath. */
export function openDirectory(path: string): number {
  return openSync(path, O_PATH | O_CLOEXEC | constants.O_DIRECTORY)
}

/**
 * Mounts the directory `path` beneath `rootFd` read-only, nosuid and nodev at `target`. The owner of that tree is not
 * trusted: no symbolic link and no `..` is followed.
 */
export function mountDirectoryReadOnly(rootFd: number, path: string, target: string): void {
  const how = new BigUint64Array([
    BigInt(O_PATH | O_CLOEXEC | constants.O_DIRECTORY),
    0n,
    BigInt(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS),
  ])
  withFd(checked('openat2', openat2Call(SYS_openat2, rootFd, path, how, 24) as number, path), (directory) => {
    withFd(checked('open_tree', openTreeCall(SYS_open_tree, directory, '', AT_EMPTY_PATH | OPEN_TREE_CLONE | O_CLOEXEC) as number, path), (tree) => {
      const attributes = new BigUint64Array([BigInt(MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV), 0n, 0n, 0n])
      checked('mount_setattr', mountSetattrCall(SYS_mount_setattr, tree, '', AT_EMPTY_PATH, attributes, 32) as number, path)
      moveInto(tree, target)
    })
  })
}

/** Mounts an empty tmpfs with mode 1777, nosuid and nodev at `target`. */
export function mountTmp(target: string, bounds: { sizeBytes: number; inodes: number }): void {
  withFd(checked('fsopen', fsopenCall(SYS_fsopen, 'tmpfs', FSOPEN_CLOEXEC) as number), (context) => {
    for (const [key, value] of [
      ['size', String(bounds.sizeBytes)],
      ['nr_inodes', String(bounds.inodes)],
      ['mode', '1777'],
    ] as const) {
      checked('fsconfig', fsconfigCall(SYS_fsconfig, context, FSCONFIG_SET_STRING, key, value, 0) as number, key)
    }
    checked('fsconfig', fsconfigCall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, null, null, 0) as number)
    withFd(checked('fsmount', fsmountCall(SYS_fsmount, context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV) as number), (mount) =>
      moveInto(mount, target),
    )
  })
}

/** A tmpfs for what a running engine needs on disk: traversable by all, and gone with the mount namespace. */
export function mountScratch(target: string): void {
  checked('mount', mountCall('tmpfs', target, 'tmpfs', 0, 'mode=711,size=256m') as number, target)
}

/** Makes the later mounts below `target`, which is a mount point, appear in every slave of it. */
export function shareMount(target: string): void {
  checked('mount', mountCall('none', target, null, MS_SHARED, null) as number, target)
}

/** Takes a mount away, in every slave too; not being one is no error. Off the main thread, since the kernel may wait here. */
export function unmount(target: string): Promise<void> {
  return new Promise((resolve, reject) => {
    umount2Call.async(target, MNT_DETACH, (error: unknown, result: number) => {
      const errno = koffi.errno()
      if (error) reject(error as Error)
      else if (result < 0 && errno !== koffi.os.errno['EINVAL'] && errno !== koffi.os.errno['ENOENT']) reject(new SystemCallError('umount2', errno, target))
      else resolve()
    })
  })
}

function moveInto(mountFd: number, target: string): void {
  checked('move_mount', moveMountCall(SYS_move_mount, mountFd, '', AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) as number, target)
}

function withFd(fd: number, use: (fd: number) => void): void {
  try {
    use(fd)
  } finally {
    closeSync(fd)
  }
}
