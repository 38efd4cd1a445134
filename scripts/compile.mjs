// @ts-check
/**
 * Fills the compile cache that gateway, control and welcome start with: types stripped, modules compiled. They can read it and not write
 * it, so what breaks into one of them cannot leave code there for the next. Node checks every entry against the source.
 * Run by Node 24 from set-up, with NODE_COMPILE_CACHE and NODE_COMPILE_CACHE_PORTABLE set.
 */
import { chmodSync, existsSync, readdirSync, symlinkSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import { join } from 'node:path'

const cache = /** @type {string} */ (process.env['NODE_COMPILE_CACHE'])
/** Users of gateway, control and welcome (src/keeper/confine.ts). Node keeps a directory for each user, named VERSION-…-UID. */
const readers = [0x6fff0001, 0x6fff0002, 0x6fff0003]
const source = join(import.meta.dirname, '..', 'src')
/** Programs and threads, which would begin to run. */
const entries = new Set(['main.ts', 'gateway.ts', 'control.ts', 'keeper/main.ts', 'cli/main.ts', 'cli/welcome.ts'])

for (const file of readdirSync(source, { recursive: true, encoding: 'utf8' })) {
  if (!file.endsWith('.ts') || file.endsWith('.test.ts') || file.includes('testing/') || file.endsWith('-thread.ts') || entries.has(file)) continue
  await import(join(source, file))
}
flushCompileCache()
for (const name of readdirSync(cache).filter((entry) => entry.endsWith(`-${process.getuid?.()}`))) {
  const directory = join(cache, name)
  chmodSync(directory, 0o755)
  for (const file of readdirSync(directory)) chmodSync(join(directory, file), 0o644)
  for (const uid of readers) {
    const link = join(cache, name.replace(/-\d+$/, `-${uid}`))
    if (!existsSync(link)) symlinkSync(name, link)
  }
}
process.exit(0)
