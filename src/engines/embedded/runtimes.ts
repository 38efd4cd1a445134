/** Installed runtimes, as `scripts/setup.mjs` leaves them: a `runtime.json` beside a root file system, root-owned. */
import { readFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'

/** A language environment, ready to boot. */
export interface Runtime {
  name: string
  /** Language version, e.g. `24.21.0`. */
  version: string
  /** Of its recipe. */
  digest: string
  /** Absolute path of the root file system, which has /code, /tmp, /hostel, /proc and /dev. */
  rootfs: string
  /** The reaping init in front of the command. */
  init: string[]
  command: string[]
  /** Directory of the shim, relative to the application; appears at /hostel. */
  shimDir: string
  entryFiles: string[]
  env: Record<string, string>
  /** Whose heap flags follow from the memory class. */
  heapFlags: 'node' | null
}

/** All runtimes in `directory`. @throws Error naming the file that does not fit. */
export async function readRuntimes(directory: string): Promise<Map<string, Runtime>> {
  const runtimes = new Map<string, Runtime>()
  let names: string[]
  try {
    names = await readdir(directory)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    names = []
  }
  for (const name of names.sort()) {
    const file = join(directory, name, 'runtime.json')
    try {
      const runtime = JSON.parse(await readFile(file, 'utf8')) as Runtime
      runtimes.set(runtime.name, { ...runtime, rootfs: join(directory, name, runtime.rootfs) })
    } catch (error) {
      throw new Error(`${file} cannot be used: ${(error as Error).message}; build the runtimes anew with npm run setup`, { cause: error })
    }
  }
  return runtimes
}
