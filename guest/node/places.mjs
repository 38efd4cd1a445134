/**
 * Where an error of the loader is. V8 knows the place of a syntax error in an ES module, but Node shows it only when it
 * prints the error itself; and a module that is missing has no place but a line that asks for it.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { fileURLToPath } from 'node:url'

const CHECK_TIMEOUT_MS = 3_000

/** Puts the place in front of the error's stack, as Node does when it prints one. @param {any} error @param {string} entry URL of the module whose import failed */
export async function addPlace(error, entry) {
  try {
    if (error instanceof SyntaxError) await addSyntaxPlace(error, entry)
    else if (error?.code === 'ERR_MODULE_NOT_FOUND') addImportPlace(error)
  } catch {
    // Without a place the error is still the error.
  }
}

/** @param {SyntaxError} error @param {string} entry */
async function addSyntaxPlace(error, entry) {
  const [first = '', ...frames] = String(error.stack).split('\n')
  // With a frame outside Node it was thrown by code that runs, and a place in front is there already.
  if (!first.startsWith('SyntaxError') || frames.some((line) => /^\s+at /.test(line) && !/\(?node:|<anonymous>/.test(line))) return
  let last = entry
  const hooks = registerHooks({
    load(url, context, next) {
      last = url
      return next(url, context)
    },
  })
  // Linking fails again before anything runs, right after it has loaded the module at fault.
  await import(`${entry}?again`).catch(() => {})
  hooks.deregister()
  const path = fileURLToPath(last.replace(/\?again$/, ''))
  const { stderr } = spawnSync(process.execPath, ['--check', '--input-type=module'], {
    input: readFileSync(path),
    env: {},
    encoding: 'utf8',
    timeout: CHECK_TIMEOUT_MS,
  })
  const place = /^\[stdin\](:\d+\n[^\n]*\n[^\n]*\n)/.exec(stderr)
  if (place) error.stack = `${path}${place[1]}\n${error.stack}`
}

/** @param {Error} error */
function addImportPlace(error) {
  const [, wanted, from] = /^Cannot find \w+ '([^']+)' imported from (.+)$/.exec(error.message) ?? []
  if (!wanted || !from) return
  const lines = readFileSync(from, 'utf8').split('\n')
  const name = /** @type {string} */ (wanted.split('/').at(-1))
  const index = lines.findIndex((line) => /\b(import|from)\b/.test(line) && line.includes(name))
  if (index >= 0) error.stack = `${from}:${index + 1}\n${lines[index]}\n${' '.repeat(lines[index].indexOf(name))}^\n\n${error.stack}`
}
