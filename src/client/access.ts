/** Where the server is and how one is let in: given, or written down by the server on this machine. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

import { NoAccess } from './errors.ts'

export interface Access {
  /** Control API. */
  api: string
  /** Gateway; undefined when only API and token were given: the API tells it. */
  gateway: string | undefined
  token: string
  /** Where this was found, for messages. */
  source: string
}

/** The server on this machine that started last leaves a link here. */
const RUN_FILE = '/run/hostel/cli.json'

/**
 * In this order: what is given, HOSTEL_API and HOSTEL_TOKEN, `$HOSTEL_DATA/cli.json`, `/run/hostel/cli.json`. A file's token goes with
 * its own API only, so that a token never reaches another server than the one it is for.
 * @throws NoAccess
 */
export function findAccess(given: { api?: string | undefined; token?: string | undefined }, environment: NodeJS.ProcessEnv): Access {
  const api = given.api ?? (environment['HOSTEL_API'] || undefined)
  const token = given.token ?? (environment['HOSTEL_TOKEN'] || undefined)
  const source = given.api ? '--api' : 'HOSTEL_API'
  if (api !== undefined) checkUrl(source, api)
  if (api !== undefined && token !== undefined) return { api, gateway: undefined, token, source }

  const files = [...(environment['HOSTEL_DATA'] ? [join(environment['HOSTEL_DATA'], 'cli.json')] : []), RUN_FILE]
  let denied: string | undefined
  for (const file of files) {
    const found = readAccessFile(file)
    if (found === 'denied') denied ??= file
    if (typeof found !== 'object') continue
    if (api === undefined) return { ...found, token: token ?? found.token, source: file }
    if (new URL(found.api).origin === new URL(api).origin) return { ...found, api, token: token ?? found.token, source: file }
  }
  if (api !== undefined) throw new NoAccess(`there is no token for ${api}`, denied)
  throw new NoAccess(`no server was found: neither --api nor HOSTEL_API is given, and there is no readable ${files.join(' or ')}`, denied)
}

function checkUrl(source: string, url: string): void {
  if (!URL.canParse(url) || !/^https?:\/\//.test(url)) throw new NoAccess(`${source} takes a URL such as http://127.0.0.1:8081; got "${url}"`)
}

function readAccessFile(file: string): Omit<Access, 'source'> | 'denied' | 'absent' {
  try {
    const { api, gateway, token } = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>
    if (typeof api !== 'string' || typeof token !== 'string' || !URL.canParse(api))
      throw new NoAccess(`${file} is damaged; restart the server, which writes it`)
    return { api, gateway: typeof gateway === 'string' ? gateway : undefined, token }
  } catch (error) {
    if (error instanceof NoAccess) throw error
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EACCES' || code === 'EPERM') return 'denied'
    if (code === 'ENOENT' || code === 'ENOTDIR') return 'absent'
    throw new NoAccess(`${file} is damaged; restart the server, which writes it`)
  }
}
