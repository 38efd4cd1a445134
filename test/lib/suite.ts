/** Runs test files with node:test, each with a deadline of its own, and makes one report of all. */
import { run } from 'node:test'
import type { TestEvent } from 'node:test/reporters'

export interface Counts {
  passed: number
  failed: number
  skipped: number
}

export interface Phase {
  files: string[]
  /** Files at once. */
  concurrency: number
}

/** One test, be it the slowest; a suite counts as one. */
const TEST_TIMEOUT_MS = 240_000
/** A file, after which its process is ended: a loop without end or a handle left open must not hold up the rest. */
const FILE_TIMEOUT_MS = 300_000

/** Events for a reporter: those of all files, file by file, and node's closing lines with the sums. Adds up `counts`. */
export async function* runPhases(phases: Phase[], counts: Counts, last: () => Promise<string[]>): AsyncGenerator<TestEvent> {
  const startedAt = performance.now()
  for (const { files, concurrency } of phases) {
    const waiting = [...files]
    const running = new Set<Promise<void>>()
    const finished: TestEvent[][] = []
    while (waiting.length > 0 || running.size > 0) {
      while (waiting.length > 0 && running.size < concurrency) {
        const work = runFile(waiting.shift()!, counts).then((events) => {
          finished.push(events)
          running.delete(work)
        })
        running.add(work)
      }
      await Promise.race(running)
      for (const events of finished.splice(0)) yield* events
    }
  }
  yield* lastTest(await last(), counts)
  const lines = {
    tests: counts.passed + counts.failed + counts.skipped,
    pass: counts.passed,
    fail: counts.failed,
    skipped: counts.skipped,
    duration_ms: Math.round(performance.now() - startedAt),
  }
  for (const [name, value] of Object.entries(lines)) yield diagnostic(`${name} ${value}`)
}

async function runFile(file: string, counts: Counts): Promise<TestEvent[]> {
  const kept: TestEvent[] = []
  for await (const event of run({ files: [file], timeout: TEST_TIMEOUT_MS, signal: AbortSignal.timeout(FILE_TIMEOUT_MS) })) {
    // node reports a file without any test as one test that passed, named like the file.
    if (event.type === 'test:pass' && event.data.name === file) {
      counts.passed--
      counts.failed++
      kept.push(failure(file, 'has no tests'))
      continue
    }
    if (event.type === 'test:summary' && event.data.file === undefined) {
      const { passed, failed, cancelled, skipped, todo } = event.data.counts
      counts.passed += passed
      counts.failed += failed + cancelled
      counts.skipped += skipped + todo
    }
    const closingLine = event.type === 'test:diagnostic' && event.data.file === undefined
    if (!closingLine && event.type !== 'test:summary' && event.type !== 'test:plan') kept.push(event)
  }
  return kept
}

function* lastTest(traces: string[], counts: Counts): Generator<TestEvent> {
  if (traces.length > 0) {
    counts.failed++
    yield failure('leaves nothing on the machine', `left over:\n${traces.join('\n')}`)
  } else {
    counts.passed++
    yield {
      type: 'test:pass',
      data: { name: 'leaves nothing on the machine', nesting: 0, testNumber: 1, details: { duration_ms: 0, type: 'test' } },
    } as unknown as TestEvent
  }
}

function failure(name: string, message: string): TestEvent {
  const error = Object.assign(new Error(message), { cause: message })
  return { type: 'test:fail', data: { name, nesting: 0, testNumber: 1, details: { duration_ms: 0, type: 'test', error } } } as unknown as TestEvent
}

function diagnostic(message: string): TestEvent {
  return { type: 'test:diagnostic', data: { message, nesting: 0, level: 'info' } }
}
