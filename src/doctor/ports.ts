/** Whether the server's usual ports are free, or taken by a server of ours. */
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'

import { parseAddress, settingFlags } from '../settings.ts'
import type { Check } from './check.ts'

const SERVER_ACCESS_FILE = '/run/hostel/cli.json'

export async function checkPorts(): Promise<Check[]> {
  const ours = portsIn(readAccess())
  return Promise.all(
    (['gateway', 'api'] as const).map(async (flag): Promise<Check> => {
      const { host, port } = parseAddress(`--${flag}`, settingFlags[flag].default)
      const name = `port ${port}`
      const problem = await listenProblem(host, port)
      if (problem === null) return { name, ok: true, detail: `free for the ${flag}` }
      if (ours.includes(port)) return { name, ok: true, detail: 'taken by the running server' }
      return {
        name,
        ok: 'warn',
        detail: `not to be had for the ${flag} (${problem})`,
        mend: `ss -ltnp 'sport = :${port}' shows who has it; or start with --${flag} ${host}:PORT`,
      }
    }),
  )
}

/** Ports named in the URLs of a server's access file. */
export function portsIn(access: string): number[] {
  return [...access.matchAll(/https?:\/\/[^"/]*:(\d+)/g)].map((match) => Number(match[1]))
}

/** Error code of an attempt to listen there; null when it works. */
export function listenProblem(host: string, port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(null)))
  })
}

function readAccess(): string {
  try {
    return readFileSync(SERVER_ACCESS_FILE, 'utf8')
  } catch {
    return ''
  }
}
