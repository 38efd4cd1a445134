/** A function's .npmrc, as far as it may decide how its packages are installed. */

/** Settings about what is installed and in which layout. None about where from, as whom, with which programs, or where to. */
const HARMLESS = new Set([
  'engine-strict',
  'force',
  'ignore-scripts',
  'include',
  'install-strategy',
  'legacy-bundling',
  'legacy-peer-deps',
  'prefer-dedupe',
  'save-exact',
  'strict-peer-deps',
])

/** The lines that are kept, as text, and the names of the settings that are not. */
export function harmlessNpmrc(text: string): { kept: string; dropped: string[] } {
  const kept: string[] = []
  const dropped: string[] = []
  for (const line of text.split(/\r?\n/)) {
    const match = /^\s*([^=\s#;][^=]*?)\s*(?:=\s*(.*?)\s*)?$/.exec(line)
    if (!match) continue
    const name = match[1]!
    // `${NAME}` would be replaced by the builder's environment.
    if (HARMLESS.has(name) && !(match[2] ?? '').includes('$')) kept.push(`${name}=${match[2] ?? 'true'}\n`)
    else dropped.push(name.replace(/[^\w@:./-]/g, '?').slice(0, 60))
  }
  return { kept: kept.join(''), dropped }
}
