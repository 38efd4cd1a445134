/**
 * `npm test`: the checks of the source and unit tests beside the code, two files at a time, then whole servers, one by one.
 * Arguments narrow it down to files that start so: `npm test -- src/store test/walls`.
 */
import { globSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { spec } from 'node:test/reporters'

import { type Counts, runPhases } from './lib/suite.ts'
import { watchTraces } from './lib/traces.ts'

const root = join(import.meta.dirname, '..')
process.chdir(root)

const wanted = process.argv.slice(2)
const files = globSync('{src,guest,bench,scripts,test}/**/*.test.{ts,mjs}', { exclude: (name) => name === 'node_modules' })
  .filter((file) => wanted.length === 0 || wanted.some((prefix) => file.startsWith(prefix)))
  .sort()
// These look at times and at what is left on the machine, so they have it for themselves.
const alone = (file: string): boolean => /^test\/(e2e|walls)\//.test(file)
const phases = [
  { files: files.filter((file) => !alone(file)).map((file) => join(root, file)), concurrency: 2 },
  { files: files.filter(alone).map((file) => join(root, file)), concurrency: 1 },
]

const counts: Counts = { passed: 0, failed: 0, skipped: 0 }
if (files.length === 0) {
  console.error('there is nothing to test')
  counts.failed++
} else {
  const traces = watchTraces()
  for await (const text of Readable.from(runPhases(phases, counts, traces)).compose(spec())) process.stdout.write(text as string)
}
console.log(`${counts.passed} passed, ${counts.failed} failed${counts.skipped > 0 ? `, ${counts.skipped} skipped` : ''}`)
process.exit(counts.failed > 0 ? 1 : 0)
