import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import { limits } from '../limits.ts'
import { createLineSplitter } from './lines.ts'
import { createLogIntake } from './log-intake.ts'
import type { IntakeLine, LogOwner } from './log-intake.ts'

const owner = (invocation: string): LogOwner => ({ invocation, loggedLines: 0, droppedLines: 0, droppedBytes: 0 })
const line = Buffer.from('a line')

function intake(): { lines: IntakeLine[]; logs: ReturnType<typeof createLogIntake> } {
  const lines: IntakeLine[] = []
  return { lines, logs: createLogIntake((entry) => lines.push(entry)) }
}

describe('the intake of log lines', () => {
  test('reading what makes no line, empty lines and the rest of endless ones, counts as flooding', () => {
    for (const text of ['\n', '\r\n', 'x']) {
      const { logs } = intake()
      const chunk = Buffer.from(text.repeat(64 * 1_024))
      let pauses = 0
      const splitter = createLineSplitter(
        (line) => void (logs.add('stdout', null, line) || pauses++),
        (bytes) => void (logs.passOver(bytes) || pauses++),
      )
      for (let i = 0; i < 128; i++) splitter.push(chunk)
      assert.ok(pauses > 0, JSON.stringify(text))
    }
  })

  test('numbers all lines of a sandbox in order, whosever they are', () => {
    const { lines, logs } = intake()
    logs.add('stdout', owner('a'), line)
    logs.add('error', null, line)
    logs.system('the end')
    assert.deepEqual(
      lines.map(({ sequence, level, invocation, text }) => [sequence, level, invocation, text]),
      [
        [1, 'stdout', 'a', 'a line'],
        [2, 'error', null, 'a line'],
        [3, 'system', null, 'the end'],
      ],
    )
  })

  test('lines over the limit a second leave one gap line that tells how many lines and bytes are missing', (t) => {
    t.mock.timers.enable({ apis: ['Date', 'setTimeout'], now: 1_000_000 })
    const { lines, logs } = intake()
    for (let i = 0; i < limits.logLinesPerSecond + 5; i++) logs.add('stdout', owner('a'), line)
    assert.equal(lines.length, limits.logLinesPerSecond)
    t.mock.timers.tick(1_000)
    assert.equal(lines.length, limits.logLinesPerSecond + 1)
    assert.equal(lines.at(-1)!.level, 'gap')
    assert.match(lines.at(-1)!.text, /^5 lines \(30 bytes\) dropped here: more than 2000 lines/)
    logs.add('stdout', null, line)
    assert.equal(lines.at(-1)!.text, 'a line')
  })

  test('so do bytes over the limit a second', (t) => {
    t.mock.timers.enable({ apis: ['Date', 'setTimeout'], now: 1_000_000 })
    const { lines, logs } = intake()
    const long = Buffer.alloc(limits.logLineMaxBytes, 'x')
    for (let i = 0; i < limits.logBytesPerSecond / long.length + 1; i++) logs.add('stderr', null, long)
    logs.close()
    assert.match(lines.at(-1)!.text, /^1 line \(16384 bytes\) dropped/)
  })

  test('a gap names the invocation only if all of it was one’s', (t) => {
    t.mock.timers.enable({ apis: ['Date', 'setTimeout'], now: 1_000_000 })
    for (const [second, expected] of [
      ['a', 'a'],
      ['b', null],
    ] as const) {
      const { lines, logs } = intake()
      for (let i = 0; i < limits.logLinesPerSecond + 1; i++) logs.add('stdout', owner('a'), line)
      logs.add('stdout', owner(second), line)
      logs.close()
      assert.equal(lines.at(-1)!.invocation, expected)
    }
  })

  test('an invocation over its own limit is told what it lost when it is over', (t) => {
    t.mock.timers.enable({ apis: ['Date', 'setTimeout'], now: 1_000_000 })
    const { lines, logs } = intake()
    const chatty = owner('chatty')
    for (let i = 0; i < limits.logLinesPerInvocation + 3; i++) {
      if (i % 1_000 === 0) t.mock.timers.tick(1_000)
      logs.add('info', chatty, line)
    }
    logs.add('info', owner('quiet'), line)
    logs.ownerDone(chatty)
    assert.equal(lines.at(-2)!.invocation, 'quiet')
    assert.deepEqual([lines.at(-1)!.level, lines.at(-1)!.invocation], ['gap', 'chatty'])
    assert.match(lines.at(-1)!.text, /^3 lines .* more than 10000 lines in one invocation/)
  })

  test('who floods on and on is to be read more slowly', (t) => {
    t.mock.timers.enable({ apis: ['Date', 'setTimeout'], now: 1_000_000 })
    const { logs } = intake()
    let paused = 0
    for (let i = 0; i < 10 * limits.logLinesPerSecond; i++) if (!logs.add('stdout', null, line)) paused++
    assert.equal(paused, 2)
  })
})

describe('raw output', () => {
  function split(...chunks: (string | Buffer)[]): string[] {
    const lines: string[] = []
    const splitter = createLineSplitter((bytes) => lines.push(bytes.toString()))
    for (const chunk of chunks) splitter.push(Buffer.from(chunk))
    splitter.end()
    return lines
  }

  test('is cut into lines wherever its chunks end, multi-byte characters included', () => {
    const euro = Buffer.from('a€b\nc')
    assert.deepEqual(split('one\ntw', 'o\r\n', '\nthree'), ['one', 'two', 'three'])
    assert.deepEqual(split(euro.subarray(0, 2), euro.subarray(2)), ['a€b', 'c'])
  })

  test('a line without an end is cut at its limit and the rest thrown away up to the next', () => {
    const lines = split('x'.repeat(10_000), 'y'.repeat(10_000), 'z'.repeat(10_000), 'z\nnext\n')
    assert.equal(lines.length, 2)
    assert.equal(lines[0]!.length, limits.logLineMaxBytes + '… [cut]'.length)
    assert.equal(lines[1], 'next')
  })

  test('a long line that comes whole is cut likewise', () => {
    assert.match(split(`${'x'.repeat(20_000)}\nnext`)[0]!, /… \[cut\]$/)
  })
})
