/** Finds and imports the user's module and tells which contract it keeps. */
import { existsSync, readdirSync } from 'node:fs'
import { pathToFileURL } from 'node:url'

import { loadStripped } from './types.mjs'

/**
 * What the shim calls for each request.
 * @typedef {{ contract: 'fetch', fetch: (request: Request, env: Record<string, string>, ctx: object) => unknown }
 *   | { contract: 'event', handler: (event: unknown, context: object, callback?: (error: unknown, result?: unknown) => void) => unknown }} UserCode
 */

/** An explanation of ours, without a stack of ours. */
class InitError extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message)
    this.name = 'InitError'
    this.stack = `InitError: ${message}`
  }
}

/** @param {string} root @param {string} handler `file` or `file:export` @returns {Promise<UserCode>} */
export async function loadUserCode(root, handler) {
  const colon = handler.lastIndexOf(':')
  const file = colon < 0 ? handler : handler.slice(0, colon)
  const name = colon < 0 ? null : handler.slice(colon + 1)
  const path = `${root}/${file}`
  if (!existsSync(path)) throw new InitError(`there is no file ${file} in the code${suggestion(root, file)}`)
  process.argv[1] = path
  loadStripped(path)
  const { href } = pathToFileURL(path)
  let module
  try {
    module = await import(href)
  } catch (error) {
    // Only who failed pays for loading what finds the place.
    await (await import('./places.mjs')).addPlace(error, href)
    throw error
  }
  return name === null ? findContract(module, file) : namedContract(module, file, name)
}

/** @param {any} module @param {string} file @returns {UserCode} */
function findContract(module, file) {
  // A CommonJS module's exports are its default export, and code translated from ESM has one more layer.
  for (const candidate of [module.default, module.default?.default, module]) {
    if (typeof candidate?.fetch === 'function') return { contract: 'fetch', fetch: candidate.fetch.bind(candidate) }
  }
  for (const candidate of [module, module.default, module.default?.default]) {
    if (typeof candidate?.handler === 'function') return { contract: 'event', handler: candidate.handler }
  }
  throw new InitError(`${file} exports neither a default { fetch(request, env, ctx) } nor a handler(event, context)${found(module)}`)
}

/** @param {any} module @param {string} file @param {string} name @returns {UserCode} */
function namedContract(module, file, name) {
  const value = module[name] ?? module.default?.[name]
  if (typeof value === 'function') return { contract: 'event', handler: value }
  if (typeof value?.fetch === 'function') return { contract: 'fetch', fetch: value.fetch.bind(value) }
  if (value === undefined) throw new InitError(`${file} has no export named ${name}${found(module)}`)
  throw new InitError(`the export ${name} of ${file} is neither a function nor an object with a fetch function`)
}

/** @param {any} module */
function found(module) {
  const names = Object.keys(module).filter((name) => name !== 'module.exports')
  return names.length === 0 ? '; it exports nothing' : `; it exports ${names.slice(0, 20).join(', ')}`
}

/** @param {string} root @param {string} file */
function suggestion(root, file) {
  try {
    const slash = file.lastIndexOf('/')
    const names = readdirSync(`${root}/${file.slice(0, slash + 1)}`).filter((name) => /\.[cm]?[jt]s$/.test(name))
    return names.length === 0 ? '' : `; beside it are ${names.slice(0, 10).join(', ')}`
  } catch {
    return ''
  }
}
