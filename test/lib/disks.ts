/** Small disks of one's own for tests of what happens when a disk is full or fails. Each is unmounted when it is disposed of. */
import { spawnSync } from 'node:child_process'
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Disk extends Disposable {
  path: string
  /** Writes until nothing more fits. */
  fill(): void
  /** Takes away what `fill` wrote. */
  makeRoom(): void
}

/** In memory. */
export function smallDisk(sizeMiB: number): Disk {
  const path = mkdtempSync(join(tmpdir(), 'hostel-disk-'))
  run('mount', ['-t', 'tmpfs', '-o', `size=${sizeMiB}m,mode=755`, 'hostel-test', path])
  return {
    path,
    ...filling(path),
    [Symbol.dispose]() {
      run('umount', ['-l', path])
      rmSync(path, { recursive: true })
    },
  }
}

/** An ext4 file system in a file, which the kernel can be told to have failed: all writes are refused from then on. Undefined where there are no loop devices. */
export function failingDisk(sizeMiB: number): (Disk & { fail(): void }) | undefined {
  const base = mkdtempSync(join(tmpdir(), 'hostel-disk-'))
  const [image, path] = [join(base, 'image'), join(base, 'disk')]
  mkdirSync(path)
  run('truncate', ['-s', `${sizeMiB}M`, image])
  run('mkfs.ext4', ['-q', '-F', image])
  if (spawnSync('mount', ['-o', 'loop', image, path]).status !== 0) {
    rmSync(base, { recursive: true })
    return undefined
  }
  rmSync(join(path, 'lost+found'), { recursive: true })
  return {
    path,
    ...filling(path),
    fail: () => run('mount', ['-o', 'remount,abort', path]),
    [Symbol.dispose]() {
      run('umount', ['-l', path])
      rmSync(base, { recursive: true })
    },
  }
}

function filling(path: string): Pick<Disk, 'fill' | 'makeRoom'> {
  const filler = join(path, 'filler')
  return {
    fill() {
      const descriptor = openSync(filler, 'a')
      try {
        for (const bytes of [65_536, 4_096, 1]) {
          const chunk = Buffer.alloc(bytes)
          while (canWrite(descriptor, chunk));
        }
      } finally {
        closeSync(descriptor)
      }
    },
    makeRoom: () => rmSync(filler),
  }
}

function canWrite(descriptor: number, chunk: Buffer): boolean {
  try {
    return writeSync(descriptor, chunk) === chunk.length
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
    return false
  }
}

function run(program: string, args: string[]): void {
  const { status, stderr, error } = spawnSync(program, args, { encoding: 'utf8', timeout: 20_000 })
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${error?.message ?? stderr}`)
}
