import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { stripVTControlCharacters } from 'node:util'

import { formatAge, formatBytes, formatMs, harmless, table } from './output.ts'

describe('output', () => {
  it("makes control characters and direction marks visible, and leaves tabs and people's letters", () => {
    assert.equal(harmless('a\tb é 日本 🙂'), 'a\tb é 日本 🙂')
    assert.equal(harmless('\u001B[2J\r\n\u009B31m\u202Egpj'), '\\x1b[2J\\x0d\\x0a\\x9b31m\\u202egpj')
  })

  it('lines columns up, also when a cell holds control characters', () => {
    const text = stripVTControlCharacters(
      table(
        [{ title: 'NAME' }, { title: 'N', right: true }],
        [
          ['a\u0007', '1'],
          ['long-name', '10'],
        ],
      ),
    )
    assert.equal(text, 'NAME        N\na\\x07       1\nlong-name  10')
  })

  it('shows amounts in the unit that people would use', () => {
    assert.deepEqual([0, 1023, 1024, 10_240, 5_242_880].map(formatBytes), ['0 B', '1023 B', '1.0 KiB', '10 KiB', '5.0 MiB'])
    assert.deepEqual([0.421, 12.6, 3_140, 300_000, 7_200_000].map(formatMs), ['0.42 ms', '13 ms', '3.1 s', '5 min', '2 h'])
    assert.deepEqual(
      [0, 5_000, 61_000, 3_600_000, 90_000_000].map((ago) => formatAge(1_000_000_000 - ago, 1_000_000_000)),
      ['just now', '5 s ago', '1 min ago', '1 h ago', '1 d ago'],
    )
  })
})
