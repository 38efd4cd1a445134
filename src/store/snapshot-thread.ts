/** The thread that copies databases: what it reads is one moment, since a reader of a write-ahead log sees no later commits. */
import { parentPort } from 'node:worker_threads'

import { openForReading } from './database.ts'

export interface ToSnapshotThread {
  file: string
  target: string
}
export type FromSnapshotThread = { done: true } | { error: string; errcode?: number }

const port = parentPort!

port.on('message', (task: ToSnapshotThread) => port.postMessage(work(task)))

function work({ file, target }: ToSnapshotThread): FromSnapshotThread {
  try {
    const database = openForReading(file)
    try {
      // Without free pages, and with it what was deleted.
      database.prepare('VACUUM INTO ?').run(target)
    } finally {
      database.close()
    }
    return { done: true }
  } catch (error) {
    const { message, errcode } = error as Error & { errcode?: number }
    return { error: message, ...(errcode !== undefined && { errcode }) }
  }
}
