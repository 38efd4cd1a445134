import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Compile } from 'typebox/schema'
import { parse } from 'yaml'

import { functionKeys, keysToCome, otherWords } from './keys.ts'
import { ManifestError, parseManifest } from './parse.ts'
import { manifestSchema } from './schema.ts'

const read = (text: string) => parseManifest(text, '/project/hostel.yaml')

/** `line:column: message` of each mistake. */
function mistakesOf(text: string): string[] {
  try {
    read(text)
  } catch (error) {
    if (error instanceof ManifestError) return error.message.split('\n')
    throw error
  }
  return []
}

const COMPLETE = `
functions:
  shop:
    source: ./shop
    runtime: nodejs24
    handler: api.ts
    memory: 1GiB
    timeout: 1.5s
    concurrency: 3
    env: { A: text, B: 08, C: true, D: '', E: "x: y" }
    secrets: [TOKEN]
    egress: [api.example.com:443, '*.example.org:443']
    services: [postgres.internal:5432]
  jobs:
`

describe('a manifest', () => {
  it('says of each function what the API takes, and where each field stands', () => {
    const [shop, jobs] = read(COMPLETE)
    assert.equal(shop?.source, '/project/shop')
    assert.deepEqual(shop.wanted, {
      runtime: 'nodejs24',
      handler: 'api.ts',
      memoryMiB: 1_024,
      timeoutMs: 1_500,
      concurrency: 3,
      env: { A: 'text', B: '08', C: 'true', D: '', E: 'x: y' },
      secrets: { TOKEN: 'TOKEN' },
      egress: ['api.example.com:443', '*.example.org:443'],
      services: ['postgres.internal:5432'],
    })
    assert.deepEqual(shop.places['memoryMiB'], { line: 7, column: 13 })
    assert.deepEqual([jobs?.name, jobs?.source, jobs?.wanted], ['jobs', '/project', {}])
  })

  it('shares what is anchored, and lets what stands beside a merge win', () => {
    const text = 'x-env: &env { A: 1, B: 1 }\nfunctions:\n  a: { env: *env }\n  b: { env: { B: 2, <<: *env } }\n'
    assert.deepEqual(
      read(text).map(({ wanted }) => wanted.env),
      [
        { A: '1', B: '1' },
        { A: '1', B: '2' },
      ],
    )
  })

  it('keeps an odd name of an environment variable what it is', () => {
    const [found] = read('functions: { a: { env: { __proto__: x, constructor: y } } }')
    assert.deepEqual(Object.entries(found?.wanted.env ?? {}), [
      ['__proto__', 'x'],
      ['constructor', 'y'],
    ])
  })

  const wrong: [string, string, RegExp][] = [
    ['a misspelt key', 'functions:\n  a:\n    hander: x', /^3:5: a function takes no "hander"; did you mean handler\?$/],
    ['a word of another tool', 'functions:\n  a:\n    environment: {}', /^3:5: .*did you mean env\?$/],
    ['a key far from any', 'functions:\n  a:\n    zzzzzz: 1', /^3:5: .*it takes source, runtime, handler/],
    ['a key of a function at the top', 'functions: { a: }\nmemory: 1GiB', /^2:1: memory belongs to a function: functions\.NAME\.memory$/],
    ['a misspelt "functions"', 'function: { a: }', /^1:1: the file takes no "function"; did you mean functions\?$/],
    ['a memory that is no class', 'functions:\n  a:\n    memory: 300MiB', /^3:13: memory takes one of .*The next that fits is 512MiB$/],
    ['a memory without unit', 'functions: { a: { memory: 256 } }', /^1:27: memory takes an amount such as 256MiB or 1GiB; got 256$/],
    ['a timeout without unit', 'functions: { a: { timeout: 30 } }', /timeout takes a duration .*; got 30$/],
    ['a timeout that is too long', 'functions: { a: { timeout: 1h } }', /timeout takes a time from 1ms to 15m; got "1h"$/],
    [
      'an egress entry that is none',
      'functions:\n  a:\n    egress:\n      - api.example.com:443\n      - example.com',
      /^5:9: egress takes host:port entries: .*; got "example\.com"$/,
    ],
    ['a name with a star and without quotes', 'functions: { a: { egress: [*.example.com:443] } }', /begins with \* takes quotes: '\*\.example\.com:443'/],
    ['a concurrency of nothing', 'functions: { a: { concurrency: 0 } }', /concurrency takes a whole number from 1 to 1000; got 0$/],
    ['a name that is none', 'functions: { Shop_1: }', /^1:14: "Shop_1" cannot name a function/],
    ['an environment without values', 'functions:\n  a:\n    env:\n      A:', /^4:9: env A takes a text; for an empty one write ''$/],
    ["a name of Hostel's own", 'functions: { a: { env: { HOSTEL_X: 1 } } }', /HOSTEL_, which are Hostel's own/],
    ['an empty file', '', /^1:1: the file takes a mapping/],
    ['no functions', 'functions: {}', /functions takes functions by name/],
    ['two functions of one name', 'functions: { a: {}, a: {} }', /^1:21: Map keys must be unique/],
    ['an alias of nothing', 'functions:\n  a: *b', /^2:6: there is no anchor &b above this alias; .* quotes: '\*b'$/],
    ['a tag', 'functions: !include x', /^1:12: Unresolved tag/],
    ['two documents', 'functions: { a: }\n---\n', /^2:1: one file takes one document/],
    ['tabs', 'functions:\n\ta: {}', /^2:1: Tabs are not allowed/],
    ['a nest of aliases', bomb(), /too large or too deep once its aliases are resolved/],
    ['an alias of what it is in', 'functions: &f { a: *f }', /too large or too deep|takes no "a"/],
  ]
  for (const [what, text, expected] of wrong) it(`refuses ${what} with its line`, () => assert.match(mistakesOf(text).join('\n'), expected))

  it('tells all mistakes at once, in the order of lines', () => {
    const found = mistakesOf('functions:\n  a:\n    memory: 1\n    image: x\n  B: {}\n')
    assert.deepEqual(
      found.map((line) => line.split(' ')[0]),
      ['3:13:', '4:5:', '5:3:'],
    )
  })

  it('never shows the value of an environment variable', () => {
    assert.doesNotMatch(mistakesOf('functions: { a: { env: { A: [hunter2], 1B: hunter2 } } }').join('\n'), /hunter2/)
  })

  it('refuses by name what is to come, and knows no key twice', () => {
    for (const key of Object.keys(keysToCome)) assert.match(mistakesOf(`functions: { a: { ${key}: 1 } }`)[0] ?? '', new RegExp(`${key} is not supported yet`))
    const known = [...Object.keys(functionKeys), 'source']
    const others = [...Object.keys(keysToCome), ...Object.keys(otherWords)]
    assert.equal(new Set([...known, ...others]).size, known.length + others.length)
    for (const word of Object.values(otherWords)) assert.ok(known.includes(word), word)
  })
})

describe('the schema of manifests', () => {
  const validator = Compile(manifestSchema())

  it('takes what the parser takes', () => {
    assert.ok(validator.Check(parse(COMPLETE)), JSON.stringify(validator.Errors(parse(COMPLETE))))
    assert.ok(validator.Check({ 'x-env': 1, functions: { a: null } }))
  })

  it('refuses what the parser refuses', () => {
    for (const a of [
      { hander: 'x' },
      { memory: '300MiB' },
      { timeout: 30 },
      { concurrency: 0 },
      { env: { A: null } },
      { env: { '1A': 'x' } },
      { image: 'x' },
    ]) {
      assert.ok(!validator.Check({ functions: { a } }), JSON.stringify(a))
    }
    for (const root of [{}, { functions: {} }, { functions: { A_b: null } }, { functions: { a: null }, memory: '1GiB' }]) {
      assert.ok(!validator.Check(root), JSON.stringify(root))
    }
  })
})

/** 10^5 values from six lines. */
function bomb(): string {
  const lines = ['x-0: &a0 [x,x,x,x,x,x,x,x,x,x]']
  for (let i = 1; i < 6; i++) lines.push(`x-${i}: &a${i} [${Array.from({ length: 10 }, () => `*a${i - 1}`).join(',')}]`)
  return lines.join('\n')
}
