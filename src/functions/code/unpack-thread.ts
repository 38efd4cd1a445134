/** The thread that unpacks archives one by one: it may be ended at any time, and takes nothing with it but the archive in hand. */
import { parentPort } from 'node:worker_threads'

import { HostelError } from '../../errors.ts'
import type { ErrorCode } from '../../errors.ts'
import { storageFault } from '../../store/faults.ts'
import { treeDigest } from './digest.ts'
import { stripTypesOf } from './strip.ts'
import { unpack } from './unpack.ts'

export interface ToUnpacker {
  archive: string
  directory: string
  /** Whether its TypeScript is to lose its types. */
  isCode: boolean
}
/** `worn`: the thread is not to be used again. */
export type FromUnpacker = { digest: string; files: number; bytes: number; worn: boolean } | { error: { code: ErrorCode; message: string } }

const port = parentPort!

port.on('message', (task: ToUnpacker) => {
  void work(task).then((answer) => port.postMessage(answer))
})

async function work(task: ToUnpacker): Promise<FromUnpacker> {
  try {
    let worn = false
    const entries = await unpack(task.archive, task.directory, (directory, all) => {
      worn = task.isCode && !stripTypesOf(directory, all)
    })
    const files = entries.filter((entry) => entry.kind === 'file')
    return { digest: treeDigest(entries), files: files.length, bytes: files.reduce((sum, file) => sum + file.bytes, 0), worn }
  } catch (error) {
    const known = storageFault(error) ?? error
    if (known instanceof HostelError) return { error: { code: known.code, message: known.message } }
    return { error: { code: 'internal', message: `the archive could not be unpacked: ${(error as Error).message}` } }
  }
}
