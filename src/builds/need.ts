/** What of a function's dependencies has to be installed, read from the manifests in its code. */
import { lstat, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

import { HostelError } from '../errors.ts'
import { limits } from '../limits.ts'
import { harmlessNpmrc } from './npmrc.ts'

/** A build that is needed. */
export interface Need {
  tool: 'npm' | 'pip'
  /** What it is called in logs, such as `npm ci`. */
  command: string
  /** Manifests as the builder gets them: all that decides the result, unless local packages do too. */
  files: { path: string; content: string }[]
  /** Packages of the code itself are installed, so the builder gets all of it. */
  isLocal: boolean
  /** What the owner should know. */
  notes: string[]
}

/** Directories that hold what a build installs, by runtime; where the code has one of them, it is taken as it is. */
export const installedIn = { npm: 'node_modules', pip: '.site-packages' } as const

/** @throws HostelError `build_failed` when a manifest can't be understood */
export async function needOf(directory: string, runtime: string): Promise<Need | undefined> {
  if (runtime.startsWith('nodejs')) return npmNeed(directory)
  if (runtime.startsWith('python')) return pipNeed(directory)
  return undefined
}

type Specs = Record<string, unknown>

async function npmNeed(directory: string): Promise<Need | undefined> {
  const text = await read(directory, 'package.json')
  if (text === undefined || (await isThere(directory, installedIn.npm))) return undefined
  let manifest: { scripts?: unknown; workspaces?: unknown; dependencies?: Specs; optionalDependencies?: Specs; peerDependencies?: Specs } | null
  try {
    manifest = JSON.parse(text) as typeof manifest
  } catch (error) {
    throw new HostelError('build_failed', `package.json is no valid JSON: ${(error as Error).message}`, { cause: error })
  }
  if (typeof manifest !== 'object' || manifest === null) return undefined
  const specs = [manifest.dependencies, manifest.optionalDependencies, manifest.peerDependencies].flatMap((some) => Object.values(some ?? {}))
  if (specs.length === 0 && manifest.workspaces === undefined) return undefined
  const lockName = (await isThere(directory, 'npm-shrinkwrap.json')) ? 'npm-shrinkwrap.json' : 'package-lock.json'
  const lock = await read(directory, lockName)
  const npmrc = await read(directory, '.npmrc')
  const notes: string[] = []
  for (const other of ['yarn.lock', 'pnpm-lock.yaml', 'bun.lock', 'bun.lockb']) {
    if (lock === undefined && (await isThere(directory, other)))
      notes.push(`${other} is not read: npm chooses the versions by package.json; a package-lock.json would fix them`)
  }
  const { kept, dropped } = harmlessNpmrc(npmrc ?? '')
  if (dropped.length > 0) notes.push(`.npmrc: left out ${dropped.join(', ')}; the registry is the one that the server's operator chose`)
  // The code's own scripts are for its development (prepare, postinstall …), and would need all of it.
  const { scripts: _, ...withoutScripts } = manifest
  const files = [{ path: 'package.json', content: JSON.stringify(withoutScripts) }]
  if (lock !== undefined) files.push({ path: lockName, content: lock })
  files.push({ path: '.npmrc', content: kept })
  const isLocal = manifest.workspaces !== undefined || specs.some((spec) => typeof spec === 'string' && /^(file:|link:|[./~])/.test(spec))
  return { tool: 'npm', command: lock === undefined ? 'npm install' : 'npm ci', files, isLocal, notes }
}

async function pipNeed(directory: string): Promise<Need | undefined> {
  const names = await readdir(directory)
  if (names.includes(installedIn.pip) || names.some((name) => name.endsWith('.dist-info'))) return undefined
  const requirements = await read(directory, 'requirements.txt')
  if (requirements !== undefined) {
    const lines = requirements
      .split(/\r?\n/)
      .map((line) => line.replace(/(^|\s)#.*$/, '').trim())
      .filter(Boolean)
    if (lines.length === 0) return undefined
    const isLocal = lines.some((line) => /^(-r|-c|-e|--requirement|--constraint|--editable)\b|^[./]|\bfile:|^[^@:]*\.(whl|zip|tar\.gz)\b/.test(line))
    return { tool: 'pip', command: 'pip install', files: [{ path: 'requirements.txt', content: requirements }], isLocal, notes: [] }
  }
  const project = await read(directory, 'pyproject.toml')
  if (project === undefined) return undefined
  if (/^\s*\[project\]/m.test(project))
    return { tool: 'pip', command: 'pip install', files: [{ path: 'pyproject.toml', content: project }], isLocal: false, notes: [] }
  if (/^\s*\[tool\.poetry\.dependencies\]/m.test(project))
    throw new HostelError(
      'build_failed',
      "pyproject.toml lists its dependencies in Poetry's own form, which only Poetry reads; write a requirements.txt with `poetry export`, or use [project]",
    )
  return undefined
}

async function isThere(directory: string, name: string): Promise<boolean> {
  return (await lstat(join(directory, name)).catch(() => undefined)) !== undefined
}

/** No links can be in the code, so the path itself decides. */
async function read(directory: string, name: string): Promise<string | undefined> {
  const file = join(directory, name)
  const found = await lstat(file).catch(() => undefined)
  if (!found?.isFile()) return undefined
  if (found.size > limits.buildSourceMaxBytes) throw new HostelError('build_failed', `${name} is larger than ${limits.buildSourceMaxBytes / 1024 / 1024} MiB`)
  return readFile(file, 'utf8')
}
