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

/** The name under which a running server's things go in /run/hostel and in the control groups. @throws when it has no mounts. */
export function instanceOf(rootPid: number): string {
  const keeper = processesOf(rootPid).titled('hostel keeper')
  const name = /\/run\/hostel\/([0-9a-f]+)\//.exec(readFileSync(`/proc/${keeper}/mounts`, 'utf8'))?.[1]
  if (name === undefined) throw new Error(`no mount of process ${keeper} tells its server's name`)
  return name
}

/** What is left of one server on the machine: mounts, cgroups, directories. */
export function leftoversOf(instance: string): string[] {
  return leftovers().filter((trace) => trace.includes(instance))
}

/** Everything of Hostel's on the machine now, but for what belongs to no single server (/run/hostel itself, caches). */
export function leftovers(): string[] {
  const mounts = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((target) => /\/hostel\b/.test(target))
  const controllers = ['', ...directoriesIn('/sys/fs/cgroup')].map((name) => `/sys/fs/cgroup/${name}/hostel`)
  return [
    ...mounts,
    ...['/run/hostel', ...controllers].flatMap((parent) =>
      directoriesIn(parent)
        .filter((name) => /^[0-9a-f]{12}$/.test(name))
        .map((name) => `${parent}/${name}`),
    ),
  ]
}

function directoriesIn(path: string): string[] {
  return existsSync(path)
    ? readdirSync(path, { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map((entry) => entry.name)
    : []
}

/** `num_cgroups` of the memory controller in /proc/cgroups, removed but pinned ones included. */
export function memoryCgroupCount(): number {
  return Number(/^memory\t\d+\t(\d+)/m.exec(readFileSync('/proc/cgroups', 'utf8'))?.[1] ?? 0)
}
