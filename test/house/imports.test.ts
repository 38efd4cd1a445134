/** Imports point one way: the table below is the plan of the house, and a new directory needs a place in it. */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { describe, it } from 'node:test'

const root = join(import.meta.dirname, '..', '..')

/** Part of src/ → the parts it may import, itself and the vocabulary aside. */
const house: Record<string, string[]> = {
  // Everyone may use these; they use nobody.
  'errors.ts': [],
  'limits.ts': [],
  telemetry: [],
  'settings.ts': [],

  egress: [],
  store: [],
  link: [],
  sandbox: [],
  engines: ['sandbox'],
  keeper: ['engines', 'runtimes', 'settings.ts'],
  scheduler: ['engines', 'egress', 'sandbox'],
  invocations: ['scheduler', 'sandbox', 'link', 'store'],
  functions: ['invocations', 'scheduler', 'sandbox', 'link', 'store'],
  secrets: ['store'],
  builds: ['functions', 'egress', 'invocations', 'link'],
  backup: ['functions', 'secrets', 'store', 'keeper'],
  api: ['functions', 'builds', 'secrets', 'backup', 'invocations', 'link', 'store', 'manifest'],
  gateway: ['functions', 'invocations', 'scheduler', 'sandbox', 'link'],

  client: [],
  manifest: ['client', 'settings.ts'],
  cli: ['client', 'backup', 'manifest', 'doctor', 'settings.ts'],
  doctor: ['runtimes', 'settings.ts'],
  runtimes: [],

  // The composition roots: each puts one process together.
  'main.ts': ['keeper', 'settings.ts'],
  control: ['functions', 'invocations', 'link', 'store'],
  'gateway.ts': ['gateway', 'builds', 'egress', 'invocations', 'scheduler', 'link'],
  'control.ts': ['control', 'api', 'builds', 'functions', 'secrets', 'backup', 'invocations', 'store', 'link'],
}

/** The words and messages that all parts share. */
const vocabulary = [
  'errors.ts',
  'limits.ts',
  'telemetry/',
  'egress/addresses.ts',
  'egress/rules.ts',
  'functions/types.ts',
  'functions/names.ts',
  'functions/code/digest.ts',
  'keeper/messages.ts',
  'link/messages.ts',
  'sandbox/protocol.ts',
]

/** Types alone, which are gone at run time: the shapes of the control API, shared by its two ends. */
const typesOnly: Record<string, string[]> = { client: ['api/schemas.ts', 'api/access-schemas.ts', 'api/build-schemas.ts'] }

interface Import {
  file: string
  target: string
  typeOnly: boolean
}

const sources = filesBelow('src').filter((file) => /\.(ts|mjs)$/.test(file))
const imports = sources.flatMap(importsOf)
const code = sources.filter((file) => !file.endsWith('.test.ts'))

describe('the house', () => {
  it('has a place for every part of src', () => {
    assert.deepEqual(
      [...new Set(sources.map(partOf))].filter((part) => !(part in house)),
      [],
    )
  })

  it('lets nothing import itself by a detour', () => {
    const visit = (part: string, path: string[]): void => {
      assert.ok(!path.includes(part), `a circle: ${[...path, part].join(' → ')}`)
      for (const next of house[part] ?? []) visit(next, [...path, part])
    }
    for (const part of Object.keys(house)) visit(part, [])
  })

  it('imports one way', () => {
    const wrong = imports.filter(({ target }) => target.startsWith('src/')).filter((found) => !allowed(found))
    assert.deepEqual(
      wrong.map(({ file, target }) => `${file} must not import ${target}`),
      [],
    )
  })

  it('imports in src nothing from tests, benchmarks or scripts', () => {
    const wrong = imports.filter(
      // What shims load as it is, control makes: the mark is theirs.
      ({ file, target }) => /^(test|bench|scripts|guest|examples)\//.test(target) && !file.endsWith('.test.ts') && target !== 'guest/node/types.mjs',
    )
    assert.deepEqual(wrong, [])
  })

  it('calls foreign code in *.native.ts alone', () => {
    assert.deepEqual(
      imports.filter(({ file, target, typeOnly }) => target === 'koffi' && !typeOnly && !file.endsWith('.native.ts')),
      [],
    )
  })

  it('has SQL in the store alone', () => {
    const outside = code.filter((file) => !file.startsWith('src/store/'))
    assert.deepEqual(
      imports.filter(({ target, file }) => target === 'node:sqlite' && outside.includes(file)),
      [],
    )
    const sql = /\b(SELECT\s.+\sFROM|INSERT\s+INTO|DELETE\s+FROM|UPDATE\s+\w+\s+SET|CREATE\s+TABLE|PRAGMA\s+\w+)\b/
    assert.deepEqual(
      outside.filter((file) => sql.test(read(file))),
      [],
    )
  })

  it('gives the Node shim nothing but itself and what Node brings', () => {
    const shim = filesBelow('guest/node').filter((file) => /\.m?[jt]s$/.test(file) && !/\.test\.m?[jt]s$/.test(file))
    const wrong = shim.flatMap(importsOf).filter(({ target }) => !target.startsWith('guest/node') && !target.startsWith('node:'))
    assert.deepEqual(wrong, [])
  })

  it('keeps files short enough to read in one sitting, and lists of tests to twice that', () => {
    const lines = (file: string): number => read(file).split('\n').length - 1
    const most = (file: string): number => (/\.(test|cases)\./.test(file) ? 800 : 400)
    const sources = ['src', 'guest', 'test', 'bench', 'scripts', 'examples'].flatMap(filesBelow).filter((file) => /\.([mc]?[jt]s|py|sh)$/.test(file))
    assert.deepEqual(
      sources.filter((file) => lines(file) > most(file)).map((file) => `${file}: ${lines(file)} lines`),
      [],
    )
  })
})

function allowed({ file, target, typeOnly }: Import): boolean {
  const from = partOf(file)
  const to = partOf(target)
  const inSrc = target.slice('src/'.length)
  if (from === to || vocabulary.some((word) => inSrc === word || (word.endsWith('/') && inSrc.startsWith(word)))) return true
  return (house[from] ?? []).includes(to) || (typeOnly && (typesOnly[from] ?? []).includes(inSrc))
}

/** The directory of src that a file is in, or its name when it lies in src itself. */
function partOf(file: string): string {
  return file.split('/')[1]!
}

/** What a file imports: paths from the root of the checkout, or names of packages. */
function importsOf(file: string): Import[] {
  // Comments show imports, too; strings with comment marks in them do no harm here.
  const text = read(file).replaceAll(/^\s*(\/\/|\*|\/\*).*$/gm, '')
  const statements = text.matchAll(/^\s*(?:import|export)\s+(type\s)?(?:[^'"`;]*?\sfrom\s+)?'([^']+)'/gm)
  const calls = text.matchAll(/\bimport\(\s*()'([^']+)'/g)
  // Of a worker, or of a program that is started.
  const files = text.matchAll(/\bnew URL\(\s*()'([^':]+)', import\.meta\.url/g)
  const paths = [...files].map((match) => Object.assign(match, { 2: `./${match[2]}` }))
  return [...statements, ...calls, ...paths].map((match) => {
    const target = match[2]!
    return { file, target: target.startsWith('.') ? relative(root, join(root, dirname(file), target)) : target, typeOnly: Boolean(match[1]) }
  })
}

function filesBelow(directory: string): string[] {
  if (!existsSync(join(root, directory))) return []
  return readdirSync(join(root, directory), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && !entry.parentPath.includes('node_modules'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
}

function read(file: string): string {
  return readFileSync(join(root, file), 'utf8')
}
