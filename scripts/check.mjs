// @ts-check
/** `npm run check`: every check runs and reports, also when one before it failed. */
import { performance } from 'node:perf_hooks'

import { checks, houseTests, runCheck } from './checks.mjs'

await Promise.all(
  [...checks, houseTests].map(async ({ name, command }) => {
    const start = performance.now()
    const seconds = () => `${((performance.now() - start) / 1_000).toFixed(1)} s`
    try {
      await runCheck(command)
      console.log(`  ✓ ${name.padEnd(8)} ${seconds()}`)
    } catch (error) {
      process.exitCode = 1
      console.log(`  ✗ ${name.padEnd(8)} ${seconds()}\n${error instanceof Error ? error.message : String(error)}\n`)
    }
  }),
)
