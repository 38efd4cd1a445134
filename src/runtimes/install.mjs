// @ts-check
/**
 * Keeps the built runtimes of this machine in /var/cache/hostel: `built/<name>-<key>/` holds one build, and `runtimes/<name>`
 * is a link to the present one. A build is never changed; a new recipe makes a new directory beside it, and the old one goes
 * when no process uses it any more. Callers hold the lock of lock.mjs.
 */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, readlink, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { baseExclude, basePackages, droppedPackages, init, recipes } from './recipes.mjs'
import { buildRootfs, treeBytes } from './rootfs.mjs'
import { run } from './run.mjs'

/** @typedef {import('./recipes.mjs').Recipe} Recipe */

/**
 * Where builds are kept, and the directory of the npm package that carries Node's binary.
 * @typedef {{ cacheDir: string, nodePackage: string }} Where
 */

export const defaultCacheDir = '/var/cache/hostel'
const KEY_CHARS = 16
const builtIn = (/** @type {string} */ cacheDir) => join(cacheDir, 'built')
const linksIn = (/** @type {string} */ cacheDir) => join(cacheDir, 'runtimes')
const SYNC_TIMEOUT_MS = 120_000

const here = dirname(fileURLToPath(import.meta.url))

/**
 * A recipe's key: what decides how the result looks. Not the Debian packages' versions, which would need a look at the mirror
 * at each start: `rm -r /var/cache/hostel && npm run setup` takes up their updates.
 * @param {Recipe} recipe
 * @param {Where} where
 */
async function keyOf(recipe, { nodePackage }) {
  // Compiling the shim comes after the build and leaves nothing in it.
  const { compileShim: _, ...built } = recipe
  const hash = createHash('sha256')
    .update(JSON.stringify({ recipe: built, basePackages, droppedPackages, baseExclude, init }))
    .update(process.arch)
    .update(await readFile('/etc/os-release'))
    .update(await readFile(join(here, 'rootfs.mjs')))
  if (recipe.nodeBinary) hash.update(await readFile(join(nodePackage, 'package.json')))
  return hash.digest('hex').slice(0, KEY_CHARS)
}

/**
 * The recipes whose present build is not linked. Where it is there but another one is linked (another checkout, other
 * recipes), `relink` makes that good, and the recipe is not missing.
 * @param {Where} where
 * @param {{ relink?: boolean, chosen?: Recipe[] }} [options]
 * @returns {Promise<{ recipe: Recipe, directory: string }[]>}
 */
export async function missingRuntimes(where, { relink = false, chosen = recipes } = {}) {
  const missing = []
  for (const recipe of chosen) {
    const one = { recipe, directory: join(builtIn(where.cacheDir), `${recipe.name}-${await keyOf(recipe, where)}`) }
    const built = existsSync(join(one.directory, 'runtime.json'))
    const linked = (await readlink(join(linksIn(where.cacheDir), recipe.name)).catch(() => null)) === one.directory
    if (built && !linked && relink) await linkRuntime(one, where.cacheDir)
    else if (!built || !linked) missing.push(one)
  }
  return missing
}

/**
 * Builds one runtime and links it.
 * @param {{ recipe: Recipe, directory: string }} missing
 * @param {Where} where
 * @returns {Promise<{ version: string, bytes: number }>}
 */
export async function installRuntime({ recipe, directory }, { cacheDir, nodePackage }) {
  await mkdir(builtIn(cacheDir), { recursive: true, mode: 0o755 })
  const unfinished = join(builtIn(cacheDir), `.unfinished-${recipe.name}`)
  await rm(unfinished, { recursive: true, force: true })
  await mkdir(unfinished, { mode: 0o755 })
  const rootfs = join(unfinished, 'rootfs')
  const { version } = await buildRootfs(recipe, { rootfs, nodeBinary: join(nodePackage, 'bin/node') })
  const bytes = await treeBytes(rootfs)
  const manifest = { name: recipe.name, version, digest: await keyOf(recipe, { cacheDir, nodePackage }), rootfs: 'rootfs', init, ...recipe.manifest }
  await writeFile(join(unfinished, 'runtime.json'), JSON.stringify(manifest, null, 2) + '\n')
  // A build that power loss cut short must not be taken for a whole one.
  await run('sync', ['-f', unfinished], { timeoutMs: SYNC_TIMEOUT_MS })
  await rm(directory, { recursive: true, force: true })
  await rename(unfinished, directory)
  await linkRuntime({ recipe, directory }, cacheDir)
  return { version, bytes }
}

/**
 * @param {{ recipe: Recipe, directory: string }} built
 * @param {string} cacheDir
 */
async function linkRuntime({ recipe, directory }, cacheDir) {
  const linksDir = linksIn(cacheDir)
  await mkdir(linksDir, { recursive: true, mode: 0o755 })
  // Made elsewhere, so that a server that lists the runtimes meanwhile sees none twice.
  const link = join(builtIn(cacheDir), `.link-${recipe.name}`)
  await rm(link, { force: true })
  await symlink(directory, link)
  await rename(link, join(linksDir, recipe.name))
}

/**
 * Removes builds that are neither linked nor used by any process, be it as a file, a working directory or a mount.
 * @param {string} cacheDir
 * @returns {Promise<string[]>} names of the removed ones
 */
export async function pruneRuntimes(cacheDir) {
  const [builtDir, linksDir] = [builtIn(cacheDir), linksIn(cacheDir)]
  const linked = new Set()
  for (const name of await readdir(linksDir)) linked.add(await readlink(join(linksDir, name)).catch(() => ''))
  const candidates = (await readdir(builtDir)).filter((name) => !linked.has(join(builtDir, name)))
  if (candidates.length === 0) return []
  const uses = await pathsInUse()
  const unused = candidates.filter((name) => !uses.includes(join(builtDir, name)))
  for (const name of unused) await rm(join(builtDir, name), { recursive: true, force: true })
  return unused
}

/** Every process's mounts, open files, root and working directory, as one text to look in. */
async function pathsInUse() {
  const parts = []
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    parts.push(await readFile(`/proc/${pid}/mountinfo`, 'utf8').catch(() => ''))
    const fds = await readdir(`/proc/${pid}/fd`).catch(() => [])
    for (const path of ['cwd', 'root', ...fds.map((fd) => `fd/${fd}`)]) parts.push(await readlink(`/proc/${pid}/${path}`).catch(() => ''))
  }
  return parts.join('\n')
}
