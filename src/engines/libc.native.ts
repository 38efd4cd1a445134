/** The C library through koffi: how a call is bound and how its failure becomes an error. Danger has this file name: see `*.native.ts`. */
import { getSystemErrorName } from 'node:util'

import koffi, { type LibraryHandle } from 'koffi'

export const libc: LibraryHandle = koffi.load('libc.so.6')

/** A failed system call, shaped like Node's own: `code` is `EADDRINUSE` and the like. */
export class SystemCallError extends Error {
  readonly code: string
  readonly syscall: string
  constructor(syscall: string, errno: number, about = '') {
    const code = getSystemErrorName(-errno)
    super(`${syscall}${about && ` ${about}`}: ${code}`)
    this.name = 'SystemCallError'
    this.code = code
    this.syscall = syscall
  }
}

/** Returns a call's result, or throws its errno. `about` says which path or address. */
export function checked(syscall: string, result: number, about?: string): number {
  if (result < 0) throw new SystemCallError(syscall, koffi.errno(), about)
  return result
}
