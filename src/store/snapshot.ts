/** Copies of databases that are in use, each as it was at one moment. Made in a thread of its own; who writes to them does not wait. */
import { Worker } from 'node:worker_threads'

import type { FromSnapshotThread, ToSnapshotThread } from './snapshot-thread.ts'

export interface Snapshots {
  /** Writes a copy to `target`, which must not be there. @throws Error when it fails; what was written so far is the caller's to remove. */
  take(file: string, target: string): Promise<void>
  close(): Promise<void>
}

export function startSnapshots(): Snapshots {
  const worker = new Worker(new URL('snapshot-thread.ts', import.meta.url))
  let waiting: PromiseWithResolvers<void> | undefined
  const fail = (error: Error): void => waiting?.reject(error)
  worker.on('error', fail)
  worker.on('exit', () => fail(new Error('the thread that makes snapshots ended')))
  worker.on('message', (answer: FromSnapshotThread) =>
    'error' in answer ? fail(Object.assign(new Error(answer.error), { errcode: answer.errcode })) : waiting?.resolve(),
  )

  return {
    async take(file, target) {
      waiting = Promise.withResolvers()
      worker.postMessage({ file, target } satisfies ToSnapshotThread)
      await waiting.promise
    },
    async close() {
      await worker.terminate()
    },
  }
}
