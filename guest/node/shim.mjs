/**
 * The shim of the nodejs24 runtime: boots, waits for its one version, answers requests with it.
 * Usage: node shim.mjs [CODE_ROOT]; the stream to the host is fd 3, a second one fd 4.
 * Everything here can be reached by the user's code in the same process; the host trusts none of it.
 */
import { makeRunner } from './contracts.mjs'
import { cleanStack, errorPayload, errorText, setRoot } from './errors.mjs'
import { installFetch } from './fetch/install.mjs'
import { Invocation, invocations } from './invocation.mjs'
import { loadUserCode } from './load.mjs'
import { context, flushOutside, flushParts, installLogs, levels, log, nextEpoch, openLogs } from './logs.mjs'
import { useProxyLater } from './proxy.mjs'
import { rehearse } from './rehearse.mjs'
import { END, closeWire, flushWaiting, jsonIn, openWire, send, types, violation } from './wire.mjs'

const { stringify } = JSON
const { exit } = process
const [root = '/code'] = process.argv.splice(2)

/** @type {import('./contracts.mjs').Run | null} */
let run = null
let specialised = false
/** Heads that came before the user's module was ready. @type {[invocation: Invocation, method: string, url: string, headers: string[]][]} */
const held = []

/** Of the stream in use. */
let greeted = false
let lastStream = 0

/** @type {import('./wire.mjs').OnFrame} */
function onFrame(type, flags, stream, data, start, end) {
  if (!greeted && type !== types.HELLO) violation('a frame before HELLO')
  switch (type) {
    case types.REQUEST_HEAD: {
      if (stream <= lastStream) violation(`request ${stream} after ${lastStream}`)
      lastStream = stream
      const [method, url, headers, meta] = jsonIn(data, start, end)
      const invocation = new Invocation(stream, meta, (flags & END) === 0)
      if (run !== null) run(invocation, method, url, headers)
      else held.push([invocation, method, url, headers])
      return
    }
    case types.REQUEST_BODY:
      if (stream > lastStream) violation(`a body for request ${stream}, which was not opened`)
      // What comes for a settled request has crossed with its end. The bytes are copied: the buffer is read into again.
      invocations.get(stream)?.body?.push(new Uint8Array(data.subarray(start, end)), (flags & END) !== 0)
      return
    case types.CREDIT:
      invocations.get(stream)?.credit(data.readUInt32BE(start))
      return
    case types.CANCEL:
      invocations.get(stream)?.cancel(jsonIn(data, start, end).reason)
      return
    case types.PING:
      send(types.PONG, 0, 0, data.subarray(start, end))
      return
    case types.HELLO: {
      const { protocol } = jsonIn(data, start, end)
      if (greeted) violation('a second HELLO')
      if (protocol !== 1) violation(`it speaks protocol ${protocol}, this shim protocol 1`)
      greeted = true
      send(types.READY, 0, 0, stringify({ protocol: 1, runtime: 'nodejs24', runtimeVersion: process.versions.node }))
      openLogs()
      return
    }
    case types.SPECIALISE:
      if (specialised) violation('a second SPECIALISE')
      void specialise(jsonIn(data, start, end))
      return
    default:
      violation(`a frame of type ${type}`)
  }
}

/** @param {import('./contracts.mjs').Version} version */
async function specialise(version) {
  specialised = true
  const { env } = version
  Object.assign(process.env, env, {
    HOSTEL_TENANT: version.tenant,
    HOSTEL_FUNCTION: version.function,
    HOSTEL_VERSION: String(version.version),
    HOSTEL_MEMORY_MIB: String(version.memoryMiB),
  })
  if (env['HTTP_PROXY'] !== undefined) useProxyLater()
  try {
    process.chdir(root)
    const code = await loadUserCode(root, version.handler)
    run = makeRunner(code, version)
    send(types.SPECIALISED, 0, 0, stringify({ contract: code.contract }))
    // A request that never lets the event loop turn would otherwise read as a start that never ended.
    if (held.length > 0) flushWaiting()
    for (const request of held.splice(0)) run(...request)
  } catch (error) {
    log(levels.error, errorText(error))
    send(types.INIT_FAILED, 0, 0, errorPayload(error, 'init'))
    flushWaiting()
  }
}

/** The host's end of the stream is gone: on to the second one, unless there is work that nobody would get. */
function onEnd() {
  if (invocations.size > 0 || (specialised && run === null)) exit(0)
  closeWire()
  nextEpoch()
  greeted = false
  lastStream = 0
  openWire(4, onFrame, () => exit(0))
}

/** State after an error that nobody caught is unknown: say whose it is, and end. @param {unknown} error */
function onUncaught(error) {
  const invocation = context.getStore()
  log(levels.error, `Uncaught ${errorText(error)}`)
  if (invocation instanceof Invocation) invocation.fail(error, 'handler')
  else if (specialised && run === null) send(types.INIT_FAILED, 0, 0, errorPayload(error, 'init'))
  exit(1)
}

setRoot(root)
installFetch()
installLogs(cleanStack)
process.on('uncaughtException', (error) => {
  // A listener of the user's means that they take care of it, as in Node without a shim.
  if (process.listenerCount('uncaughtException') === 1) onUncaught(error)
})
process.on('exit', () => {
  for (const invocation of invocations.values()) flushParts(invocation)
  flushOutside()
  flushWaiting()
})
await rehearse()
openWire(3, onFrame, onEnd)
