/** Writing to the terminal: tables, colour only where a terminal shows it, and strangers' text made harmless. */
import { styleText } from 'node:util'

type Style = Parameters<typeof styleText>[0]

/** Text in a style when standard output is a terminal and NO_COLOR is not set. */
export function styled(style: Style, text: string): string {
  return styleText(style, text, { stream: process.stdout })
}

/** The same for standard error. */
export function styledError(style: Style, text: string): string {
  return styleText(style, text, { stream: process.stderr })
}

export function print(line = ''): void {
  process.stdout.write(`${line}\n`)
}

/** For people, beside the answer: progress, timings, explanations. */
export function note(line: string): void {
  process.stderr.write(`${line}\n`)
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`)
}

/**
 * Makes control characters visible, so that what a function wrote cannot move the cursor, set the title or pose as our own
 * output. Tabs stay.
 */
export function harmless(text: string): string {
  // oxlint-disable-next-line no-control-regex -- finding control characters is the purpose
  return text.replace(/[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, (character) => {
    const code = character.codePointAt(0)!
    return code <= 0xff ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16)}`
  })
}

/** Columns as wide as their content, two spaces apart; numbers (right) line up at their end. */
export function table(columns: { title: string; right?: boolean }[], rows: string[][]): string {
  const clean = rows.map((row) => row.map(harmless))
  const widths = columns.map((column, index) => Math.max(column.title.length, ...clean.map((row) => (row[index] ?? '').length)))
  const line = (cells: string[]): string =>
    cells
      .map((cell, index) => (columns[index]!.right ? cell.padStart(widths[index]!) : cell.padEnd(widths[index]!)))
      .join('  ')
      .trimEnd()
  return [styled('dim', line(columns.map((column) => column.title))), ...clean.map(line)].join('\n')
}

/** `key  value` lines under one another. */
export function pairs(entries: [string, string][]): string {
  const width = Math.max(...entries.map(([key]) => key.length))
  return entries.map(([key, value]) => `${styled('dim', key.padEnd(width))}  ${harmless(value)}`.trimEnd()).join('\n')
}

/** `512 B`, `3.4 KiB`, `12 MiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes
  let unit = 'B'
  for (const next of ['KiB', 'MiB', 'GiB']) {
    if (value < 1024) break
    value /= 1024
    unit = next
  }
  return `${unit === 'B' || value >= 10 ? Math.round(value) : value.toFixed(1)} ${unit}`
}

/** `0.42 ms`, `12 ms`, `3.1 s`, `5 min`, `2 h`. */
export function formatMs(ms: number): string {
  if (ms < 10) return `${ms.toFixed(2)} ms`
  if (ms < 1_000) return `${Math.round(ms)} ms`
  if (ms < 120_000) return `${(ms / 1_000).toFixed(1)} s`
  if (ms < 7_200_000) return `${Math.round(ms / 60_000)} min`
  return `${Math.round(ms / 3_600_000)} h`
}

/** `2 min ago`, from epoch milliseconds. */
export function formatAge(atMs: number, nowMs = Date.now()): string {
  const age = Math.max(0, nowMs - atMs)
  if (age < 1_000) return 'just now'
  const steps: [number, string][] = [
    [86_400_000, 'd'],
    [3_600_000, 'h'],
    [60_000, 'min'],
    [1_000, 's'],
  ]
  const [unitMs, unit] = steps.find(([size]) => age >= size)!
  return `${Math.floor(age / unitMs)} ${unit} ago`
}

/** `2026-01-31 13:37:00.123`, in local time. */
export function formatTime(atMs: number): string {
  const date = new Date(atMs)
  const two = (value: number): string => String(value).padStart(2, '0')
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, '0')}`
}
