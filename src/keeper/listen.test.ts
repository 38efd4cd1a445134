import assert from 'node:assert/strict'
import { closeSync, readFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { describe, it } from 'node:test'

import { HostelError } from '../errors.ts'
import { listen } from './listen.native.ts'

async function reaches(url: string): Promise<boolean> {
  const { hostname, port } = new URL(url)
  return await new Promise((resolve) => {
    const socket = connect(Number(port), hostname.replace(/[[\]]/g, ''))
    socket.once('connect', () => socket.destroy(resolve(true) as never)).once('error', () => resolve(false))
  })
}

describe('a listening socket of the keeper', () => {
  for (const [host, url] of [
    ['127.0.0.1', 'http://127.0.0.1:'],
    ['0.0.0.0', 'http://127.0.0.1:'],
    ['::1', 'http://[::1]:'],
    ['::', 'http://[::1]:'],
    ['::ffff:127.0.0.1', 'http://[::ffff:'],
    ['localhost', 'http://'],
  ] as const) {
    it(`takes connections on ${host}, on a port that the kernel chose`, async () => {
      const listener = await listen('--gateway', { host, port: 0 })
      try {
        assert.ok(listener.url.startsWith(url), listener.url)
        assert.ok(await reaches(listener.url))
        if (host === '127.0.0.1' || host === '::1')
          assert.equal(await reaches(`http://127.0.0.2:${new URL(listener.url).port}`), false, 'it listens where it was not asked to')
      } finally {
        closeSync(listener.fd)
      }
      assert.equal(await reaches(listener.url), false)
    })
  }

  it('goes to no child that is not given it', async () => {
    const listener = await listen('--gateway', { host: '127.0.0.1', port: 0 })
    // O_CLOEXEC, in octal.
    assert.match(readFileSync(`/proc/self/fdinfo/${listener.fd}`, 'utf8'), /flags:\s+0?2\d{6}/)
    closeSync(listener.fd)
  })

  it('names an address in use and the flag to change it', async () => {
    const other = createServer()
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
    const { port } = other.address() as AddressInfo
    await assert.rejects(
      listen('--api', { host: '127.0.0.1', port }),
      (error) => error instanceof HostelError && error.code === 'conflict' && error.message.includes(`127.0.0.1:${port}`) && error.message.includes('--api'),
    )
    other.close()
  })

  it('names an address that is not this machine’s', async () => {
    await assert.rejects(
      listen('--api', { host: '192.0.2.1', port: 0 }),
      (error) => error instanceof HostelError && error.code === 'invalid_input' && error.message.includes('192.0.2.1'),
    )
  })
})
