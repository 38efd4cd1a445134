import assert from 'node:assert/strict'
import {
  closeSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'

import { compileShim, uncompiledShims } from './bytecode.mjs'
import { defaultCacheDir, missingRuntimes, pruneRuntimes } from './install.mjs'
import { acquireLock } from './lock.mjs'
import { recipes, type RuntimeManifest } from './recipes.mjs'
import { run } from './run.mjs'

const nodePackage = join(import.meta.dirname, '..', '..', 'node_modules', `node-linux-${process.arch}`)
const TIMEOUT_MS = 30_000

for (const { name, versionCommand } of recipes) {
  describe(`the root filesystem of ${name}`, () => {
    const directory = join(defaultCacheDir, 'runtimes', name)
    const rootfs = join(directory, 'rootfs')
    const manifest = JSON.parse(readFileSync(join(directory, 'runtime.json'), 'utf8')) as RuntimeManifest
    const inside = (...command: string[]): Promise<string> =>
      run('/usr/sbin/chroot', ['--userspec=1000:1000', rootfs, ...command], { timeoutMs: TIMEOUT_MS, env: manifest.env })
    const entries = readdirSync(rootfs, { withFileTypes: true, recursive: true }).map((entry) => join(entry.parentPath, entry.name))

    it('has the mount points that a sandbox needs, since it is read-only there', () => {
      for (const point of ['code', 'tmp', 'hostel', 'proc', 'dev']) assert.ok(lstatSync(join(rootfs, point)).isDirectory(), point)
    })

    it('has nothing that a guest could write, nothing set-user-id and no devices, and belongs to root', () => {
      const wrong = entries.filter((path) => {
        const stat = lstatSync(path)
        return stat.uid !== 0 || stat.gid !== 0 || stat.isBlockDevice() || stat.isCharacterDevice() || (!stat.isSymbolicLink() && (stat.mode & 0o7022) !== 0)
      })
      assert.deepEqual(wrong, [])
    })

    it('lets any user read all of it', () => {
      const wrong = entries.filter((path) => {
        const stat = lstatSync(path)
        return !stat.isSymbolicLink() && (stat.mode & (stat.isDirectory() ? 0o555 : 0o444)) !== (stat.isDirectory() ? 0o555 : 0o444)
      })
      assert.deepEqual(wrong, [])
    })

    it('carries no logs, package lists, machine id or documentation', () => {
      for (const path of ['var/log', 'var/lib', 'var/cache', 'etc/apt', 'etc/machine-id', 'etc/hostname', 'usr/share/doc', 'usr/share/man']) {
        assert.ok(!existsSync(join(rootfs, path)), path)
      }
    })

    it('runs as an unprivileged user behind its init', async () => {
      assert.equal((await inside(...manifest.init, ...versionCommand)).trim(), manifest.version)
    })

    it('has a shell with the usual tools, a user name and time zones', async () => {
      assert.equal((await inside('sh', '-c', 'id -un; echo one two | awk "{print \\$2}" | tr a-z A-Z; TZ=Asia/Tokyo date -d @0 +%H')).trim(), 'guest\nTWO\n09')
    })

    it('has certificates where programs look for them', () => {
      const bundle = readFileSync(join(rootfs, 'etc/ssl/certs/ca-certificates.crt'), 'utf8')
      assert.ok(bundle.split('BEGIN CERTIFICATE').length > 100)
      assert.equal(readlinkSync(join(rootfs, 'usr/lib/ssl/cert.pem')), '/etc/ssl/certs/ca-certificates.crt')
    })
  })
}

describe('the python3 runtime', () => {
  it('has the whole standard library, compiled', async () => {
    const script = `
import importlib, ssl, sys, warnings
warnings.simplefilter('ignore')
for name in 'asyncio bz2 concurrent.futures csv ctypes curses dataclasses decimal email hashlib http.server json logging lzma multiprocessing readline sqlite3 ssl tomllib unittest urllib.request uuid venv xml.etree.ElementTree zipfile zlib zoneinfo'.split():
    importlib.import_module(name)
uncompiled = [name for name, module in sys.modules.items() if (getattr(module, '__cached__', None) or '').endswith('.pyc') and not __import__('os').path.exists(module.__cached__)]
print(len(ssl.create_default_context().get_ca_certs()) > 100, uncompiled, zoneinfo.ZoneInfo('Europe/London') if (zoneinfo := sys.modules['zoneinfo']) else None)
`
    const output = await run(
      'chroot',
      ['--userspec=1000:1000', join(defaultCacheDir, 'runtimes/python3/rootfs'), '/usr/bin/python3', '-I', '-B', '-c', script],
      { timeoutMs: TIMEOUT_MS },
    )
    assert.equal(output.trim(), 'True [] Europe/London')
  })
})

describe('the compiled shim', () => {
  it('is missing where a source has changed, and stays valid when it is copied', async () => {
    const appDir = mkdtempSync(join(tmpdir(), 'hostel-shim-'))
    try {
      const shimDir = join(appDir, 'guest/python')
      cpSync(join(import.meta.dirname, '../../guest/python'), shimDir, { recursive: true, filter: (path) => !path.endsWith('__pycache__') })
      const where = { cacheDir: defaultCacheDir, appDir }
      const [missing] = await uncompiledShims(where)
      await compileShim(missing!)
      assert.ok(!(await uncompiledShims(where)).some(({ name }) => name === missing!.name))
      const copy = join(appDir, 'copy')
      cpSync(shimDir, copy, { recursive: true })
      utimesSync(join(copy, 'hostel_shim/wire.py'), 1, 1)
      const script = 'import sys; sys.path.insert(0, "/hostel"); import hostel_shim.wire'
      const tell = ['sh', '-c', 'mount --bind "$1" "$2/hostel"; exec chroot "$2" /usr/bin/python3 -I -B -v -c "$3" 2>&1', 'sh', copy, missing!.rootfs, script]
      assert.match(await run('unshare', ['--mount', '--propagation', 'private', ...tell], { timeoutMs: TIMEOUT_MS }), /wire\.cpython-\d+\.pyc matches/)
      writeFileSync(join(shimDir, 'hostel_shim/wire.py'), '# changed\n')
      assert.ok((await uncompiledShims(where)).some(({ name }) => name === missing!.name))
    } finally {
      rmSync(appDir, { recursive: true, force: true })
    }
  })
})

describe('the cache of runtimes', () => {
  let cacheDir: string

  before(() => {
    cacheDir = mkdtempSync(join(tmpdir(), 'hostel-runtimes-'))
  })
  after(() => rmSync(cacheDir, { recursive: true, force: true }))

  it('links a build that is there already instead of making it again', async () => {
    const missing = await missingRuntimes({ cacheDir, nodePackage })
    assert.deepEqual(
      missing.map(({ recipe }) => recipe.name),
      recipes.map(({ name }) => name),
    )
    const one = missing[0]!
    mkdirSync(one.directory, { recursive: true })
    writeFileSync(join(one.directory, 'runtime.json'), '{}')
    assert.equal((await missingRuntimes({ cacheDir, nodePackage })).length, missing.length, 'built but not linked')
    assert.equal((await missingRuntimes({ cacheDir, nodePackage }, { relink: true })).length, missing.length - 1)
    assert.equal(readlinkSync(join(cacheDir, 'runtimes', one.recipe.name)), one.directory)
  })

  it('removes builds that are neither linked nor in use, and no others', async () => {
    const build = (name: string): string => {
      const directory = join(cacheDir, 'built', name)
      mkdirSync(join(directory, 'rootfs'), { recursive: true })
      return directory
    }
    const linked = build('python3-linked')
    rmSync(join(cacheDir, 'runtimes', 'python3'), { force: true })
    symlinkSync(linked, join(cacheDir, 'runtimes', 'python3'))
    const used = build('python3-used')
    build('python3-old')
    const descriptor = openSync(join(used, 'rootfs'), 'r')
    try {
      assert.deepEqual(await pruneRuntimes(cacheDir), ['python3-old'])
    } finally {
      closeSync(descriptor)
    }
    assert.ok(existsSync(linked))
    assert.deepEqual(await pruneRuntimes(cacheDir), ['python3-used'])
  })

  it('is worked on by one set-up at a time', async () => {
    const path = join(cacheDir, 'setup.lock')
    const release = await acquireLock(path, () => {})
    let waited = false
    const second = acquireLock(path, () => (waited = true))
    assert.equal(await Promise.race([second.then(() => 'acquired'), new Promise((resolve) => setTimeout(resolve, 700, 'waiting'))]), 'waiting')
    assert.ok(waited)
    release()
    const releaseSecond = await second
    releaseSecond()
  })
})

describe('running a program', () => {
  it('says how it failed, with its last words', async () => {
    await assert.rejects(run('sh', ['-c', 'echo gone wrong >&2; exit 3'], { timeoutMs: TIMEOUT_MS }), /ended with code 3:\ngone wrong/)
  })

  it('ends it with all that it started when it takes too long', async () => {
    const marker = `3${process.pid}`
    await assert.rejects(run('sh', ['-c', `sleep ${marker} & sleep ${marker}`], { timeoutMs: 300 }), /took more than 0.3 s/)
    const running = readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && commandLine(pid).includes(`sleep\0${marker}`))
    assert.deepEqual(running, [])
  })
})

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return ''
  }
}
