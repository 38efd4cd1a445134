import assert from 'node:assert/strict'
import { describe, it } from 'node:test'

import { parseIgnore } from './ignore.ts'

const files = (...paths: string[]): [string, boolean][] => paths.map((path) => [path, false])

const cases: { pattern: string; out: [string, boolean][]; stays: [string, boolean][] }[] = [
  { pattern: '*.test.ts', out: files('a.test.ts', 'lib/a.test.ts'), stays: files('a.ts', 'a.test.ts.md') },
  { pattern: '/notes', out: files('notes'), stays: files('lib/notes') },
  {
    pattern: 'docs/',
    out: [
      ['docs', true],
      ['lib/docs', true],
    ],
    stays: files('docs'),
  },
  { pattern: 'lib/*.md', out: files('lib/a.md'), stays: files('lib/sub/a.md', 'a.md', 'x/lib/a.md') },
  { pattern: 'lib/**/a.md', out: files('lib/a.md', 'lib/x/y/a.md'), stays: files('a.md') },
  { pattern: 'cache/**', out: files('cache/a', 'cache/b/c'), stays: [['cache', true]] },
  { pattern: 'v?.js', out: files('v1.js'), stays: files('v10.js', 'v/.js') },
  { pattern: 'a+b.(js)', out: files('a+b.(js)'), stays: files('aab.js', 'a+bx(js)') },
]

describe('.hostelignore', () => {
  for (const { pattern, out, stays } of cases) {
    it(`takes "${pattern}" as .gitignore does`, () => {
      const ignored = parseIgnore(`# comment\n\n${pattern}\n`)
      for (const [path, isDirectory] of out) assert.ok(ignored(path, isDirectory), `${path} is left out`)
      for (const [path, isDirectory] of stays) assert.ok(!ignored(path, isDirectory), `${path} stays`)
    })
  }

  it('leaves out history and links to commands without being told, at every depth', () => {
    const ignored = parseIgnore('')
    for (const path of [
      '.git',
      'sub/.git',
      'node_modules/.bin',
      'node_modules/a/node_modules/.bin',
      '.hostelignore',
      'lib/__pycache__',
      'a.ts~',
      'lib/.a.ts.swp',
      'hostel.yaml',
    ])
      assert.ok(ignored(path, true), path)
    for (const path of ['.github', 'node_modules', 'bin', '.gitignore', 'lib/hostel.yaml', 'a.swp']) assert.ok(!ignored(path, true), path)
  })

  it('refuses a pattern that takes something back in, with its line', () => {
    assert.throws(() => parseIgnore('*.md\n!README.md'), /line 2: "!README\.md" is not supported/)
  })
})
