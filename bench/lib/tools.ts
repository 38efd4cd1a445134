/** What the benchmarks need beyond the set-up: the peers and the load generator, from Debian's packages. */
import { spawnSync } from 'node:child_process'

import { run } from './processes.ts'

const tools = { wrk: 'wrk', nginx: 'nginx-light', taskset: 'util-linux' }

/** Installs what is missing. @throws when apt-get fails. */
export async function needTools(): Promise<void> {
  const missing = Object.entries(tools).filter(([program]) => spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0)
  if (missing.length === 0) return
  const packages = missing.map(([, name]) => name)
  console.log(`installing ${packages.join(', ')} …`)
  await run('apt-get', ['update', '-qq'], { timeoutMs: 300_000 })
  await run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...packages], { timeoutMs: 600_000 })
}
