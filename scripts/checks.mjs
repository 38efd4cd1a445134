// @ts-check
/** The checks of the source itself, for `npm run check` and for the tests, so that both hold the same. */
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { run } from '../src/runtimes/run.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const TIMEOUT_MS = 120_000

/** @type {{ name: string, holds: string, command: string[] }[]} */
export const checks = [
  { name: 'types', holds: 'the types fit', command: ['tsc', '-p', '.', '--pretty', 'false'] },
  { name: 'shim', holds: "the types of the Node shim's JavaScript fit", command: ['tsc', '-p', 'guest/node', '--pretty', 'false'] },
  { name: 'lint', holds: 'the linter finds nothing', command: ['oxlint', '--type-aware', '--deny-warnings'] },
  { name: 'format', holds: 'every file is formatted', command: ['oxfmt', '--list-different'] },
  { name: 'unused', holds: 'no file, export or dependency is unused', command: ['knip', '--no-progress', '--no-config-hints'] },
]

/** The tests of house rules, which are checks of the source, too: the direction of imports, and generated pages. */
export const houseTests = { name: 'house', command: ['node', '--test', '--test-reporter=dot', 'test/house/imports.test.ts', 'test/house/docs.test.ts'] }

/**
 * @param {string[]} command
 * @throws {Error} with what the tool found
 */
export async function runCheck([program = '', ...args]) {
  await run(join(root, 'node_modules/.bin', program), args, { cwd: root, timeoutMs: TIMEOUT_MS, env: { NO_COLOR: '1' } })
}
