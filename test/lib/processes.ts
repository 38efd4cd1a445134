/** Processes as the host sees them, read from /proc; see proc(5). */
import { readdirSync, readFileSync } from 'node:fs'

/** All living descendants of a process, itself included. */
export function tree(rootPid: number): number[] {
  const children = new Map<number, number[]>()
  for (const pid of processIds()) {
    const parent = Number(statOf(pid)?.[1] ?? Number.NaN)
    if (!Number.isNaN(parent)) children.set(parent, [...(children.get(parent) ?? []), pid])
  }
  const found: number[] = []
  const visit = (pid: number): void => {
    found.push(pid)
    for (const child of children.get(pid) ?? []) visit(child)
  }
  visit(rootPid)
  return found
}

export function processIds(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
}

/** CPU time (user and system) of processes, in milliseconds; the kernel counts in ticks of 10 ms. */
export function cpuMs(pids: number[]): number {
  let ticks = 0
  for (const pid of pids) {
    const fields = statOf(pid)
    if (fields) ticks += Number(fields[11]) + Number(fields[12])
  }
  return ticks * 10
}

/** Resident memory in MiB. */
export function residentMiB(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readOr(`/proc/${pid}/status`))?.[1] ?? 0) / 1_024
}

export function isZombie(pid: number): boolean {
  return statOf(pid)?.[0] === 'Z'
}

export function openDescriptors(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/fd`).length
  } catch {
    return 0
  }
}

/** Arguments joined by spaces: the title, for processes that gave themselves one. */
export function commandLine(pid: number): string {
  return readOr(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim()
}

/** Fields of /proc/PID/stat after the command name: state, ppid, … */
function statOf(pid: number): string[] | undefined {
  const text = readOr(`/proc/${pid}/stat`)
  return text === '' ? undefined : text.slice(text.lastIndexOf(')') + 2).split(' ')
}

function readOr(file: string): string {
  try {
    return readFileSync(file, 'latin1')
  } catch {
    return ''
  }
}
