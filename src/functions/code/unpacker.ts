/**
 * Runs the unpacking thread. It is apart from the rest since an archive can be made so that reading it takes very long; then
 * the thread is ended, and nothing else has waited for it.
 */
import { Worker } from 'node:worker_threads'

import { HostelError } from '../../errors.ts'
import { limits } from '../../limits.ts'
import type { FromUnpacker, ToUnpacker } from './unpack-thread.ts'

export interface Unpacked {
  digest: string
  files: number
  bytes: number
}

export interface Unpacker {
  /** Waits for its turn. @throws HostelError when the archive is refused, took too long, or too many wait. */
  unpack(task: ToUnpacker): Promise<Unpacked>
  close(): Promise<void>
}

/** An archive's file names and heads in memory, with room; contents stream. */
const HEAP_MAX_MIB = 192

/** @param timeoutMs how long one archive may take. */
export function startUnpacker(timeoutMs: number): Unpacker {
  let waiting = 0
  let last: Promise<unknown> = Promise.resolve()
  let worker: Worker | undefined = start()

  function start(): Worker {
    const started = new Worker(new URL('unpack-thread.ts', import.meta.url), { resourceLimits: { maxOldGenerationSizeMb: HEAP_MAX_MIB } })
    // An error outside a task: the next task starts a new thread.
    started.on('error', () => {})
    started.once('exit', () => {
      if (worker === started) worker = undefined
    })
    started.unref()
    return started
  }

  async function run(task: ToUnpacker): Promise<Unpacked> {
    const thread = (worker ??= start())
    const { promise, resolve, reject } = Promise.withResolvers<FromUnpacker>()
    const tooMuch = new HostelError('invalid_input', 'the archive takes too long or too much memory to unpack; make it with fewer files')
    const timer = setTimeout(() => reject(tooMuch), timeoutMs)
    const onEnd = (): void => reject(tooMuch)
    thread.once('message', resolve)
    thread.once('exit', onEnd)
    try {
      thread.postMessage(task)
      const answer = await promise
      if ('error' in answer) throw new HostelError(answer.error.code, answer.error.message)
      const { worn, ...unpacked } = answer
      if (worn) await thread.terminate()
      return unpacked
    } catch (error) {
      // Whatever it still does, it must not do it in a directory that is being removed.
      if (error === tooMuch) await thread.terminate()
      throw error
    } finally {
      clearTimeout(timer)
      thread.off('message', resolve)
      thread.off('exit', onEnd)
    }
  }

  return {
    async unpack(task) {
      if (waiting >= limits.codeUploadsMax) throw new HostelError('unavailable', 'too many uploads wait to be unpacked', { retryAfterSeconds: 5 })
      waiting += 1
      const mine = last.then(() => run(task))
      last = mine.catch(() => {})
      try {
        return await mine
      } finally {
        waiting -= 1
      }
    },
    async close() {
      await worker?.terminate()
    },
  }
}
