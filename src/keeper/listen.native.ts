/** Listening sockets that outlive the processes which accept on them: the keeper only holds them. */
import { closeSync } from 'node:fs'
import { lookup } from 'node:dns/promises'
import { isIPv6 } from 'node:net'

import { ipv6Groups } from '../egress/addresses.ts'
import { SystemCallError, checked, libc } from '../engines/libc.native.ts'
import { HostelError } from '../errors.ts'
import type { ListenAddress } from '../settings.ts'

const AF_INET = 2
const AF_INET6 = 10
const SOCK_STREAM = 1
const SOCK_CLOEXEC = 0o2000000
const SOL_SOCKET = 1
const SO_REUSEADDR = 2
/** Connections that wait while a gateway is being replaced; the kernel cuts it to net.core.somaxconn. */
const BACKLOG = 4_096

const socketCall = libc.func('socket', 'int', ['int', 'int', 'int'])
const setsockoptCall = libc.func('setsockopt', 'int', ['int', 'int', 'int', 'void *', 'uint'])
const bindCall = libc.func('bind', 'int', ['int', 'void *', 'uint'])
const listenCall = libc.func('listen', 'int', ['int', 'int'])
const getsocknameCall = libc.func('getsockname', 'int', ['int', 'void *', 'void *'])

export interface Listener {
  /** Close-on-exec; for a child's `stdio`. */
  fd: number
  /** `host:port` as bound, for display. */
  address: string
  /** An URL that reaches it from this machine. */
  url: string
}

/** Binds and listens. `what` is the flag, for the message. @throws HostelError `conflict` naming an address in use, `invalid_input` for one that cannot be. */
export async function listen(what: string, wanted: ListenAddress): Promise<Listener> {
  const host = await lookup(wanted.host).catch((error: unknown) => {
    throw new HostelError('invalid_input', `${what}: "${wanted.host}" is no address of this machine`, { cause: error })
  })
  const shown = shownAddress(wanted.host, wanted.port)
  const fd = checked('socket', socketCall(host.family === 6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) as number)
  try {
    checked('setsockopt', setsockoptCall(fd, SOL_SOCKET, SO_REUSEADDR, new Int32Array([1]), 4) as number)
    const address = socketAddress(host.address, wanted.port)
    checked('bind', bindCall(fd, address, address.length) as number, shown)
    checked('listen', listenCall(fd, BACKLOG) as number, shown)
    const port = boundPort(fd)
    const everywhere = host.address === '0.0.0.0' || host.address === '::'
    const reachable = everywhere ? (host.family === 6 ? '::1' : '127.0.0.1') : host.address
    return { fd, address: shownAddress(wanted.host, port), url: `http://${shownAddress(reachable, port)}` }
  } catch (error) {
    closeSync(fd)
    if (!(error instanceof SystemCallError)) throw error
    if (error.code === 'EADDRINUSE')
      throw new HostelError('conflict', `${what}: another program listens on ${shown} already; stop it or choose another address with ${what}`, {
        cause: error,
      })
    throw new HostelError('invalid_input', `${what}: cannot listen on ${shown} (${error.code})`, { cause: error })
  }
}

function shownAddress(host: string, port: number): string {
  return isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`
}

/** sockaddr_in or sockaddr_in6: family in the machine's order, port and address in the network's. */
function socketAddress(host: string, port: number): Buffer {
  if (!isIPv6(host)) {
    const address = Buffer.alloc(16)
    address.writeUInt16LE(AF_INET, 0)
    address.writeUInt16BE(port, 2)
    address.set(host.split('.').map(Number), 4)
    return address
  }
  const address = Buffer.alloc(28)
  address.writeUInt16LE(AF_INET6, 0)
  address.writeUInt16BE(port, 2)
  for (const [index, group] of ipv6Groups(host).entries()) address.writeUInt16BE(group, 8 + 2 * index)
  return address
}

/** The port, which the kernel chose when 0 was asked for. */
function boundPort(fd: number): number {
  const address = Buffer.alloc(28)
  checked('getsockname', getsocknameCall(fd, address, new Uint32Array([address.length])) as number)
  return address.readUInt16BE(2)
}
