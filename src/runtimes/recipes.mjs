// @ts-check
/**
 * What each runtime is made of, as data. Plain JavaScript, since set-up runs on whatever Node (20 or later) the machine has.
 * A change here gives the runtime a new key, and the next set-up builds it anew (see install.mjs).
 */

/**
 * `runtime.json`: what the keeper must know to boot a runtime. Paths are inside the root filesystem unless said otherwise.
 * @typedef {object} RuntimeManifest
 * @property {string} name
 * @property {string} version  Version of the language, e.g. `24.21.0`.
 * @property {string} digest  Of its recipe: what was built with one runtime is not for another.
 * @property {string} rootfs  Directory beside runtime.json.
 * @property {string[]} init  Pid 1 and its arguments; the command follows.
 * @property {string[]} command  The interpreter, its flags, the shim. Heap flags are put behind the interpreter.
 * @property {string} shimDir  Directory of the application that is bound at /hostel.
 * @property {string[]} entryFiles  Looked for when no handler is given, best first.
 * @property {Record<string, string>} env  Environment at boot.
 * @property {'node' | null} heapFlags  Which flags follow from the memory class.
 */

/**
 * @typedef {object} Recipe
 * @property {string} name
 * @property {string[]} packages  Debian packages beside the base; what they depend on comes along.
 * @property {boolean} nodeBinary  Whether Node's binary from npm goes to /usr/local/bin/node.
 * @property {{ version: string, integrity: string } | null} npm  The npm that installs dependencies in builds, at /usr/local/lib/node_modules/npm.
 * @property {string[]} exclude  Paths left out, as tar patterns.
 * @property {string[][]} finish  Commands run inside the new root filesystem at the end.
 * @property {string[] | null} compileShim  Run inside with the shim at /hostel, writable: compiles it (see bytecode.mjs).
 * @property {string[]} versionCommand  Run inside; prints the language's version.
 * @property {Omit<RuntimeManifest, 'name' | 'version' | 'digest' | 'rootfs' | 'init'>} manifest
 */

/** In every runtime: a reaping pid 1, a shell with the usual tools, certificates, time zones, names of protocols and services. */
export const basePackages = ['libc6', 'libc-bin', 'tini', 'busybox', 'ca-certificates', 'tzdata', 'netbase']

/** Dependencies that serve only installation or an administrator; nothing at run time uses them. */
export const droppedPackages = ['debconf', 'dpkg', 'tar', 'openssl', 'readline-common', 'libmd0', 'libacl1', 'libselinux1', 'libpcre2-8-0', 'perl-base']

/** Left out of every package. */
export const baseExclude = [
  './usr/share/doc',
  './usr/share/man',
  './usr/share/info',
  './usr/share/locale',
  './usr/share/lintian',
  './usr/share/bug',
  './usr/share/doc-base',
  './usr/share/bash-completion',
  './usr/share/applications',
  './usr/share/pixmaps',
  './usr/share/initramfs-tools',
  './usr/share/polkit-1',
  './usr/share/gcc',
  './usr/share/gdb',
  './usr/lib/valgrind',
  './usr/lib/systemd',
  './usr/lib/binfmt.d',
  './usr/share/binfmts',
  './usr/share/zoneinfo/right',
  './etc/cron.daily',
  './etc/logrotate.d',
  './var',
  './usr/sbin/iconvconfig',
  './usr/sbin/zic',
  './usr/sbin/update-ca-certificates',
  './usr/bin/localedef',
  './usr/bin/ldd',
  './usr/bin/pldd',
  './usr/bin/tzselect',
  './usr/bin/tini-static',
  './usr/bin/catchsegv',
  './usr/bin/c_rehash',
]

/** Pid 1 of every sandbox: reaps orphans and passes signals on. */
export const init = ['/usr/bin/tini', '--']

/** Boot environment of every runtime. HOME is the only writable place; the shim sets the rest at specialisation. */
const baseEnv = { PATH: '/usr/local/bin:/usr/bin:/bin', HOME: '/tmp', LANG: 'C.UTF-8', TZ: 'UTC', SSL_CERT_FILE: '/etc/ssl/certs/ca-certificates.crt' }

/** What of Debian's Python nobody needs at run time. */
const pythonExclude = [
  './usr/lib/python3*/test',
  './usr/lib/python3*/pydoc_data',
  './usr/bin/py3*',
  './usr/bin/pdb3*',
  './usr/bin/pygettext3*',
  './usr/bin/pydoc3*',
  './usr/share/python3',
]
/** Without a source's time and size to compare, an import need not look at the source. */
const compilePythonLibrary = [
  '/usr/bin/python3',
  '-I',
  '-m',
  'compileall',
  '-q',
  '--invalidation-mode',
  'unchecked-hash',
  '-x',
  'lib2to3/tests',
  '/usr/lib/python3',
  '/usr/lib/{python}',
]
const compilePythonShim = ['/usr/bin/python3', '-I', '-m', 'compileall', '-q', '--invalidation-mode', 'checked-hash', '/hostel']

/** Out of the wheel and compiled, pip starts two seconds sooner. */
const unpackPip = [
  ['/bin/sh', '-c', '/usr/bin/python3 -I -m zipfile -e /usr/share/python-wheels/pip-*.whl /usr/local/lib/pip && rm -r /usr/share/python-wheels'],
  ['/usr/bin/python3', '-I', '-m', 'compileall', '-q', '--invalidation-mode', 'unchecked-hash', '/usr/local/lib/pip'],
]

/** @type {Recipe[]} */
export const recipes = [
  {
    name: 'nodejs24',
    packages: ['libstdc++6'],
    nodeBinary: true,
    npm: { version: '11.21.2', integrity: 'sha512-7HPApk+AflMUavSseL1Pm6CnYqMIHk53x+KmuhqmTDqPkjPMgxIpTPcTqsE91EKNw4gFBJV9fnXiSdGm1DXq9A==' },
    exclude: [],
    finish: [],
    compileShim: null,
    versionCommand: ['/usr/local/bin/node', '-p', 'process.versions.node'],
    manifest: {
      command: ['/usr/local/bin/node', '/hostel/shim.mjs'],
      shimDir: 'guest/node',
      entryFiles: [
        'index.ts',
        'index.mts',
        'index.js',
        'index.mjs',
        'index.cjs',
        'index.cts',
        'handler.ts',
        'handler.js',
        'handler.mjs',
        'handler.cjs',
        'main.ts',
        'main.js',
        'main.mjs',
      ],
      env: baseEnv,
      heapFlags: 'node',
    },
  },
  {
    name: 'python3',
    // Beside Python, the wheel of pip that installs dependencies in builds, and what compiled packages are linked with.
    packages: ['python3', 'python3-pip-whl', 'libstdc++6', 'libgomp1'],
    nodeBinary: false,
    npm: null,
    exclude: pythonExclude,
    finish: [compilePythonLibrary, ...unpackPip],
    compileShim: compilePythonShim,
    versionCommand: ['/usr/bin/python3', '-I', '-c', 'import platform; print(platform.python_version())'],
    manifest: {
      // -I: neither the environment nor the working directory decides what the shim imports. -B: there is nowhere to write bytecode.
      command: ['/usr/bin/python3', '-I', '-B', '/hostel/shim.py'],
      shimDir: 'guest/python',
      entryFiles: ['main.py', 'handler.py', 'app.py', 'index.py', 'function.py', 'lambda_function.py'],
      env: baseEnv,
      heapFlags: null,
    },
  },
  {
    // Programs and scripts, one process a request. Its shim is written in Python and shares that one's half of the protocol.
    name: 'exec',
    packages: ['python3', 'bash', 'curl', 'jq'],
    nodeBinary: false,
    npm: null,
    exclude: pythonExclude,
    finish: [compilePythonLibrary],
    compileShim: compilePythonShim,
    // What a program has to fit is the C library.
    versionCommand: ['/usr/bin/python3', '-I', '-c', 'import os; print(os.confstr("CS_GNU_LIBC_VERSION").split()[-1])'],
    manifest: {
      command: ['/usr/bin/python3', '-I', '-B', '/hostel/exec.py'],
      shimDir: 'guest/python',
      entryFiles: ['handler.sh', 'main.sh', 'handler', 'main'],
      env: baseEnv,
      heapFlags: null,
    },
  },
]
