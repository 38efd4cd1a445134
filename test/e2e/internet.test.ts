/** The gateway towards the open internet: real servers, real sandboxes, clients as people have them. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, describe, it } from 'node:test'
import { WebSocket } from 'ws'

import { deploy, invocationRecord, logsOf } from '../lib/functions.ts'
import { removeData, startServer, type TestServer } from '../lib/server.ts'

const chat = `
let open = 0
export default {
  fetch(request, env, ctx) {
    const { pathname } = new URL(request.url)
    if (pathname === '/open') return Response.json(open)
    if (request.headers.get('upgrade') !== 'websocket') return new Response('a WebSocket, please', { status: 426 })
    if (pathname === '/no') return new Response('not you', { status: 403 })
    const { socket, response } = ctx.upgradeWebSocket(request, { protocol: pathname === '/chat' ? 'chat' : '' })
    if (pathname === '/forgets') return new Response('never mind')
    socket.binaryType = 'arraybuffer'
    socket.onopen = () => { open++; console.log('open', socket.url) }
    socket.onclose = (event) => { open--; console.log('close', event.code, event.reason, event.wasClean) }
    socket.onmessage = ({ data }) => {
      if (data === 'close') socket.close(3001, 'as you wish')
      else if (data === 'many') for (let i = 0; i < 100; i++) socket.send(String(i))
      else socket.send(typeof data === 'string' ? data.toUpperCase() : data)
    }
    response.headers.set('x-by', 'chat')
    return response
  },
}
`

describe('a WebSocket', { timeout: 60_000 }, () => {
  let server: TestServer
  let url: string

  before(async () => {
    server = await startServer()
    url = `ws://127.0.0.1:${server.gatewayPort}/default/chat`
    await deploy(server, 'chat', { 'index.mjs': chat }, { timeoutMs: 1_000 })
  })
  after(async () => {
    await server.stop()
    removeData(server.dataDir)
  })

  const dial = async (path = '/', protocols: string[] = []): Promise<WebSocket> => {
    const socket = new WebSocket(url + path, protocols)
    await once(socket, 'open')
    return socket
  }
  const next = async (socket: WebSocket): Promise<unknown> => {
    const [data, isBinary] = (await once(socket, 'message')) as [Buffer, boolean]
    return isBinary ? data : data.toString()
  }

  it('speaks text and bytes, small and large, in order, and goes on after the timeout of a request', async () => {
    const socket = await dial('/chat', ['other', 'chat'])
    assert.equal(socket.protocol, 'chat')
    socket.send('hällo')
    assert.equal(await next(socket), 'HÄLLO')
    const large = Buffer.alloc(2_000_000, 7)
    socket.send(large)
    assert.ok(large.equals((await next(socket)) as Buffer))
    socket.send('in ', { fin: false })
    socket.send('parts', { fin: true })
    assert.equal(await next(socket), 'IN PARTS')
    const numbers: string[] = []
    const done = new Promise<void>((resolve) =>
      socket.on('message', (data: Buffer) => {
        if (numbers.push(data.toString()) === 100) resolve()
      }),
    )
    await new Promise((resolve) => setTimeout(resolve, 1_200))
    socket.send('many')
    await done
    assert.deepEqual(numbers, [...new Array(100).keys()].map(String))
    socket.ping()
    await once(socket, 'pong')
    socket.close(1000, 'done')
    const [code] = (await once(socket, 'close')) as [number]
    assert.equal(code, 1000)
    await logsOf(server, 'chat', (lines) => lines.some(({ text }) => text === 'close 1000 done true'))
  })

  it('is closed by the function with its code and reason', async () => {
    const socket = await dial()
    socket.send('close')
    const [code, reason] = (await once(socket, 'close')) as [number, Buffer]
    assert.deepEqual([code, reason.toString()], [3001, 'as you wish'])
  })

  it('whose client breaks the rules is told so and closed', async () => {
    const socket = await dial()
    // A frame without a mask, which no client may send.
    ;(socket as unknown as { _socket: { write(bytes: Buffer): void } })._socket.write(Buffer.from([0x81, 0x01, 0x61]))
    const [code] = (await once(socket, 'close')) as [number]
    assert.equal(code, 1002)
  })

  it('that is refused gets the ordinary answer, and so does one whose answer is forgotten', async () => {
    for (const [path, status] of [
      ['/no', 403],
      ['/forgets', 200],
    ] as const) {
      const socket = new WebSocket(url + path)
      socket.on('error', () => {})
      const [, response] = (await once(socket, 'unexpected-response')) as [unknown, { statusCode: number; headers: Record<string, string> }]
      assert.equal(response.statusCode, status)
      assert.equal((await invocationRecord(server, response.headers['hostel-invocation']!)).outcome, 'ok')
    }
  })

  it('is closed as going away when the server stops, and counted out when its client is cut off', async () => {
    const cut = await dial()
    const kept = await dial()
    cut.terminate()
    await logsOf(server, 'chat', (lines) => lines.some(({ text }) => text.startsWith('close 1006')))
    assert.equal(await (await fetch(`${server.gateway}/default/chat/open`)).text(), '1')
    const closed = once(kept, 'close') as Promise<[number]>
    const stopped = server.stop()
    const [code] = await closed
    assert.equal(code, 1001)
    assert.equal((await stopped).code, 0)
  })
})
