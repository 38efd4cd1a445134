/** What a server may leave on a machine when it is gone, and must not: processes, mounts, cgroups, directories. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'

import { commandLine, tree } from './processes.ts'

/** Living descendants of a process by title: `hostel keeper`, `hostel gateway`, `hostel control`; all ids, as the host counts them. */
export function processesOf(rootPid: number): { all: number[]; titled(title: string): number } {
  const all = tree(rootPid)
  return {
    all,
    titled(title) {
      const found = all.find((pid) => commandLine(pid).startsWith(title))
      if (found === undefined) throw new Error(`no process is titled "${title}": ${all.map((pid) => `${pid} ${commandLine(pid)}`).join('; ')}`)
      return found
    },
  }
}

/** Which of these processes are still there (zombies, too). */
export function stillThere(pids: number[]): number[] {
  return pids.filter((pid) => existsSync(`/proc/${pid}`))
}

/** Everything of Hostel's that is on the machine now, but for what belongs to no single server (/run/hostel itself, caches). */
export function leftovers(): string[] {
  return [...hostelMounts(), ...hostelCgroups(), ...runDirectories()]
}

/** `num_cgroups` of the memory controller in /proc/cgroups, removed but pinned ones included. */
export function memoryCgroupCount(): number {
  return Number(/^memory\t\d+\t(\d+)/m.exec(readFileSync('/proc/cgroups', 'utf8'))?.[1] ?? 0)
}

function hostelMounts(): string[] {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((target) => /\/hostel\b/.test(target))
}

function hostelCgroups(): string[] {
  const found: string[] = []
  const controllers = existsSync('/sys/fs/cgroup') ? readdirSync('/sys/fs/cgroup') : []
  for (const base of ['', ...controllers]) {
    const directory = `/sys/fs/cgroup/${base}/hostel`
    if (existsSync(directory)) found.push(...readdirSync(directory, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map((entry) => `${directory}/${entry.name}`))
  }
  return found
}

function runDirectories(): string[] {
  return existsSync('/run/hostel') ? readdirSync('/run/hostel').filter((name) => !/lock|slots|cli\.json/.test(name)).map((name) => `/run/hostel/${name}`) : []
}
