import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import { Shim } from '../../test/lib/node-shim.ts'
import { stripTypes } from './types.mjs'

const FETCH = '{ fetch: () => new Response("fetched") }'

describe('contracts', () => {
  const modules: [string, string, string, string][] = [
    ['an ES module with a default export', 'index.mjs', `export default ${FETCH}`, 'fetch'],
    ['a CommonJS module that exports fetch', 'index.cjs', `module.exports = ${FETCH}`, 'fetch'],
    [
      'CommonJS translated from an ES module',
      'index.cjs',
      `Object.defineProperty(exports, '__esModule', { value: true }); exports.default = ${FETCH}`,
      'fetch',
    ],
    ['a .js file with import syntax', 'index.js', `export default ${FETCH}`, 'fetch'],
    ['TypeScript', 'index.ts', `type A = string\nexport default { fetch: (): Response => new Response('fetched' as A) }`, 'fetch'],
    ['a handler of an ES module', 'index.mjs', 'export const handler = async () => "fetched"', 'event'],
    ['a handler of CommonJS', 'index.js', 'exports.handler = async () => "fetched"', 'event'],
    ['a named handler', 'sub/file.mjs:serve', 'export const serve = () => "fetched"', 'event'],
    ['a named object with fetch', 'index.mjs:app', `export const app = ${FETCH}`, 'fetch'],
    ['a handler with a callback', 'index.cjs', 'exports.handler = (event, context, callback) => { setTimeout(callback, 1, null, "fetched") }', 'event'],
  ]
  for (const [what, handler, source, contract] of modules) {
    test(`${what} is the ${contract} contract`, async () => {
      await using shim = await Shim.start({ [handler.split(':')[0]!]: source }, handler)
      assert.equal(shim.contract, contract, shim.initError?.message)
      assert.equal((await shim.call()).body, contract === 'fetch' ? 'fetched' : '"fetched"')
    })
  }

  test('this is the object that fetch belongs to', async () => {
    await using shim = await Shim.start({ 'index.mjs': 'export default new (class { text = "mine"; fetch() { return new Response(this.text) } })()' })
    assert.equal((await shim.call()).body, 'mine')
  })
})

describe('a start that fails', () => {
  const failures: [string, Record<string, string>, object][] = [
    [
      'a syntax error in a module that is imported',
      { 'index.mjs': 'import "./sub.mjs"', 'sub.mjs': 'export const a = 1\nlet let = 2\n' },
      { name: 'SyntaxError', file: 'sub.mjs', line: 2, column: 5 },
    ],
    ['a syntax error in CommonJS', { 'index.cjs': '\nconst a = 1 +* 2' }, { name: 'SyntaxError', file: 'index.cjs', line: 2, column: 14 }],
    [
      'an enum, which Node does not strip',
      { 'index.ts': 'export const a: number = 1\nenum Color { Red }' },
      { name: 'SyntaxError', file: 'index.ts', line: 2, message: /enum is not supported/ },
    ],
    [
      'a package that is missing',
      { 'index.mjs': '\nimport pg from "pg"' },
      { file: 'index.mjs', line: 2, message: /^Cannot find package 'pg' imported from index\.mjs$/ },
    ],
    ['a module that CommonJS misses', { 'index.cjs': '\n\nrequire("./none")' }, { file: 'index.cjs', line: 3, message: /\.\/none/ }],
    [
      'an import that is not exported',
      { 'index.mjs': 'import { b } from "./sub.mjs"', 'sub.mjs': 'export const a = 1' },
      { file: 'index.mjs', line: 1, column: 10 },
    ],
    ['a throw at the top level', { 'index.mjs': '\nthrow new RangeError("no")' }, { name: 'RangeError', message: 'no', file: 'index.mjs', line: 2 }],
    ['a rejected await at the top level', { 'index.mjs': 'await Promise.reject(new RangeError("no"))' }, { name: 'RangeError', file: 'index.mjs', line: 1 }],
    ['something thrown that is no error', { 'index.mjs': 'throw { code: 7 }' }, { name: 'Error', message: '{ code: 7 }' }],
    [
      'an unhandled rejection while it loads',
      { 'index.mjs': 'Promise.reject(new RangeError("no")); await new Promise((resolve) => setTimeout(resolve, 5000))' },
      { name: 'RangeError', file: 'index.mjs', line: 1 },
    ],
    ['a module without a contract', { 'index.mjs': 'export const other = 1' }, { message: /neither a default .* it exports other$/ }],
    ['a file that is missing', { 'main.mjs': '' }, { message: 'there is no file index.mjs in the code; beside it are main.mjs' }],
  ]
  for (const [what, files, expected] of failures) {
    test(`${what} is told with its place`, async () => {
      await using shim = await Shim.start(files, Object.keys(files)[0] === 'main.mjs' ? 'index.mjs' : undefined)
      const error = shim.initError as unknown as Record<string, unknown>
      assert.equal(error?.['kind'], 'init')
      for (const [key, value] of Object.entries(expected)) {
        if (value instanceof RegExp) assert.match(error[key] as string, value)
        else assert.equal(error[key], value, key)
      }
      assert.doesNotMatch(JSON.stringify(error), /shim\.mjs|load\.mjs|\/tmp\//)
      assert.ok(
        shim.lines.some((line) => line.startsWith('error ')),
        'it is in the log',
      )
    })
  }
})

describe('TypeScript stripped at deploy', () => {
  const source = `import { greet } from './lib.ts'\ninterface A { x: number }\nexport default { fetch(request: Request): Response {\n  const a: A = { x: 1 }; if (request.url.endsWith('bad')) throw new Error('here')\n  return new Response(greet(a.x)) } }\n`
  const lib = 'export const greet = (n: number): string => `hi ${n}`\n'

  test('runs as it is, with the lines and columns of its source', async () => {
    await using shim = await Shim.start({ 'index.ts': stripTypes(source)!, 'lib.ts': stripTypes(lib)! })
    assert.equal((await shim.call()).body, 'hi 1')
    const { error } = await shim.call('/bad')
    assert.deepEqual([error?.file, error?.line, error?.column], ['index.ts', 4, source.split('\n')[3]!.indexOf('new Error') + 1])
  })

  test('mixes with files that are not stripped, and with CommonJS', async () => {
    await using shim = await Shim.start({ 'index.ts': stripTypes(source)!, 'lib.ts': lib })
    assert.equal((await shim.call()).body, 'hi 1')
    await using common = await Shim.start({
      'index.ts': stripTypes('const text: string = "import"\nexports.handler = async (): Promise<string> => `\nimport ${typeof require}`')!,
    })
    assert.equal((await common.call()).body, '"\\nimport function"')
  })

  test('is left alone when it cannot be stripped, or is already', () => {
    assert.equal(stripTypes('enum A { B }'), null)
    const once = stripTypes(lib)!
    assert.equal(stripTypes(once), once)
  })
})
