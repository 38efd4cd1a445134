/**
 * The walls, seen from inside: a Python function in a real sandbox reports what it finds and what it may do; here it is judged.
 * The table of docs/threat-model.md ("what a sandbox may do") is the specification.
 */
import assert from 'node:assert/strict'
import { readFileSync, readlinkSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'

import { createControlClient } from '../../src/client/control.ts'
import { limits } from '../../src/limits.ts'
import { callEvent, deploy, eventually } from '../lib/functions.ts'
import { commandLine, processIds } from '../lib/processes.ts'
import { removeData, startServer, type TestServer } from '../lib/server.ts'

interface Report {
  status: Record<string, string>
  pid: number
  processes: number[]
  init: string
  namespaces: Record<string, string>
  uid_map: string[]
  mounts: string[][]
  hostname: string
  interfaces: string[]
  environment: Record<string, string>
  descriptors: Record<string, string>
  cgroup: string
  limits: string
  devices: string[]
  sys: false | string[]
  writable: string[]
  setuid: string[]
  syscalls: Record<string, string>
  sockets: Record<string, string>
  files: Record<string, string>
}

const probe = readFileSync(join(import.meta.dirname, 'probe-python', 'main.py'), 'utf8')
const tenantSecret = 'walls-test-secret'

describe('a function in a sandbox', () => {
  let server: TestServer
  let seen: Report
  let other: Report

  before(async () => {
    server = await startServer()
    await deploy(server, 'probe', { 'main.py': probe }, { runtime: 'python3', memoryMiB: 128, env: { SECRET: tenantSecret } })
    await deploy(server, 'other', { 'main.py': probe }, { runtime: 'python3', memoryMiB: 128 })
    seen = await callEvent<Report>(server, 'probe', { what: 'report' })
    other = await callEvent<Report>(server, 'other', { what: 'report' })
  })

  after(async () => {
    await server.stop()
    removeData(server.dataDir)
  })

  it('has no capability in any set and can gain none', () => {
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) assert.equal(BigInt(`0x${seen.status[set]}`), 0n, set)
    assert.equal(seen.status['NoNewPrivs'], '1')
    assert.equal(seen.status['Seccomp'], '2')
  })

  it('runs under a user of its own range, whose root is nobody on the host, and shares the range with no other sandbox', () => {
    const [inside, outside, count] = seen.uid_map.map(Number) as [number, number, number]
    assert.equal(inside, 0)
    assert.ok(outside >= limits.uidBase && outside + count <= 0x8000_0000, `range starts at ${outside}`)
    assert.equal(count, limits.uidsPerSlot)
    assert.notEqual(Number(other.uid_map[1]), outside)
    assert.ok(!seen.status['Uid']!.split(/\s+/).includes('0'), 'the function is not even root inside')
  })

  it('lives in namespaces of its own, each another than the host’s and another sandbox’s', () => {
    for (const kind of ['pid', 'mnt', 'net', 'ipc', 'uts', 'cgroup', 'user']) {
      assert.ok(seen.namespaces[kind], kind)
      assert.notEqual(seen.namespaces[kind], readlinkSync(`/proc/self/ns/${kind}`), kind)
      assert.notEqual(seen.namespaces[kind], other.namespaces[kind], kind)
    }
  })

  it('sees only its own processes, below a reaping init', () => {
    assert.ok(seen.processes.length <= 3, `processes: ${seen.processes.join(', ')}`)
    assert.match(seen.init, /^(tini|catatonit)$/)
    assert.notEqual(seen.pid, 1)
  })

  it('learns nothing of the host by name, environment or cgroup path', () => {
    assert.notEqual(seen.hostname, readFileSync('/proc/sys/kernel/hostname', 'utf8').trim())
    assert.notEqual(seen.hostname, other.hostname)
    const known = [
      'PATH',
      'HOME',
      'LANG',
      'LC_ALL',
      'TZ',
      'TMPDIR',
      'SECRET',
      'HOSTEL_FUNCTION',
      'HOSTEL_VERSION',
      'HOSTEL_TENANT',
      'HOSTEL_MEMORY_MIB',
      'USER',
      'PYTHONUNBUFFERED',
      'PYTHONDONTWRITEBYTECODE',
      'PYTHONUTF8',
      'PYTHONNOUSERSITE',
      'LC_CTYPE',
      'container',
      'HOSTNAME',
      'PWD',
      'SSL_CERT_FILE',
    ]
    assert.deepEqual(
      Object.keys(seen.environment).filter((name) => !known.includes(name)),
      [],
    )
    assert.equal(seen.environment['SECRET'], tenantSecret)
    assert.equal(other.environment['SECRET'], undefined)
    for (const line of seen.cgroup.trim().split('\n')) assert.match(line, /:\/[^/]*$/, 'a cgroup path tells where the sandbox lies on the host')
  })

  it('can write to /tmp and nowhere else', () => {
    assert.deepEqual(
      seen.writable.filter((path) => path !== '/tmp' && !path.startsWith('/tmp/')),
      [],
    )
    assert.ok(seen.writable.includes('/tmp'))
    for (const path of ['/code/main.py', '/hostel/shim.py', '/etc/passwd']) assert.match(seen.files[path]!, /^(EROFS|EACCES|EPERM)$/, path)
  })

  it('finds no setuid file, no /sys, and only harmless devices', () => {
    assert.deepEqual(seen.setuid, [])
    assert.ok(!seen.sys || seen.sys.length === 0, `/sys holds ${JSON.stringify(seen.sys)}`)
    const harmless = ['null', 'zero', 'full', 'random', 'urandom', 'tty', 'fd', 'stdin', 'stdout', 'stderr', 'shm', 'mqueue', 'pts', 'ptmx', 'core', 'console']
    assert.deepEqual(
      seen.devices.filter((name) => !harmless.includes(name)),
      [],
    )
  })

  it('cannot open what belongs to the kernel or to root', () => {
    for (const path of ['/proc/sysrq-trigger', '/proc/sys/kernel/core_pattern', '/proc/1/root/etc/shadow', '/dev/mem', '/dev/kmsg'])
      assert.notEqual(seen.files[path], 'opened', path)
    // Masked by /dev/null, which opens and is empty, or refused.
    assert.match(seen.files['/proc/kcore']!, /^(EACCES|EPERM|ENOENT|opened)$/)
    assert.doesNotMatch(seen.files['/proc/kallsyms']!, /^(?!0{8})[0-9a-f]{16} /, 'kernel addresses are readable')
  })

  it('is refused every call that makes namespaces, mounts, keys, rings, probes or modules', () => {
    const allowed = Object.entries(seen.syscalls).filter(([, verdict]) => !['EPERM', 'ENOSYS', 'absent'].includes(verdict))
    assert.deepEqual(allowed, [])
  })

  it('has no network but its own loopback, and no sockets of kinds that reach the kernel', () => {
    assert.deepEqual(seen.interfaces, ['lo'])
    assert.equal(seen.sockets['inet'], 'allowed')
    assert.equal(seen.sockets['unix'], 'allowed')
    for (const kind of ['netlink', 'packet', 'raw', 'vsock', 'alg']) assert.notEqual(seen.sockets[kind], 'allowed', kind)
  })

  it('reaches neither the host’s loopback, nor the gateway, nor the control API, nor a metadata address', async () => {
    const listener = createServer()
    await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
    const { port } = listener.address() as { port: number }
    const targets = [
      { host: '127.0.0.1', port },
      { host: '127.0.0.1', port: server.gatewayPort },
      { host: '127.0.0.1', port: Number(new URL(server.api).port) },
      { host: '169.254.169.254', port: 80 },
      { host: '::1', port },
    ]
    try {
      for (const target of targets)
        assert.match(
          await callEvent<string>(server, 'probe', { what: 'connect', ...target }),
          /^(ECONNREFUSED|ENETUNREACH|EADDRNOTAVAIL|EAFNOSUPPORT|EPERM)$/,
          `${target.host}:${target.port}`,
        )
    } finally {
      listener.close()
    }
  })

  it('holds no descriptor beyond its standard ones and its two streams', () => {
    const unexpected = Object.entries(seen.descriptors).filter(
      ([fd, target]) => Number(fd) > 4 && !/^(anon_inode:\[event(poll|fd)\]|\/proc\/\d+\/fd|pipe:|socket:)/.test(target),
    )
    assert.deepEqual(unexpected, [])
  })

  it('is held to its open files, core dumps and processes', async () => {
    assert.match(seen.limits, new RegExp(`Max open files +${limits.openFilesMax} `))
    assert.match(seen.limits, /Max core file size +1 +1 /)
    const forks = await callEvent<{ made: number; error: string | null }>(server, 'probe', { what: 'forks', count: limits.pidsMax + 50 })
    assert.equal(forks.error, 'EAGAIN')
    assert.ok(forks.made < limits.pidsMax)
  })

  it('is held to the bytes and the inodes of its /tmp', async () => {
    const filled = await callEvent<{ mib: number; error: string | null }>(server, 'probe', { what: 'fill', mib: 100 })
    assert.equal(filled.error, 'ENOSPC')
    assert.ok(filled.mib <= 64, `${filled.mib} MiB of 128`)
    const inodes = await callEvent<{ made: number; error: string | null }>(server, 'probe', { what: 'inodes', count: limits.tmpInodesMax + 100 })
    assert.equal(inodes.error, 'ENOSPC')
  })

  it('leaves nothing in /tmp for another function', async () => {
    await callEvent(server, 'probe', { what: 'leave' })
    assert.equal(await callEvent(server, 'other', { what: 'find' }), false)
  })

  it('runs nothing while it is idle', async () => {
    await deploy(
      server,
      'miner',
      {
        'main.py':
          'import threading, time\ncount = 0\ndef mine():\n    global count\n    while True:\n        count += 1\n        time.sleep(0.001)\nthreading.Thread(target=mine, daemon=True).start()\ndef handler(event, context):\n    return count\n',
      },
      { runtime: 'python3' },
    )
    await callEvent<number>(server, 'miner', {})
    // Frozen soon after its last answer; then the count must stand still.
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    const first = await callEvent<number>(server, 'miner', {})
    await new Promise((resolve) => setTimeout(resolve, 3_000))
    const second = await callEvent<number>(server, 'miner', {})
    assert.ok(second - first < 1_000, `counted ${second - first} in 3 s of idleness`)
  })

  it('cannot wake itself up from idleness with a timer that sends SIGCONT', async () => {
    await deploy(server, 'waker', { 'main.py': readFileSync(join(import.meta.dirname, 'probe-python', 'waker.py'), 'utf8') }, { runtime: 'python3' })
    const first = await callEvent<{ armed: number; cpuSeconds: number }>(server, 'waker', {})
    assert.equal(first.armed, 0, 'the timer is armed')
    await new Promise((resolve) => setTimeout(resolve, 5_000))
    const second = await callEvent<{ cpuSeconds: number }>(server, 'waker', {})
    assert.ok(second.cpuSeconds - first.cpuSeconds < 1, `computed for ${second.cpuSeconds - first.cpuSeconds} s in 5 s of idleness`)
  })

  it('is gone with all its children when its function is removed', async () => {
    await deploy(
      server,
      'leaver',
      {
        'main.py':
          'import os\ndef handler(event, context):\n    if os.fork() == 0:\n        os.setsid()\n        if os.fork() == 0:\n            os.execv("/bin/sh", ["sh", "-c", "trap : TERM HUP; sleep 864123"])\n        os._exit(0)\n    return True\n',
      },
      { runtime: 'python3' },
    )
    await callEvent(server, 'leaver', {})
    await eventually(() => assert.ok(processesWith('864123').length > 0, 'the child is seen from the host'))
    await createControlClient(server).removeFunction('default', 'leaver')
    await eventually(() => assert.deepEqual(processesWith('864123'), []), 10_000)
  })
})

/** Host's process ids whose command line contains a text. */
function processesWith(text: string): number[] {
  return processIds().filter((pid) => commandLine(pid).includes(text))
}
