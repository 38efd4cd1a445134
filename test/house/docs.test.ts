import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, it } from 'node:test'

import { pages } from '../../scripts/docs.ts'
import { limits } from '../../src/limits.ts'

const root = join(import.meta.dirname, '..', '..')

describe('the documentation', () => {
  for (const [path, render] of Object.entries(pages)) {
    it(`says in ${path} what the code says`, () => {
      const current = existsSync(join(root, path)) ? readFileSync(join(root, path), 'utf8') : ''
      assert.ok(current === render(), `${path} is out of date: run \`npm run docs\``)
    })
  }

  it('names every limit', () => {
    const page = pages['docs/reference/limits.md']!()
    for (const name of Object.keys(limits)) assert.match(page, new RegExp(`^\\| \`${name}\` \\| \\S`, 'm'))
  })

  it('links only to pages that exist', () => {
    const broken = markdownFiles(root).flatMap((file) => {
      const text = readFileSync(file, 'utf8').replaceAll(/^```[\s\S]*?^```/gm, '')
      return [...text.matchAll(/\]\(([^)\s#]+)[^)]*\)/g)]
        .map((match) => match[1]!)
        .filter((target) => !/^(https?|mailto):/.test(target) && !existsSync(join(dirname(file), target)))
        .map((target) => `${file.slice(root.length + 1)} → ${target}`)
    })
    assert.deepEqual(broken, [])
  })
})

function markdownFiles(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    if (entry.name.startsWith('.') || entry.name === 'node_modules' || entry.name === 'data') return []
    const path = join(directory, entry.name)
    return entry.isDirectory() ? markdownFiles(path) : entry.name.endsWith('.md') ? [path] : []
  })
}
