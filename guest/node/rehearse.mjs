/**
 * A spare has time and the first request has none: what that will need is loaded and compiled before READY.
 * The wire is not open yet, so what the rehearsal says goes nowhere.
 */
import { makeRunner } from './contracts.mjs'
import { Invocation } from './invocation.mjs'
import { loadUserCode } from './load.mjs'
import { nextEpoch, openLogs } from './logs.mjs'

const VERSION = { tenant: '', function: '', version: 0, handler: '', env: {}, memoryMiB: 0, timeoutMs: 0, concurrency: 1 }
const HEADERS = ['host', 'localhost', 'content-type', 'text/plain', 'x-forwarded-for', '127.0.0.1', 'cookie', 'a=b']

/** Loads a module of each kind and sends requests through each contract. */
export async function rehearse() {
  const directory = new URL('rehearsal', import.meta.url).pathname
  const argv = process.argv[1]
  openLogs()
  for (const file of ['fetch.mjs', 'event.cjs']) {
    const run = makeRunner(await loadUserCode(directory, file), VERSION)
    for (const [index, url] of ['http://localhost/', 'http://localhost/a?json=1', 'http://localhost/b'].entries()) {
      const invocation = new Invocation(index + 1, { id: '', deadlineMs: 1_000 }, index > 0)
      run(invocation, index === 0 ? 'GET' : 'POST', url, HEADERS.slice())
      invocation.body?.push(new Uint8Array([123, 125]), true)
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  process.argv[1] = argv
  nextEpoch()
}
