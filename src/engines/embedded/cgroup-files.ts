/** What cgroup v1 and v2 have in common: small files, and directories that stay busy for a moment. */
import { readFileSync, writeFileSync } from 'node:fs'
import { readFile, readdir, rmdir } from 'node:fs/promises'
import { setImmediate, setTimeout as sleep } from 'node:timers/promises'

const REMOVE_DEADLINE_MS = 2_000
const FREEZE_DEADLINE_MS = 1_000

/** A number in a file of one number, or undefined when it is not there. */
export function readNumber(path: string): number | undefined {
  const text = readIfThere(path)
  return text === undefined ? undefined : Number(text)
}

/** The same without holding the thread; 0 when it is not there. For files that are read by the thousand. */
export async function readNumberSoon(path: string): Promise<number> {
  return Number(await readFile(path, 'utf8').catch(() => 0))
}

/** The value of `key` in a file of `key value` lines. */
export function readKey(path: string, key: string): number | undefined {
  const line = readIfThere(path)
    ?.split('\n')
    .find((candidate) => candidate.startsWith(`${key} `))
  return line === undefined ? undefined : Number(line.slice(key.length + 1))
}

/** A signal to all processes listed in a `cgroup.procs`. */
export function signalListed(procsFile: string, signal: NodeJS.Signals): void {
  for (const line of (readIfThere(procsFile) ?? '').split('\n')) {
    // 0: a process of a pid namespace that is not ours.
    if (Number(line) > 1) {
      try {
        process.kill(Number(line), signal)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
      }
    }
  }
}

/** Writes where a vanished group is no error: the sandbox may die at any moment. */
export function writeIfThere(path: string, text: string): void {
  try {
    writeFileSync(path, text)
  } catch (error) {
    if (!isGone(error)) throw error
  }
}

/** Waits for `done`, which takes the kernel a fraction of a millisecond as a rule. */
export async function untilFrozen(done: () => boolean): Promise<void> {
  const startedAtMs = performance.now()
  while (!done()) {
    const waitedMs = performance.now() - startedAtMs
    if (waitedMs > FREEZE_DEADLINE_MS) throw new Error('the processes did not stand still in time')
    await (waitedMs < 1 ? setImmediate() : sleep(2))
  }
}

/** rmdir, again while the last process is on its way out. Gone already is fine. */
export async function removeGroup(path: string): Promise<void> {
  const deadline = performance.now() + REMOVE_DEADLINE_MS
  for (let waitMs = 1; ; waitMs = Math.min(waitMs * 2, 100)) {
    try {
      await rmdir(path)
      return
    } catch (error) {
      if (isGone(error)) return
      if ((error as NodeJS.ErrnoException).code !== 'EBUSY' || performance.now() > deadline) throw error
      await sleep(waitMs)
    }
  }
}

/** Directories directly below, or none when it is not there. */
export async function groupsIn(path: string): Promise<string[]> {
  try {
    return (await readdir(path, { withFileTypes: true })).filter((entry) => entry.isDirectory()).map((entry) => entry.name)
  } catch (error) {
    if (isGone(error)) return []
    throw error
  }
}

/** A file's text without the line break, or undefined when it is not there. */
export function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch (error) {
    if (isGone(error)) return undefined
    throw error
  }
}

function isGone(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code
  return code === 'ENOENT' || code === 'ENODEV'
}
