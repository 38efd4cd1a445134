// @ts-check
/** Makes one runtime's root filesystem from Debian packages and Node's binary. Needs root, apt and dpkg-deb; runs on Node 20. */
import { createHash } from 'node:crypto'
import { copyFile, lstat, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile, chmod } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { baseExclude, basePackages, droppedPackages } from './recipes.mjs'
import { run } from './run.mjs'

/** @typedef {import('./recipes.mjs').Recipe} Recipe */

const DOWNLOAD_TIMEOUT_MS = 300_000
const UNPACK_TIMEOUT_MS = 120_000
const FINISH_TIMEOUT_MS = 120_000

const files = {
  'etc/passwd': 'root:x:0:0:root:/nonexistent:/usr/bin/false\nguest:x:1000:1000:guest:/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/bin/false\n',
  'etc/group': 'root:x:0:\nguest:x:1000:\nnogroup:x:65534:\n',
  'etc/hosts': '127.0.0.1\tlocalhost\n::1\tlocalhost\n',
  // No name server: a look-up fails at once instead of waiting for one that isn't there.
  'etc/resolv.conf': '',
  'etc/nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n',
  'etc/ld.so.conf': 'include /etc/ld.so.conf.d/*.conf\n',
}

/** Mount points must be there beforehand, since the root is read-only in a sandbox. */
const mountPoints = ['code', 'tmp', 'hostel', 'proc', 'dev', 'sys', 'run', 'var/tmp']

/**
 * @param {Recipe} recipe
 * @param {{ rootfs: string, nodeBinary: string }} where  `rootfs` must not exist.
 * @returns {Promise<{ version: string }>}
 */
export async function buildRootfs(recipe, { rootfs, nodeBinary }) {
  const debs = await mkdtemp(join(tmpdir(), 'hostel-debs-'))
  try {
    // Merged /usr: a package may name either path, and both must lead to one place.
    for (const name of ['bin', 'sbin', 'lib', 'lib64']) await mkdir(join(rootfs, 'usr', name), { recursive: true })
    for (const name of ['bin', 'sbin', 'lib', 'lib64']) await symlink(`usr/${name}`, join(rootfs, name))
    for (const name of mountPoints) await mkdir(join(rootfs, name), { recursive: true })
    await download([...basePackages, ...recipe.packages], debs)
    await unpack(debs, rootfs, recipe.exclude)
    if (recipe.nodeBinary) {
      await mkdir(join(rootfs, 'usr/local/bin'), { recursive: true })
      await copyFile(nodeBinary, join(rootfs, 'usr/local/bin/node'))
    }
    if (recipe.npm) await installNpm(recipe.npm, debs, rootfs)
    await configure(rootfs)
    const python = (await readdir(join(rootfs, 'usr/lib'))).find((name) => /^python3\.\d+$/.test(name)) ?? ''
    for (const command of recipe.finish)
      await inside(
        rootfs,
        command.map((word) => word.replace('{python}', python)),
      )
    await harden(rootfs)
    return { version: (await inside(rootfs, recipe.versionCommand)).trim() }
  } finally {
    await rm(debs, { recursive: true, force: true })
  }
}

/**
 * Lets the machine's own apt choose and verify, as if nothing were installed yet.
 * @param {string[]} packages
 * @param {string} debs
 */
async function download(packages, debs) {
  const status = join(debs, 'status')
  await writeFile(status, '')
  await mkdir(join(debs, 'partial'))
  const fetch = () =>
    run(
      'apt-get',
      [
        '-o',
        `Dir::State::status=${status}`,
        '-o',
        `Dir::Cache::archives=${debs}/`,
        '-o',
        'Dir::Cache::pkgcache=',
        '-o',
        'Dir::Cache::srcpkgcache=',
        // The downloads go to a directory of ours, and root alone may write there.
        '-o',
        'Debug::NoLocking=1',
        '-o',
        'APT::Sandbox::User=root',
        '-o',
        'APT::Install-Recommends=0',
        '-o',
        'Acquire::Retries=3',
        '-qq',
        '--download-only',
        '-y',
        'install',
        ...packages,
      ],
      { timeoutMs: DOWNLOAD_TIMEOUT_MS },
    )
  try {
    await fetch()
  } catch {
    // Most often the lists are missing or old, and name a version that the mirror no longer has.
    await run('apt-get', ['-qq', '-o', 'DPkg::Lock::Timeout=120', '-o', 'Acquire::Retries=3', 'update'], { timeoutMs: DOWNLOAD_TIMEOUT_MS })
    await fetch()
  }
}

/**
 * Unpacks without running the packages' scripts: those expect a whole system around them.
 * @param {string} debs
 * @param {string} rootfs
 * @param {string[]} exclude
 */
async function unpack(debs, rootfs, exclude) {
  const excludeFile = join(debs, 'exclude')
  await writeFile(excludeFile, [...baseExclude, ...exclude].join('\n') + '\n')
  const names = (await readdir(debs)).filter((name) => name.endsWith('.deb') && !droppedPackages.includes(name.slice(0, name.indexOf('_')))).sort()
  if (names.length === 0) throw new Error('apt-get downloaded no packages')
  const script = `set -e
    for deb; do
      dpkg-deb --fsys-tarfile "$deb" >"$DEBS/data.tar"
      tar -x -f "$DEBS/data.tar" -C "$ROOTFS" --keep-directory-symlink --no-same-owner --exclude-from="$DEBS/exclude"
    done`
  await run('sh', ['-c', script, 'unpack', ...names.map((name) => join(debs, name))], { timeoutMs: UNPACK_TIMEOUT_MS, env: { DEBS: debs, ROOTFS: rootfs } })
}

/**
 * From the registry that this machine's npm uses, and only if it is the very archive that the recipe means.
 * @param {{ version: string, integrity: string }} npm
 * @param {string} scratch
 * @param {string} rootfs
 */
async function installNpm({ version, integrity }, scratch, rootfs) {
  await run('npm', ['pack', `npm@${version}`, '--ignore-scripts', '--loglevel=error', `--pack-destination=${scratch}`], {
    cwd: scratch,
    timeoutMs: DOWNLOAD_TIMEOUT_MS,
  })
  const archive = join(scratch, `npm-${version}.tgz`)
  const found = `sha512-${createHash('sha512')
    .update(await readFile(archive))
    .digest('base64')}`
  if (found !== integrity) throw new Error(`the registry's npm ${version} is not the one that the recipe means: it has ${found}, wanted is ${integrity}`)
  const target = join(rootfs, 'usr/local/lib/node_modules/npm')
  await mkdir(target, { recursive: true })
  const leaveOut = ['package/docs', 'package/man'].map((path) => `--exclude=${path}`)
  await run('tar', ['-x', '-z', '-f', archive, '-C', target, '--strip-components=1', '--no-same-owner', ...leaveOut], { timeoutMs: UNPACK_TIMEOUT_MS })
}

/**
 * What the packages' scripts would have done, as far as a guest can tell.
 * @param {string} rootfs
 */
async function configure(rootfs) {
  for (const [path, text] of Object.entries(files)) await writeFile(join(rootfs, path), text)
  const applets = (await inside(rootfs, ['/usr/bin/busybox', '--list'])).trim().split('\n')
  for (const applet of applets) await symlink('busybox', join(rootfs, 'usr/bin', applet)).catch(ignoreExisting)
  const certificates = join(rootfs, 'usr/share/ca-certificates/mozilla')
  const names = (await readdir(certificates)).filter((name) => name.endsWith('.crt')).sort()
  const bundle = await Promise.all(names.map((name) => readFile(join(certificates, name), 'utf8')))
  await mkdir(join(rootfs, 'etc/ssl/certs'), { recursive: true })
  await writeFile(join(rootfs, 'etc/ssl/certs/ca-certificates.crt'), bundle.map((text) => text.trimEnd() + '\n').join(''))
  // Where OpenSSL looks by itself, for programs that clear the environment.
  await mkdir(join(rootfs, 'usr/lib/ssl'), { recursive: true })
  await symlink('/etc/ssl/certs/ca-certificates.crt', join(rootfs, 'usr/lib/ssl/cert.pem')).catch(ignoreExisting)
  await symlink('/usr/share/zoneinfo/Etc/UTC', join(rootfs, 'etc/localtime')).catch(ignoreExisting)
  await inside(rootfs, ['/sbin/ldconfig'])
}

/**
 * Everything readable by any user and writable by root alone; nothing set-user-id; no device nodes.
 * @param {string} rootfs
 */
async function harden(rootfs) {
  for (const path of ['var/cache', 'etc/ssl/private', 'etc/apt', 'etc/dpkg']) await rm(join(rootfs, path), { recursive: true, force: true })
  await run('chmod', ['-R', 'u-s,g-s,-t,a+rX,u+w,go-w', rootfs], { timeoutMs: UNPACK_TIMEOUT_MS })
  await chmod(rootfs, 0o755)
}

/**
 * @param {string} rootfs
 * @param {string[]} command
 */
function inside(rootfs, command) {
  return run('chroot', [rootfs, ...command], {
    timeoutMs: FINISH_TIMEOUT_MS,
    env: { PATH: '/usr/local/bin:/usr/bin:/bin:/sbin', LANG: 'C.UTF-8', PYTHONHASHSEED: '0' },
  })
}

/** @param {NodeJS.ErrnoException} error */
function ignoreExisting(error) {
  if (error.code !== 'EEXIST') throw error
}

/**
 * Bytes of all regular files below a directory.
 * @param {string} dir
 * @returns {Promise<number>}
 */
export async function treeBytes(dir) {
  let bytes = 0
  for (const entry of await readdir(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name)
    if (entry.isDirectory()) bytes += await treeBytes(path)
    else if (entry.isFile()) bytes += (await lstat(path)).size
  }
  return bytes
}
