// @ts-check
/**
 * Compiles shims beside their sources with the runtime's own interpreter: a spare then boots in 80 ms instead of 128 and needs 1 MiB less.
 * The compiled files carry a hash of their source instead of its time, so that they stay valid when the keeper copies them, and a
 * source that was changed since is compiled again in memory.
 */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, realpath, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'

import { recipes } from './recipes.mjs'
import { run } from './run.mjs'

/**
 * The directory of the runtimes, and of the application.
 * @typedef {{ cacheDir: string, appDir: string }} Where
 */

/**
 * One shim that is not compiled in its present form: where the note about that goes, and what it will say.
 * @typedef {{ name: string, rootfs: string, shimDir: string, command: string[], note: string, key: string }} Uncompiled
 */

const TIMEOUT_MS = 60_000

/**
 * Of the runtimes that are built.
 * @param {Where} where
 * @returns {Promise<Uncompiled[]>}
 */
export async function uncompiledShims({ cacheDir, appDir }) {
  const uncompiled = []
  for (const { name, compileShim, manifest } of recipes) {
    const runtime = join(cacheDir, 'runtimes', name)
    if (!compileShim || !existsSync(runtime)) continue
    const shimDir = join(appDir, manifest.shimDir)
    const hash = createHash('sha256').update(await realpath(runtime))
    for (const path of (await readdir(shimDir, { recursive: true })).filter((path) => path.endsWith('.py')).sort()) {
      hash.update(path).update(await readFile(join(shimDir, path)))
    }
    const key = hash.digest('hex')
    const note = join(shimDir, '__pycache__', `compiled-for-${name}`)
    if ((await readFile(note, 'utf8').catch(() => '')) !== key)
      uncompiled.push({ name, rootfs: join(runtime, 'rootfs'), shimDir, command: compileShim, note, key })
  }
  return uncompiled
}

/** @param {Uncompiled} uncompiled */
export async function compileShim({ rootfs, shimDir, command, note, key }) {
  // The mount is in a namespace of its own and goes with the process.
  const script = 'set -e; mount --bind "$1" "$2/hostel"; rootfs="$2"; shift 2; exec chroot "$rootfs" "$@"'
  await run('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', script, 'sh', shimDir, rootfs, ...command], {
    timeoutMs: TIMEOUT_MS,
    env: { PATH: '/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin', LANG: 'C.UTF-8' },
  })
  await mkdir(dirname(note), { recursive: true })
  await writeFile(note, key)
}
