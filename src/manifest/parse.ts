/** hostel.yaml: from text to functions that are ready to deploy, or to every mistake in it with its line. */
import { dirname, resolve } from 'node:path'

import type { NewVersion } from '../client/control.ts'
import { isName, NAME_TAKES } from '../functions/names.ts'
import { limits } from '../limits.ts'
import { closest } from './closest.ts'
import { functionKeys, keysToCome, otherWords, shown } from './keys.ts'
import { readTree } from './tree.ts'
import type { Entry, Place, Report, Value } from './tree.ts'

export interface ManifestFunction {
  name: string
  /** Absolute path of its directory. */
  source: string
  /** What the API is asked for, but for the code. */
  wanted: Omit<NewVersion, 'code'>
  /** Where a field of the API is said; `name` and, when it is given, `source` too. */
  places: Record<string, Place>
}

export interface Mistake extends Place {
  message: string
}

/** Thrown with all that is wrong in a file. */
export class ManifestError extends Error {
  override readonly name = 'ManifestError'
  readonly mistakes: Mistake[]

  constructor(mistakes: Mistake[]) {
    super(mistakes.map(({ line, column, message }) => `${line}:${column}: ${message}`).join('\n'))
    this.mistakes = mistakes
  }
}

/** The functions of a manifest in their order. `file` tells what sources are relative to. @throws ManifestError */
export function parseManifest(text: string, file: string): ManifestFunction[] {
  const mistakes: Mistake[] = []
  const report: Report = (place, message) => void mistakes.push({ ...place, message })
  const root = readTree(text, report)
  const functions = mistakes.length > 0 ? [] : readRoot(root, resolve(dirname(file)), report)
  if (mistakes.length > 0) throw new ManifestError(mistakes.sort((a, b) => a.line - b.line || a.column - b.column))
  return functions
}

const EXAMPLE = 'functions: { hello: { source: ./hello } }'

function readRoot(root: Value | undefined, directory: string, report: Report): ManifestFunction[] {
  const start = root?.place ?? { line: 1, column: 1 }
  if (root?.kind !== 'map') {
    report(start, `the file takes a mapping with "functions", such as ${EXAMPLE}`)
    return []
  }
  for (const { key, place } of root.entries) {
    // Anchors need a place to be defined at.
    if (key !== 'functions' && !key.startsWith('x-')) report(place, unknownTopKey(key))
  }
  const functions = root.entries.find(({ key }) => key === 'functions')
  if (!functions) {
    if (root.entries.every(({ key }) => key.startsWith('x-'))) report(start, `"functions" is missing; the file takes it, such as ${EXAMPLE}`)
    return []
  }
  if (functions.value.kind !== 'map' || functions.value.entries.length === 0) {
    report(functions.value.place, `functions takes functions by name, such as ${EXAMPLE}; got ${shown(functions.value)}`)
    return []
  }
  if (functions.value.entries.length > limits.manifestFunctionsMax) report(functions.place, `functions takes at most ${limits.manifestFunctionsMax} of them`)
  return functions.value.entries.map((entry) => readFunction(entry, directory, report))
}

function unknownTopKey(key: string): string {
  if (key in functionKeys || key === 'source') return `${key} belongs to a function: functions.NAME.${key}`
  if (Object.hasOwn(keysToCome, key)) return notYet(key)
  const close = closest(key, ['functions'])
  return `the file takes no "${key}"; ${close ? `did you mean ${close}?` : 'it takes functions, and keys that begin with x- for anchors'}`
}

function readFunction({ key: name, place, value }: Entry, directory: string, report: Report): ManifestFunction {
  const found: ManifestFunction = { name, source: directory, wanted: {}, places: { name: place } }
  if (!isName(name)) report(place, `"${name}" cannot name a function: a name takes ${NAME_TAKES}`)
  // `hello:` with nothing behind it is a function with all its defaults.
  if (value.kind === 'scalar' && value.type === 'null') return found
  if (value.kind !== 'map') {
    report(value.place, `${name} takes a mapping, such as { source: ./${name} }; got ${shown(value)}`)
    return found
  }
  const wanted: Record<string, unknown> = {}
  for (const entry of value.entries) {
    const say: Report = (where, message) => report(where, `${entry.key} ${message}`)
    if (entry.key === 'source') {
      found.places['source'] = entry.value.place
      const { value: source } = entry
      if (source.kind === 'scalar' && source.type === 'text' && source.text !== '') found.source = resolve(directory, source.text)
      else say(source.place, `takes a directory, relative to this file's; got ${shown(source)}`)
      continue
    }
    const key = Object.hasOwn(functionKeys, entry.key) ? functionKeys[entry.key] : undefined
    if (!key) report(entry.place, unknownKey(entry.key))
    else {
      found.places[key.field] = entry.value.place
      wanted[key.field] = key.read(entry.value, say)
    }
  }
  found.wanted = wanted
  return found
}

function unknownKey(key: string): string {
  if (Object.hasOwn(keysToCome, key)) return notYet(key)
  const known = ['source', ...Object.keys(functionKeys)]
  const close = Object.hasOwn(otherWords, key) ? otherWords[key] : closest(key, known)
  return `a function takes no "${key}"; ${close ? `did you mean ${close}?` : `it takes ${known.join(', ')}`}`
}

function notYet(key: string): string {
  return `${key} is not supported yet (${keysToCome[key]})`
}
