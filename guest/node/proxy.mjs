/**
 * Leads fetch and undici to the proxy door, for versions that have one. Node's own way, `http.setGlobalProxyFromEnv()`, loads undici
 * (29 ms), and at boot no version is known: so it is called at the first use. `http` and `https` need nothing: the flag
 * `--use-env-proxy`, which every spare boots with, makes them read HTTP_PROXY when they are loaded.
 */

/** Where fetch and every version of npm's undici keep their dispatcher. */
const DISPATCHER = Symbol.for('undici.globalDispatcher.1')

/** Before any of the function's code runs; HTTP_PROXY and its like are set. */
export function useProxyLater() {
  let done = false
  const use = () => {
    if (done) return
    done = true
    if (Object.getOwnPropertyDescriptor(globalThis, DISPATCHER)?.configurable) delete (/** @type {any} */ (globalThis)[DISPATCHER])
    try {
      process.getBuiltinModule('node:http').setGlobalProxyFromEnv(process.env)
    } catch {
      // It is Node's own undici that asks, while it is being loaded: in a moment it will be there.
      done = false
      queueMicrotask(use)
    }
  }
  Object.defineProperty(globalThis, DISPATCHER, {
    configurable: true,
    get() {
      use()
      return /** @type {any} */ (globalThis)[DISPATCHER]
    },
    // Whoever sets a dispatcher of their own means it.
    set(value) {
      done = true
      Object.defineProperty(globalThis, DISPATCHER, { value, writable: true, enumerable: false, configurable: false })
    },
  })
  const { fetch: direct } = globalThis
  Object.defineProperty(globalThis, 'fetch', {
    value: function fetch(/** @type {any} */ input, /** @type {any} */ init = undefined) {
      use()
      return direct(input, init).catch((error) => {
        throw explained(error, input)
      })
    },
    writable: true,
    configurable: true,
    enumerable: true,
  })
}

/** The proxy's no, in words. @param {any} error @param {any} input */
function explained(error, input) {
  const status = /^Proxy response \((\d+)\)/.exec(error?.cause?.cause?.message ?? error?.cause?.message ?? '')?.[1]
  if (!status) return error
  const url = input?.url ?? `${input}`
  const host = URL.canParse(url) ? new URL(url).host : url
  const why = status === '403' ? 'this function may not go there' : `it could not be reached (${status})`
  return new TypeError(`fetch failed: ${host}: ${why}; the log and \`hostel egress NAME\` tell which rule it was`, { cause: error.cause })
}
