/** Why a build failed, in words for whoever deploys: what ended it, what the tool said, and what helps. */
import { HostelError } from '../errors.ts'
import type { LinkCalls } from '../link/messages.ts'
import type { BuildLog } from './log.ts'
import type { Need } from './need.ts'

/** Lines that are looked through, and lines of a tool's own error that are repeated. */
const LOOKED_AT_LINES = 200
const SHOWN_LINES = 8

/** What a line of the log says about what would help. */
const HINTS: [RegExp, string][] = [
  [
    /spawn git|\bgit\b.*(ENOENT|not found)|No such file or directory: 'git'|Cannot find command 'git'/,
    'Builds have no git: name a version from the registry instead of a repository.',
  ],
  [
    /gyp ERR!|node-gyp|\b(make|gcc|g\+\+|cc|clang|cmake): (not found|No such file)|error: command '?\S*(gcc|cc|clang)|Failed to build|No such file or directory: '?\S*(gcc|cc)\b/,
    'Builds have no compilers: choose a version that brings a compiled binary (a wheel) for this Linux, architecture and runtime.',
  ],
  [/^egress: .* refused/, "Builds reach the server's package registry alone; what an install script fetches from elsewhere has to be in a package."],
  [/\bE404\b|404 Not Found|No matching distribution found|ETARGET/, 'Check the name and the version: the registry does not have it.'],
  [/npm error code EUSAGE|can only install .* in sync/i, 'package.json and its lockfile differ: run npm install and deploy again.'],
  [/ENOSPC|No space left on device/, 'The build ran out of room: half of its memory is for files.'],
]

const REASONS: Record<string, string> = {
  deadline_exceeded: 'it took longer than a build may',
  out_of_memory: 'it used more memory than a build may',
}

/** @param said the builder's own last word, if there was one. */
export function buildFailure(need: Need, result: LinkCalls['build']['result'], said: string | undefined, log: BuildLog): HostelError {
  const lines = log.tail(LOOKED_AT_LINES)
  const explanation = typeof result.detail?.['explanation'] === 'string' ? result.detail['explanation'] : result.outcome
  const reason =
    result.outcome === 'ok' ? said || 'the builder ended without an answer' : `${REASONS[result.outcome] ?? 'the build sandbox ended'}: ${explanation}`
  const own = lines.filter((line) => /^(npm error (?!A complete log|Log files|\d+$)|ERROR: |error: )/.test(line)).slice(0, SHOWN_LINES)
  const shown = own.length > 0 ? own : lines.slice(-SHOWN_LINES)
  const hint = HINTS.find(([pattern]) => lines.some((line) => pattern.test(line)))?.[1]
  return new HostelError('build_failed', [`${need.command}: ${reason}.${hint ? ` ${hint}` : ''}`, ...shown.map((line) => `  ${line}`)].join('\n'), {
    facts: { outcome: result.outcome, ...result.detail },
  })
}
