/** The keeper's end of a child's channel, with real children: honest ones that Node speaks for, and such as somebody has taken over. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, fstatSync, openSync, readdirSync, writeSync } from 'node:fs'
import { createConnection } from 'node:net'
import { afterEach, describe, it } from 'node:test'

import { duplicate, pipe, socketpair } from '../engines/embedded/descriptors.native.ts'
import { type Channel, channelEnvironment, openChannel, sendmsg } from './channel.native.ts'
import { listen } from './listen.native.ts'

describe('the keeper’s channel to a child', () => {
  let child: ChildProcess | undefined
  let channel: Channel | undefined
  let heard: unknown[]
  let faults: string[]

  afterEach(async () => {
    channel?.close()
    if (child && child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL')
      await new Promise((resolve) => child!.once('exit', resolve))
    }
  })

  function start(script: string): Channel {
    heard = []
    faults = []
    const opened = (channel = openChannel({ onMessage: (message) => heard.push(message), onFault: (rule) => faults.push(rule) }))
    child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'inherit', 'inherit', opened.childFd],
      env: { ...process.env, ...channelEnvironment(3) },
      cwd: import.meta.dirname,
    })
    opened.spawned()
    return opened
  }

  it('carries messages both ways, and descriptors in their order among them', { timeout: 10_000 }, async () => {
    const listener = await listen('--test', { host: '127.0.0.1', port: 0 })
    const opened = start(`process.on('message', (message, handle) => {
      process.send({ n: message.n, got: handle?.constructor.name })
      if (message.n === 2) handle.on('connection', (c) => c.end('hi'))
      else if (handle) handle.end('from the child')
    })`)
    const [ours, theirs] = socketpair()
    opened.send({ n: 0, text: 'x'.repeat(300_000) })
    opened.send({ n: 1 }, theirs)
    opened.send({ n: 2 }, listener.fd, 'net.Server')
    opened.send({ n: 3 }, duplicate(ours))
    opened.send({ n: 4 })
    await until(() => heard.length === 5)
    assert.deepEqual(
      (heard as { n: number; got?: string }[]).map(({ n, got }) => [n, got]),
      [
        [0, undefined],
        [1, 'Socket'],
        [2, 'Server'],
        [3, 'Socket'],
        [4, undefined],
      ],
    )
    assert.throws(() => fstatSync(theirs), { code: 'EBADF' }, 'a descriptor that was sent is closed here')
    const answer = await new Promise((resolve) =>
      createConnection({ host: '127.0.0.1', port: Number(listener.address.split(':')[1]) }).on('data', (data) => resolve(data.toString())),
    )
    assert.equal(answer, 'hi')
    closeSync(ours)
    assert.deepEqual(faults, [])
  })

  it('hands over descriptors on which nobody waits', { timeout: 10_000 }, async () => {
    const opened = start(`let bytes = 0
      process.on('message', (message, handle) => {
        handle?.on('data', (chunk) => {
          bytes += chunk.length
          if (bytes === 65_536) setTimeout(() => process.send({ bytes }), 50)
        })
      })`)
    const [readEnd, writeEnd] = pipe()
    // A whole read's worth, after which another read is tried.
    writeSync(writeEnd, Buffer.alloc(65_536))
    opened.send({ n: 0 }, readEnd)
    await until(() => heard.length === 1)
    closeSync(writeEnd)
    assert.deepEqual(heard, [{ bytes: 65_536 }])
  })

  const write = (text: string): string => `import { writeSync } from 'node:fs'; setTimeout(() => {}, 9_000); writeSync(3, ${JSON.stringify(text)})`

  it('hears nothing more of a child that sends what is no JSON', { timeout: 10_000 }, async () => {
    start(write('{"a":1}\nnonsense\n{"a":2}\n'))
    await until(() => faults.length > 0)
    assert.deepEqual([heard, faults], [[{ a: 1 }], ['a line that is no JSON']])
  })

  it('bounds a line that never ends', { timeout: 10_000 }, async () => {
    start(`import { writeSync } from 'node:fs'
      for (;;) try { writeSync(3, 'a'.repeat(50_000)) } catch {}`)
    await until(() => faults.length > 0)
    assert.deepEqual([heard, faults], [[], ['a line over 65536 bytes']])
  })

  it('passes over Node’s internal messages, whatever they say', { timeout: 10_000 }, async () => {
    const internal = ['NODE_HANDLE_ACK', 'NODE_HANDLE_NACK', 'NODE_HANDLE', 'NODE_SOCKET_GET_COUNT', 'NODE_SOCKET_NOTIFY_CLOSE', 'NODE_'].map((cmd) =>
      JSON.stringify({ cmd, type: 'nonsense', key: '__proto__', msg: { type: 'ready' } }),
    )
    start(write([...internal, '{"__proto__":{"type":"ready"}}', 'null', '[]', '1', '{"last":true}', ''].join('\n')))
    await until(() => heard.length === 5)
    assert.deepEqual(heard.slice(1), [null, [], 1, { last: true }])
    assert.deepEqual(faults, [])
  })

  it('takes no descriptor from a child', { timeout: 10_000 }, async () => {
    heard = []
    faults = []
    const { childFd } = (channel = openChannel({ onMessage: (message) => heard.push(message), onFault: (rule) => faults.push(rule) }))
    const file = openSync('/etc/passwd', 'r')
    const before = readdirSync('/proc/self/fd').length
    for (let n = 0; n < 100; n++) sendmsg(childFd, Buffer.from(`${JSON.stringify({ n })}\n`), file)
    await until(() => heard.length === 100)
    assert.equal(readdirSync('/proc/self/fd').length, before)
    closeSync(file)
    assert.deepEqual(faults, [])
  })

  it('says that a child is stuck which reads nothing, and closes what it did not take', { timeout: 20_000 }, async () => {
    const before = readdirSync('/proc/self/fd').length
    const opened = start('for (;;);')
    for (let n = 0; faults.length === 0; n++) opened.send({ n, text: 'x'.repeat(100) }, n % 100 === 0 ? socketEnd() : undefined)
    assert.match(faults[0]!, /messages unread/)
    opened.close()
    opened.send({ late: true }, socketEnd())
    await until(() => readdirSync('/proc/self/fd').length <= before)
  })
})

function socketEnd(): number {
  const [kept, closed] = socketpair()
  closeSync(closed)
  return kept
}

async function until(fulfilled: () => boolean): Promise<void> {
  while (!fulfilled()) await new Promise((resolve) => setTimeout(resolve, 5))
}
