/** Watches what a deploy of a directory would take along, but for node_modules, which changes in thousands of files and not by hand. */
import { readdirSync, watch } from 'node:fs'
import type { FSWatcher } from 'node:fs'
import { join } from 'node:path'

import { limits } from '../limits.ts'
import { CliFailure } from './failure.ts'
import { IGNORE_FILE, readIgnore } from './ignore.ts'

/** Directories watched at once; each takes one of the machine's inotify watches. */
const DIRECTORIES_MAX = 2_000

export interface CodeWatch {
  close: () => void
}

/**
 * Calls back with the path below the directory of whatever changes, comes or goes. One watch a directory: Node's recursive one would
 * take node_modules along.
 * @throws CliFailure when there is too much to watch; what comes up later goes to `onProblem`
 */
export function watchCode(root: string, onChange: (path: string) => void, onProblem: (error: unknown) => void): CodeWatch {
  const watchers = new Map<string, FSWatcher>()
  let ignored = readIgnore(root)

  function add(path: string): void {
    if (watchers.has(path)) return
    if (watchers.size >= DIRECTORIES_MAX) {
      throw new CliFailure('failure', `${root} has more than ${DIRECTORIES_MAX} directories to watch`, {
        fix: 'Name what does not belong to the code in .hostelignore.',
      })
    }
    const watcher = openWatcher(join(root, path), (name) => changed(path, name))
    watchers.set(path, watcher)
    watcher.on('error', () => remove(path))
    for (const entry of readdirSync(join(root, path), { withFileTypes: true })) {
      const below = path === '' ? entry.name : `${path}/${entry.name}`
      if (entry.isDirectory() && isWatched(below)) add(below)
    }
  }

  function remove(path: string): void {
    for (const [other, watcher] of watchers) {
      if (other !== path && !other.startsWith(`${path}/`)) continue
      watcher.close()
      watchers.delete(other)
    }
  }

  function isWatched(path: string): boolean {
    return !/(^|\/)node_modules$/.test(path) && !ignored(path, true)
  }

  function changed(path: string, name: string): void {
    const below = path === '' ? name : `${path}/${name}`
    try {
      if (below === IGNORE_FILE) ignored = readIgnore(root)
      else if (ignored(below, false) || !isWatched(below)) return
      // A directory that came: what is in it already is read by the deploy that follows. One that went takes its watches along.
      if (isDirectory(join(root, below))) add(below)
      else remove(below)
    } catch (error) {
      onProblem(error)
    }
    onChange(below)
  }

  function close(): void {
    for (const watcher of watchers.values()) watcher.close()
    watchers.clear()
  }

  try {
    add('')
  } catch (error) {
    close()
    throw error
  }
  return { close }
}

function openWatcher(directory: string, onChange: (name: string) => void): FSWatcher {
  try {
    return watch(directory, (_event, name) => onChange(name ?? ''))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
    throw new CliFailure('failure', 'this machine has no more inotify watches', {
      fix: `Raise the limit: sysctl fs.inotify.max_user_watches=${limits.codeMaxEntries * 10}`,
      cause: error,
    })
  }
}

function isDirectory(path: string): boolean {
  try {
    readdirSync(path)
    return true
  } catch {
    return false
  }
}
