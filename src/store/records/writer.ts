/** The main thread's end of the writer: batches in, durable positions out, one at a time and in order. */
import { Worker } from 'node:worker_threads'

import { HostelError } from '../../errors.ts'
import type { Position, Segment } from './segments.ts'
import type { FromWriter, ToWriter } from './write-thread.ts'

export interface RecordWriter {
  /** The last line that is durable. */
  readonly position: Position
  /** Why the newest segment was left aside at start, if it was. */
  readonly problem: string | undefined
  /**
   * Resolves once the batch, the JSON text of a `Batch`, is durable: it is parsed in the writer's thread. `mayRepeat`: the sender may have sent it before, and lines that are there already are left out.
   * @throws HostelError `storage_full`, `storage_failed` or `internal` when it could not be written, and nothing of it was.
   */
  append(batch: Uint8Array, options: { mayRepeat: boolean }): Promise<Position>
  /** Resolves once nothing of this tenant is there any more, in this segment and those before. */
  forgetTenant(tenant: string): Promise<void>
  /** Has what is oldest of tenants with more than so many bytes forgotten, in one segment at most. Gives that segment, which readers must open anew. */
  trim(tenantMaxBytes: number): Promise<Segment | undefined>
  /** Waits for what was handed in, then closes. */
  close(): Promise<void>
}

interface Done {
  position: Position
  trimmed?: Segment
}

/** Starts the thread on a directory of segments. `onLost` is called when it ends without having been asked to. */
export async function startWriter(directory: string, onLost: (error: Error) => void): Promise<RecordWriter> {
  const worker = new Worker(new URL('write-thread.ts', import.meta.url), { workerData: { directory } })
  const waiting = new Map<number, { resolve: (done: Done) => void; reject: (error: Error) => void }>()
  const opened = Promise.withResolvers<{ position: Position; problem?: string }>()
  const closed = Promise.withResolvers<void>()
  let position: Position = { segment: 0, line: 0 }
  let nextId = 1
  let state: 'opening' | 'open' | 'closing' | 'gone' = 'opening'

  function lost(error: Error): void {
    if (state === 'gone') return
    const before = state
    state = 'gone'
    for (const { reject } of waiting.values()) reject(new HostelError('internal', 'the writer of records is gone', { cause: error }))
    waiting.clear()
    closed.resolve()
    if (before === 'opening') opened.reject(error)
    else if (before === 'open') onLost(error)
  }
  worker.on('error', lost)
  worker.on('exit', () => lost(new Error('the writer of records ended')))
  worker.on('message', (message: FromWriter) => {
    switch (message.type) {
      case 'open':
        position = message.position
        opened.resolve(message)
        return
      case 'closed':
        closed.resolve()
        return
      case 'appended':
        position = message.position
        waiting.get(message.id)?.resolve(message)
        break
      case 'failed':
        waiting.get(message.id)?.reject(new HostelError(message.code, `records could not be written: ${message.message}`))
        break
    }
    waiting.delete(message.id)
  })

  const { problem } = await opened.promise
  state = 'open'

  async function ask(message: (id: number) => ToWriter, transfer: ArrayBuffer[] = []): Promise<Done> {
    if (state !== 'open') throw new HostelError('shutting_down')
    const { promise, resolve, reject } = Promise.withResolvers<Done>()
    const id = nextId++
    waiting.set(id, { resolve, reject })
    worker.postMessage(message(id), transfer)
    return promise
  }

  return {
    get position() {
      return position
    },
    problem,
    async append(batch, options) {
      // A copy of its own, whose memory can move to the thread.
      const json = new Uint8Array(batch)
      return (await ask((id) => ({ type: 'append', id, json, mayRepeat: options.mayRepeat }), [json.buffer])).position
    },
    async forgetTenant(tenant) {
      await ask((id) => ({ type: 'forget', id, tenant }))
    },
    async trim(tenantMaxBytes) {
      return (await ask((id) => ({ type: 'trim', id, tenantMaxBytes }))).trimmed
    },
    async close() {
      if (state === 'open') {
        state = 'closing'
        worker.postMessage({ type: 'close' } satisfies ToWriter)
      }
      await closed.promise
      state = 'gone'
      await worker.terminate()
    },
  }
}
