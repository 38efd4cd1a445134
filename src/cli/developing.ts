/** The loop of `hostel dev`: a change on disk, a deploy, and the log of what runs; errors are told and it goes on. */
import { existsSync } from 'node:fs'
import { join, relative } from 'node:path'

import type { ControlClient, LogLine } from '../client/control.ts'
import { ApiError, ConnectionError } from '../client/errors.ts'
import { apiFailure } from './api-failure.ts'
import { applyTarget, buildLineText } from './deploying.ts'
import type { Target } from './deploying.ts'
import { formatLine } from './log-line.ts'
import { formatMs, note, print, styled, styledError } from './output.ts'
import { digestDirectory } from './pack.ts'
import { failureOf, printFailure } from './report.ts'
import { watchCode } from './watch-code.ts'
import type { CodeWatch } from './watch-code.ts'

/** Editors write a file in several steps; this long after the last one it is read. */
const SETTLE_MS = 30
/** A server that does not answer is asked again after this long. */
const RETRY_MS = 1_000
/** gzip's fastest: the way is short. */
const PACK_LEVEL = 1

export interface Developed {
  target: Target
  /** Words a failure with the place it is about. */
  explain: (error: unknown) => unknown
}

export interface Development {
  /** Takes these functions from now on, in place of those before. */
  set: (functions: Developed[]) => void
}

/** Deploys, watches and follows until the process ends. */
export function develop(client: ControlClient, tenant: string): Development {
  let watches: CodeWatch[] = []
  let functions = new Map<string, Developed>()
  let width = 0
  /** Function → when its first change since the last deploy was seen. */
  const dirty = new Map<string, number>()
  /** What was deployed last of each. */
  const live = new Map<string, { target: Target; digest: string }>()
  const followed = new Set<string>()
  let timer: NodeJS.Timeout | undefined
  let deploying = false
  let isAway = false

  function touch(name: string): void {
    if (!dirty.has(name)) dirty.set(name, performance.now())
    schedule(SETTLE_MS)
  }

  function schedule(ms: number): void {
    clearTimeout(timer)
    timer = setTimeout(() => void deployDirty(), ms)
  }

  async function deployDirty(): Promise<void> {
    // What changes meanwhile is noticed at the end.
    if (deploying) return
    deploying = true
    for (const [name, sinceMs] of dirty) {
      dirty.delete(name)
      const developed = functions.get(name)
      if (!developed) continue
      try {
        await deploy(developed, sinceMs)
        isAway = false
      } catch (error) {
        if (error instanceof ConnectionError) {
          dirty.set(name, dirty.get(name) ?? sinceMs)
          if (!isAway) printFailure(failureOf(error))
          isAway = true
          break
        }
        printFailure(failureOf(developed.explain(error)))
      }
    }
    deploying = false
    if (dirty.size > 0) schedule(isAway ? RETRY_MS : SETTLE_MS)
  }

  async function deploy({ target }: Developed, sinceMs: number): Promise<void> {
    const since = Date.now()
    const { digest } = await digestDirectory(target.directory)
    const before = live.get(target.name)
    if (before?.digest === digest && before.target === target) return
    // The code is almost never there already, so it is not asked for first.
    const deployed = await applyTarget(client, tenant, { target, digest, codeKnown: false }, () => {}, {
      level: PACK_LEVEL,
      onBuildLine: (line) => note(styledError('dim', buildLineText(line))),
    })
    live.set(target.name, { target, digest })
    if (!deployed.unchanged || !before) {
      const what = `${target.name} is live as version ${deployed.version}${deployed.unchanged ? ' already' : ''}.`
      note(`${styledError('green', what)}  ${styledError('dim', formatMs(performance.now() - sinceMs))}${before ? '' : `  ${deployed.urls.path}`}`)
    }
    if (followed.has(target.name)) return
    followed.add(target.name)
    void follow(target.name, since)
  }

  /** Prints a function's log from now on, over restarts of the server. */
  async function follow(name: string, fromMs: number): Promise<void> {
    let since = fromMs
    while (functions.has(name)) {
      try {
        for await (const line of client.logs(tenant, name, { since, follow: true })) {
          since = Math.max(since, Math.floor(line.atMs) + 1)
          const developed = functions.get(name)
          if (!developed) break
          print(
            `${functions.size > 1 ? `${styled('bold', name.padEnd(width))} ` : ''}${formatLine(line, { brief: true, text: placed(line, developed.target.directory) })}`,
          )
        }
      } catch (error) {
        if (error instanceof ApiError && error.problem.status === 404) break
        if (!(error instanceof ConnectionError || error instanceof ApiError)) throw error
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
    }
    followed.delete(name)
  }

  return {
    set(next) {
      for (const watch of watches.splice(0)) watch.close()
      functions = new Map(next.map((developed) => [developed.target.name, developed]))
      width = Math.max(...next.map(({ target }) => target.name.length))
      const report = (error: unknown): void => printFailure(failureOf(error))
      watches = next.map(({ target }) => watchCode(target.directory, () => touch(target.name), report))
      for (const { target } of next) touch(target.name)
    },
  }
}

/** Words of a server's refusal for a single directory. */
export function explainFor(target: Target): (error: unknown) => unknown {
  return (error) => (error instanceof ApiError ? apiFailure(error, target.directory) : error)
}

/** A stack's `index.ts:3:7` as the path from here, which terminals make a link. */
function placed({ level, text }: LogLine, directory: string): string {
  if (level !== 'error' && level !== 'system' && level !== 'stderr') return text
  const prefix = relative(process.cwd(), directory)
  if (prefix === '') return text
  return text.replace(/(?<![\w/.@-])([\w@-][\w./@-]*\.\w+)(:\d+(?::\d+)?|", line \d+)/g, (whole, file: string, at: string) =>
    existsSync(join(directory, file)) ? `${prefix.startsWith('..') ? join(directory, file) : join(prefix, file)}${at}` : whole,
  )
}
