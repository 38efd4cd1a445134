/** Raw descriptors: Node has no socketpair, pipe or dup of its own, and its streams would start reading. All are close-on-exec. */
import { closeSync } from 'node:fs'

import { checked, libc } from '../libc.native.ts'

const AF_UNIX = 1
const SOCK_STREAM = 1
const SOCK_CLOEXEC = 0o2000000
const O_CLOEXEC = 0o2000000
const F_DUPFD_CLOEXEC = 1030
const F_GETFL = 3
const F_SETFL = 4
const O_NONBLOCK = 0o4000

const socketpairCall = libc.func('socketpair', 'int', ['int', 'int', 'int', 'void *'])
const pipe2Call = libc.func('pipe2', 'int', ['void *', 'int'])
const fcntlCall = libc.func('fcntl', 'int', ['int', 'int', 'int'])

/** Two connected stream sockets. */
export function socketpair(): [number, number] {
  const pair = new Int32Array(2)
  checked('socketpair', socketpairCall(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) as number)
  return [pair[0]!, pair[1]!]
}

/** A pipe as [read end, write end]. */
export function pipe(): [number, number] {
  const pair = new Int32Array(2)
  checked('pipe2', pipe2Call(pair, O_CLOEXEC) as number)
  return [pair[0]!, pair[1]!]
}

export function duplicate(fd: number): number {
  return checked('fcntl', fcntlCall(fd, F_DUPFD_CLOEXEC, 3) as number)
}

/** For everyone who has this end. */
export function setNonBlocking(fd: number): void {
  const flags = checked('fcntl', fcntlCall(fd, F_GETFL, 0) as number)
  checked('fcntl', fcntlCall(fd, F_SETFL, flags | O_NONBLOCK) as number)
}

/** Descriptors that are closed together unless they were taken out before. */
export class DescriptorSet implements Disposable {
  private readonly open = new Set<number>()

  add(fd: number): number {
    this.open.add(fd)
    return fd
  }

  /** The caller owns it from now on. */
  release(fd: number): number {
    this.open.delete(fd)
    return fd
  }

  close(fd: number): void {
    if (this.open.delete(fd)) closeSync(fd)
  }

  [Symbol.dispose](): void {
    for (const fd of this.open) closeSync(fd)
    this.open.clear()
  }
}
