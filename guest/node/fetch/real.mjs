/**
 * Node's own fetch classes, which cost 30–40 ms and 7 MiB to load, for what the light ones leave to them.
 * Once the light classes stand in their global places the only way to them is an answer of fetch.
 */

/** @type {typeof globalThis.fetch} */
let realFetch
/** @type {Record<string, Function>} */
let loaded = {}
/** @type {Promise<typeof Response> | null} */
let loading = null

/** Called once, while the global still is Node's. @param {typeof globalThis.fetch} fetch */
export function keepRealFetch(fetch) {
  realFetch = fetch
}

/** @returns {Promise<typeof Response>} Node's Response */
export function realResponse() {
  loading ??= realFetch('data:,').then((response) => {
    noteReal(response)
    return /** @type {any} */ (response.constructor)
  })
  return loading
}

/** Remembers the classes behind an answer of Node's fetch, so that `instanceof` knows them. @param {any} response */
export function noteReal(response) {
  if (loaded.Response) return
  loaded = { Response: response.constructor, Headers: response.headers.constructor }
}

/** Whether a value is Node's own Response or Headers. @param {'Response' | 'Headers'} name @param {any} value */
export const isReal = (name, value) => loaded[name] !== undefined && value instanceof loaded[name]
