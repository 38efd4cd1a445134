/**
 * Sockets inside a sandbox's network namespace. `setns(2)` moves one thread, here the main one, and nothing else may happen on it
 * until it is back: so it is all done in one go, without a callback or an await, and not coming back ends the process.
 */
import { closeSync, openSync } from 'node:fs'

import { SystemCallError, checked, libc } from '../libc.native.ts'

const CLONE_NEWNET = 0x4000_0000
const AF_INET = 2
const SOCK_STREAM = 1
const SOCK_NONBLOCK = 0o4000
const SOCK_CLOEXEC = 0o2000000
const SOL_SOCKET = 1
const SO_REUSEADDR = 2
/** Connections that wait while a gateway is being replaced; a sandbox may not have more than that many open anyway. */
const BACKLOG = 256

const setnsCall = libc.func('setns', 'int', ['int', 'int'])
const socketCall = libc.func('socket', 'int', ['int', 'int', 'int'])
const setsockoptCall = libc.func('setsockopt', 'int', ['int', 'int', 'int', 'void *', 'uint'])
const bindCall = libc.func('bind', 'int', ['int', 'void *', 'uint'])
const listenCall = libc.func('listen', 'int', ['int', 'int'])

/** A place to listen at: an IPv4 address of the sandbox's own loopback, and a port. */
export interface DoorPlace {
  address: string
  port: number
}

/** The namespace that this process is at home in; opened once, since after entering another `/proc/self` tells of that one. */
let home: number | undefined

/** Listening sockets at these places inside the network namespace of process `pid`, close-on-exec, in the same order. @throws SystemCallError, with nothing left open. */
export function listenInside(pid: number, places: readonly DoorPlace[]): number[] {
  home ??= openSync('/proc/self/ns/net', 'r')
  const inside = openSync(`/proc/${pid}/ns/net`, 'r')
  const fds: number[] = []
  let failure: Error | undefined
  try {
    checked('setns', setnsCall(inside, CLONE_NEWNET) as number)
    try {
      for (const place of places) fds.push(listenAt(place))
    } catch (error) {
      failure = error as Error
    }
    // Whatever this process made from here on would be made in the guest's network.
    if ((setnsCall(home, CLONE_NEWNET) as number) !== 0) process.abort()
  } catch (error) {
    failure = error as Error
  } finally {
    closeSync(inside)
  }
  if (failure === undefined) return fds
  for (const fd of fds) closeSync(fd)
  throw failure
}

function listenAt({ address, port }: DoorPlace): number {
  const fd = checked('socket', socketCall(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) as number)
  try {
    checked('setsockopt', setsockoptCall(fd, SOL_SOCKET, SO_REUSEADDR, new Int32Array([1]), 4) as number)
    const name = Buffer.alloc(16)
    name.writeUInt16LE(AF_INET, 0)
    name.writeUInt16BE(port, 2)
    name.set(address.split('.').map(Number), 4)
    checked('bind', bindCall(fd, name, name.length) as number, `${address}:${port}`)
    checked('listen', listenCall(fd, BACKLOG) as number, `${address}:${port}`)
    return fd
  } catch (error) {
    closeSync(fd)
    if (error instanceof SystemCallError) throw error
    throw new Error(`no socket at ${address}:${port}`, { cause: error })
  }
}
