import assert from 'node:assert/strict'
import { createServer, type AddressInfo } from 'node:net'
import { describe, it } from 'node:test'

import { judgeCgroups, parseCgroupMounts } from './cgroups.ts'
import { runChecks } from './checks.ts'
import { judgeKernel } from './kernel.ts'
import { listenProblem, portsIn } from './ports.ts'
import { programVersion, versionIn } from './programs.ts'
import { judgeClock, judgeMemory, judgeOpenFiles } from './resources.ts'

const v2Line = '30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate'
const v1Lines = [
  '31 30 0:27 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory',
  '32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct',
  '33 30 0:29 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd',
]

describe('the doctor', () => {
  it('tells version 2 from version 1 and from both beside each other', () => {
    assert.deepEqual(parseCgroupMounts(v2Line), { mode: 'v2', v1Controllers: [], v2Mount: '/sys/fs/cgroup' })
    assert.equal(parseCgroupMounts(v1Lines.join('\n')).mode, 'v1')
    assert.equal(parseCgroupMounts([...v1Lines, v2Line.replace('/sys/fs/cgroup', '/sys/fs/cgroup/unified')].join('\n')).mode, 'hybrid')
    assert.equal(parseCgroupMounts('22 1 254:1 / / rw - ext4 /dev/root rw\n').mode, 'none')
  })

  it('reads the controllers of version 1 mounts without their flags', () => {
    const { v1Controllers } = parseCgroupMounts(v1Lines.join('\n'))
    for (const controller of ['memory', 'cpu', 'cpuacct']) assert.ok(v1Controllers.includes(controller))
    assert.ok(!v1Controllers.some((controller) => controller === 'rw' || controller.includes('=')))
  })

  it('fails a machine that lacks a controller, and names it', () => {
    assert.equal(judgeCgroups('v2', ['cpu', 'memory', 'pids', 'io']).ok, true)
    const check = judgeCgroups('v1', ['cpu', 'pids', 'freezer'])
    assert.equal(check.ok, false)
    assert.match(check.detail, /without memory/)
    assert.match(check.mend ?? '', /cgroup_enable=memory/)
  })

  it('takes kernels from 5.14 on', () => {
    for (const version of ['5.14.0', '5.15.0-91-generic', '6.1.0-18-amd64', '10.0']) assert.equal(judgeKernel(version).ok, true, version)
    for (const version of ['5.13.19', '4.19.0-26-amd64', 'strange']) assert.equal(judgeKernel(version).ok, false, version)
  })

  it('finds the version in what a program says of itself', () => {
    assert.equal(versionIn('crun version 1.8.1\ncommit: f8a096be\n'), '1.8.1')
    assert.equal(versionIn('tini version 0.19.0\n'), '0.19.0')
    assert.equal(versionIn('unshare from util-linux 2.38.1\n'), '2.38.1')
    assert.equal(versionIn('odd program\nmore'), 'odd program')
  })

  it('takes a program that is not there for missing', async () => {
    assert.equal(await programVersion('no-such-program-anywhere'), null)
  })

  it('judges memory by what is available, not by what is free', () => {
    const meminfo = (availableKiB: number) => `MemTotal:  8000000 kB\nMemFree:  10 kB\nMemAvailable:  ${availableKiB} kB\n`
    assert.equal(judgeMemory(meminfo(4_000_000)).ok, true)
    assert.equal(judgeMemory(meminfo(1_000_000)).ok, 'warn')
    assert.equal(judgeMemory(meminfo(300_000)).ok, false)
  })

  it('judges open files by the hard limit', () => {
    const text = (hard: string) => `Limit   Soft Limit  Hard Limit  Units\nMax open files            1024                 ${hard}               files\n`
    assert.equal(judgeOpenFiles(text('20000')).ok, true)
    assert.equal(judgeOpenFiles(text('unlimited')).ok, true)
    assert.equal(judgeOpenFiles(text('1024')).ok, 'warn')
  })

  it('warns of a clock that stands before the application was installed', () => {
    assert.equal(judgeClock(2_000, 1_000).ok, true)
    assert.equal(judgeClock(1_000, 2_000).ok, 'warn')
  })

  it('tells a free port from a taken one', async () => {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    assert.equal(await listenProblem('127.0.0.1', port), 'EADDRINUSE')
    await new Promise((resolve) => server.close(resolve))
    assert.equal(await listenProblem('127.0.0.1', port), null)
  })

  it('reads the ports of a running server from its access file', () => {
    assert.deepEqual(portsIn('{"api":"http://127.0.0.1:8081","gateway":"http://[::1]:8080","token":"x"}'), [8081, 8080])
  })

  it('gives every check a name and a detail, and each failed one something that mends it', async () => {
    const checks = await runChecks()
    assert.ok(checks.length > 15)
    assert.equal(new Set(checks.map(({ name }) => name)).size, checks.length, 'names differ')
    for (const check of checks) {
      assert.ok(check.name && check.detail, JSON.stringify(check))
      assert.doesNotMatch(check.detail, /could not be checked/)
      if (check.ok !== true) assert.ok(check.mend, JSON.stringify(check))
    }
  })
})
