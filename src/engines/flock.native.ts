/** Advisory locks that the kernel frees when their holder dies, however it dies: never stale. */
import { SystemCallError, checked, libc } from './libc.native.ts'

const LOCK_EX = 2
const LOCK_NB = 4

const flockCall = libc.func('flock', 'int', ['int', 'int'])

/** Locks the open file for as long as `fd` stays open; false when someone else has it. */
export function tryLock(fd: number): boolean {
  try {
    checked('flock', flockCall(fd, LOCK_EX | LOCK_NB) as number)
    return true
  } catch (error) {
    if (error instanceof SystemCallError && (error.code === 'EAGAIN' || error.code === 'EWOULDBLOCK')) return false
    throw error
  }
}

/** Locks the open file, waiting for whoever has it; for moments only, since it holds the thread. */
export function lock(fd: number): void {
  checked('flock', flockCall(fd, LOCK_EX) as number)
}
