/** Whether the runtimes' root filesystems are built, and by the present recipes. */
import { join } from 'node:path'

import { defaultCacheDir, missingRuntimes } from '../runtimes/install.mjs'
import { recipes } from '../runtimes/recipes.mjs'
import type { Check } from './check.ts'

export async function checkRuntimes(): Promise<Check> {
  const nodePackage = join(import.meta.dirname, '..', '..', 'node_modules', `node-linux-${process.arch}`)
  const missing = (await missingRuntimes({ cacheDir: defaultCacheDir, nodePackage })).map(({ recipe }) => recipe.name)
  const built = recipes.map(({ name }) => name).filter((name) => !missing.includes(name))
  if (missing.length === 0) return { name: 'runtimes', ok: true, detail: `built: ${built.join(', ')}` }
  return { name: 'runtimes', ok: false, detail: `not built, or by an older recipe: ${missing.join(', ')}`, mend: 'npm run setup' }
}
