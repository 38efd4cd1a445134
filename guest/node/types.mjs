/**
 * TypeScript without waiting. Node's type stripper is a WebAssembly compiler: 60–120 ms and 12 MiB at first use, in
 * every new sandbox. So whoever deploys code may strip the types once, with `stripTypes`; a file so treated carries a
 * mark at its end and is loaded as it is. What is not marked is left to Node. Stripping leaves blanks: lines and columns stay.
 */
import { readFileSync } from 'node:fs'
import { registerHooks, stripTypeScriptTypes } from 'node:module'
import { fileURLToPath } from 'node:url'
import { compileFunction } from 'node:vm'

const MARK = '\n//# hostel: types stripped\n'
const TYPESCRIPT = /\.[cm]?ts$/

/**
 * For the host, at deploy.
 * @param {string} source of a .ts, .mts or .cts file outside node_modules
 * @returns {string | null} null when Node would refuse it; it then says so itself when the function starts
 */
export function stripTypes(source) {
  try {
    return source.endsWith(MARK) ? source : stripTypeScriptTypes(source) + MARK
  } catch {
    return null
  }
}

/** Makes marked files load as they are; called when the entry file may be one. @param {string} path of the entry file */
export function loadStripped(path) {
  if (!TYPESCRIPT.test(path) || !readFileSync(path, 'utf8').endsWith(MARK)) return
  registerHooks({
    load(url, context, next) {
      if (!url.startsWith('file:') || !TYPESCRIPT.test(url)) return next(url, context)
      const file = fileURLToPath(url)
      const source = readFileSync(file, 'utf8')
      if (!source.endsWith(MARK)) return next(url, context)
      return { format: formatOf(file, source, context.format), source, shortCircuit: true }
    },
  })
}

/** ES module or CommonJS, as Node decides it: by name, then by the nearest package.json (which `known` tells), then by the syntax. @param {string} file @param {string} source @param {string | null | undefined} known */
function formatOf(file, source, known) {
  if (file.endsWith('.mts') || known?.startsWith('module')) return 'module'
  if (file.endsWith('.cts') || known?.startsWith('commonjs')) return 'commonjs'
  if (!/^\s*(import|export)\b|\bimport\s*\.\s*meta\b/m.test(source)) return 'commonjs'
  try {
    compileFunction(source, ['exports', 'require', 'module', '__filename', '__dirname'])
    return 'commonjs'
  } catch {
    return 'module'
  }
}
