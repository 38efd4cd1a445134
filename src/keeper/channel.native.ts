/**
 * The keeper's end of a child's IPC channel. The child's end is Node's own; this one is not, since Node's trusts its peer: a line
 * that is no JSON, an internal message out of turn or a descriptor of another kind ends the process that reads it, and a line
 * may be of any length. Here lines are bounded, a fault is the child's, and descriptors that it sends are never received.
 */
import { closeSync } from 'node:fs'
import { Socket } from 'node:net'

import koffi from 'koffi'

import { setNonBlocking, socketpair } from '../engines/embedded/descriptors.native.ts'
import { libc } from '../engines/libc.native.ts'

/** Several times what the longest message of a child takes: a specialisation with all its doors. */
const LINE_MAX_BYTES = 64 * 1024
/** Messages a child may leave unread before it is taken for stuck. */
const UNSENT_MAX = 20_000
/** Until a full stream is tried again. */
const RETRY_MS = 2
const LINE_FEED = 0x0a

const SOL_SOCKET = 1
const SCM_RIGHTS = 1
const MSG_DONTWAIT = 0x40
const MSG_NOSIGNAL = 0x4000
const EAGAIN = koffi.os.errno['EAGAIN']
/** Too many descriptors on their way. */
const ETOOMANYREFS = 109

// struct iovec, msghdr and cmsghdr of a 64-bit machine.
koffi.struct('iovec', { base: 'void *', bytes: 'size_t' })
koffi.struct('msghdr', {
  name: 'void *',
  nameBytes: 'uint',
  iov: 'iovec *',
  iovCount: 'size_t',
  control: 'void *',
  controlBytes: 'size_t',
  flags: 'int',
})
const CMSG_HEADER_BYTES = 16
const CMSG_SPACE_BYTES = 24
const sendmsgCall = libc.func('sendmsg', 'long', ['int', 'msghdr *', 'int'])

/** What Node makes of a descriptor at the other end. */
export type HandleKind = 'net.Socket' | 'net.Server'

export interface Channel {
  /** For the child's `stdio`; to be closed here by `spawned`. */
  childFd: number
  /** The child has its end. */
  spawned(): void
  /** In order. A descriptor is the channel's from now on, and closed here whatever happens. */
  send(message: object, fd?: number, kind?: HandleKind): void
  close(): void
}

interface Waiting {
  rest: Buffer
  fd: number | undefined
}

/** What makes a child's Node speak over one of its descriptors. */
export function channelEnvironment(childsFd: number): Record<string, string> {
  return { NODE_CHANNEL_FD: String(childsFd), NODE_CHANNEL_SERIALIZATION_MODE: 'json' }
}

/** `onFault`, once: the child broke a rule of the channel or reads nothing any more, and nothing that it says is heard again. */
export function openChannel(handlers: { onMessage: (message: unknown) => void; onFault: (rule: string) => void }): Channel {
  const [ours, childFd] = socketpair()
  const queue: Waiting[] = []
  let childFdOpen = true
  let closed = false
  let faulty = false
  let retry: NodeJS.Timeout | undefined
  // A plain stream: the kernel throws away descriptors that arrive on one.
  const socket = new Socket({ fd: ours, readable: true, writable: false })
  socket.on('error', () => {})
  socket.once('close', close)
  const split = createSplitter(hear, () => fault(`a line over ${LINE_MAX_BYTES} bytes`))
  socket.on('data', (chunk: Buffer) => {
    if (!faulty) split(chunk)
  })

  /** The descriptor is closed with the socket, before that says so. */
  const isOpen = (): boolean => !closed && !socket.destroyed

  function hear(line: string): void {
    if (faulty) return
    let message: unknown
    try {
      message = JSON.parse(line)
    } catch {
      fault('a line that is no JSON')
      return
    }
    // Node's own words about descriptors that have come; they are sent without waiting for it.
    if (typeof message === 'object' && message !== null && 'cmd' in message) return
    handlers.onMessage(message)
  }

  function fault(rule: string): void {
    if (faulty) return
    faulty = true
    handlers.onFault(rule)
  }

  function flush(): void {
    retry = undefined
    for (let first = queue[0]; first !== undefined && isOpen(); first = queue[0]) {
      const sent = sendmsg(ours, first.rest, first.fd)
      if (sent < 0) {
        const errno = koffi.errno()
        if (errno === EAGAIN || errno === ETOOMANYREFS) retry = setTimeout(flush, RETRY_MS)
        // Anything else says that the child is gone.
        else close()
        return
      }
      if (first.fd !== undefined) closeSync(first.fd)
      first.fd = undefined
      first.rest = first.rest.subarray(sent)
      if (first.rest.length === 0) queue.shift()
    }
  }

  function close(): void {
    if (closed) return
    closed = true
    clearTimeout(retry)
    for (const { fd } of queue) if (fd !== undefined) closeSync(fd)
    queue.length = 0
    socket.destroy()
    closeChildFd()
  }

  function closeChildFd(): void {
    if (childFdOpen) closeSync(childFd)
    childFdOpen = false
  }

  return {
    childFd,
    spawned: closeChildFd,
    send(message, fd, kind) {
      if (!isOpen()) {
        if (fd !== undefined) closeSync(fd)
        return
      }
      // Node takes descriptors as they come, and would wait in a read or write for whoever is at the other end.
      if (fd !== undefined) setNonBlocking(fd)
      const body = fd === undefined ? message : { cmd: 'NODE_HANDLE', type: kind ?? 'net.Socket', msg: message }
      queue.push({ rest: Buffer.from(`${JSON.stringify(body)}\n`), fd })
      if (queue.length > UNSENT_MAX) fault(`it leaves ${queue.length} messages unread`)
      if (retry === undefined) flush()
    },
    close,
  }
}

/** Lines of bounded length; after `onTooLong` nothing more shall be pushed. What is held takes one buffer, however small the pieces. */
function createSplitter(onLine: (line: string) => void, onTooLong: () => void): (chunk: Buffer) => void {
  const held = Buffer.alloc(LINE_MAX_BYTES)
  let heldBytes = 0
  return (chunk) => {
    for (let from = 0; from < chunk.length;) {
      const feed = chunk.indexOf(LINE_FEED, from)
      const end = feed < 0 ? chunk.length : feed
      if (heldBytes + end - from > LINE_MAX_BYTES) {
        onTooLong()
        return
      }
      heldBytes += chunk.copy(held, heldBytes, from, end)
      from = end + 1
      if (feed < 0) return
      const line = held.toString('utf8', 0, heldBytes)
      heldBytes = 0
      onLine(line)
    }
  }
}

/** sendmsg(2) with at most one descriptor; how many bytes went, or -1. */
export function sendmsg(socket: number, bytes: Buffer, fd: number | undefined): number {
  const iov = { base: bytes, bytes: bytes.length }
  const plain = { name: null, nameBytes: 0, iov, iovCount: 1, control: null, controlBytes: 0, flags: 0 }
  if (fd === undefined) return sendmsgCall(socket, plain, MSG_DONTWAIT | MSG_NOSIGNAL) as number
  const control = Buffer.alloc(CMSG_SPACE_BYTES)
  control.writeBigUInt64LE(BigInt(CMSG_HEADER_BYTES + 4), 0)
  control.writeInt32LE(SOL_SOCKET, 8)
  control.writeInt32LE(SCM_RIGHTS, 12)
  control.writeInt32LE(fd, CMSG_HEADER_BYTES)
  return sendmsgCall(socket, { ...plain, control, controlBytes: CMSG_SPACE_BYTES }, MSG_DONTWAIT | MSG_NOSIGNAL) as number
}
