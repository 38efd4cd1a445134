/** What every benchmark ends with: a table for people, and JSON with the machine it ran on for everything else. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus, release, totalmem } from 'node:os'
import { join } from 'node:path'

export type Row = Record<string, string | number>

/** The machine and versions, without which a figure means nothing. */
export function machine(): Row {
  const debian = readFileSync('/etc/os-release', 'utf8').match(/PRETTY_NAME="(.*)"/)?.[1] ?? 'unknown'
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    system: debian,
    node: process.version,
  }
}

export function printTable(title: string, rows: Row[]): void {
  console.log(`\n${title}`)
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))]
  const cell = (value: string | number | undefined): string =>
    typeof value === 'number' ? (Number.isInteger(value) ? String(value) : value.toFixed(value < 10 ? 3 : 1)) : (value ?? '')
  const widths = columns.map((column) => Math.max(column.length, ...rows.map((row) => cell(row[column]).length)))
  const line = (cells: string[]): string => `  ${cells.map((text, i) => (i === 0 ? text.padEnd(widths[i]!) : text.padStart(widths[i]!))).join('  ')}`
  console.log(line(columns))
  for (const row of rows) console.log(line(columns.map((column) => cell(row[column]))))
}

/** Writes `bench/results/<name>.json` (not committed; docs/benchmarks.md quotes runs). */
export function writeResult(name: string, result: unknown): void {
  const directory = join(import.meta.dirname, '..', 'results')
  mkdirSync(directory, { recursive: true })
  const file = join(directory, `${name}.json`)
  writeFileSync(file, `${JSON.stringify({ name, at: new Date().toISOString(), machine: machine(), result }, null, 2)}\n`)
  console.log(`\nwritten: ${file}`)
}
