/** One tree of code and what was installed for it. Files are shared with where they come from by hard links: nothing here ever changes one. */
import { createHash } from 'node:crypto'
import { copyFile, link, mkdir, open, readdir, chmod } from 'node:fs/promises'
import { join } from 'node:path'

const AT_ONCE = 16

/** Names the form, so that no code can have the digest of a joined tree. */
const FORM = 'hostel joined tree 1\n'

/** The name of the tree of both. */
export function joinedDigest(code: string, installed: string): string {
  return createHash('sha256').update(`${FORM}${code}\n${installed}\n`).digest('hex')
}

/** Fills `target`, which must be there and empty, with what is in `sources`; no path may be in two of them, but for directories. On disk on return. */
export async function joinTrees(sources: readonly string[], target: string): Promise<void> {
  const directories = [target]
  const files: { from: string; to: string }[] = []
  await chmod(target, 0o755)
  for (const source of sources) {
    for (const entry of await readdir(source, { recursive: true, withFileTypes: true })) {
      const from = join(entry.parentPath, entry.name)
      const to = join(target, from.slice(source.length + 1))
      if (entry.isFile()) files.push({ from, to })
      else if (entry.isDirectory()) directories.push(to)
    }
  }
  // Shorter paths first: parents before what is in them.
  directories.sort((a, b) => a.length - b.length)
  for (const directory of directories.slice(1)) {
    await mkdir(directory, { recursive: true })
    // Whatever the umask.
    await chmod(directory, 0o755)
  }
  await inParallel(files, ({ from, to }) => link(from, to).catch(copyInstead(from, to)))
  await inParallel(directories, syncDirectory)
}

/** A file may have only so many names. */
function copyInstead(from: string, to: string): (error: NodeJS.ErrnoException) => Promise<void> {
  return async (error) => {
    if (error.code !== 'EMLINK') throw error
    await copyFile(from, to)
  }
}

async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const left = items.values()
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (const item of left) await work(item)
    }),
  )
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
