/** hostel.yaml on disk: finding it, reading it, and wording what is wrong in it. */
import { existsSync, openSync, readSync, closeSync, statSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'

import { ApiError } from '../client/errors.ts'
import { MANIFEST_FILE, MANIFEST_MAX_BYTES } from '../manifest/file.ts'
import type { ManifestFunction } from '../manifest/parse.ts'
import type { Place } from '../manifest/tree.ts'
import { apiFailure } from './api-failure.ts'
import { CliFailure, usageFailure } from './failure.ts'

export interface LoadedManifest {
  /** Absolute. */
  file: string
  /** As people find it from here. */
  shown: string
  functions: ManifestFunction[]
}

/** The manifest of a directory, if it has one. @throws CliFailure (usage) for one by another name */
export function findManifest(directory: string): string | undefined {
  const file = join(directory, MANIFEST_FILE)
  if (existsSync(file)) return file
  if (existsSync(join(directory, 'hostel.yml')))
    throw usageFailure('there is a hostel.yml, and its name must be hostel.yaml', `mv ${join(directory, 'hostel.yml')} ${file}`)
  return undefined
}

/** @throws CliFailure (usage) with every mistake and its line */
export async function loadManifest(path: string): Promise<LoadedManifest> {
  const file = resolve(path)
  const shown = fromHere(file)
  const text = readText(file, shown)
  // Reading YAML is only worth its time where there is some.
  const { ManifestError, parseManifest } = await import('../manifest/parse.ts')
  try {
    const functions = parseManifest(text, file)
    for (const item of functions) checkSource(item, shown)
    return { file, shown, functions }
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error
    throw mistakes(
      error.mistakes.map(({ message, ...place }) => `${at(shown, place)} ${message}`),
      error,
    )
  }
}

/** Refusals of the server and failures to start, with the line of the manifest that they are about, or the function's name. */
export function locatedFailure(error: unknown, manifest: LoadedManifest, item: ManifestFunction): unknown {
  if (!(error instanceof ApiError)) return error
  const { code, facts, detail, title } = error.problem
  if (code === 'invalid_input') {
    const field = typeof facts?.['field'] === 'string' ? facts['field'] : ''
    const place = item.places[field] ?? item.places[field.split('.')[0]!] ?? item.places['name']!
    return mistakes([`${at(manifest.shown, place)} ${item.name}: ${detail ?? title}`], error)
  }
  const failure = apiFailure(error, item.source)
  return new CliFailure(failure.kind, `${item.name}: ${failure.message}`, { why: failure.why, fix: failure.fix, code: failure.code, cause: error })
}

/** Functions that name a secret which is not set could not start, so it is told before any is deployed. @throws CliFailure (usage) */
export function assertSecrets(manifest: LoadedManifest, items: ManifestFunction[], tenant: string, known: Set<string>): void {
  const lines = items.flatMap((item) =>
    secretsOf(item)
      .filter((name) => !known.has(name))
      .map(
        (name) =>
          `${at(manifest.shown, item.places['secrets']!)} ${item.name}: tenant ${tenant} has no secret ${name}; set it with \`hostel secrets set ${name}\``,
      ),
  )
  if (lines.length > 0) throw mistakes(lines, undefined)
}

/** Names of the secrets that a function asks for. */
export function secretsOf({ wanted }: ManifestFunction): string[] {
  return Object.values(wanted.secrets ?? {})
}

function mistakes(lines: string[], cause: unknown): CliFailure {
  return new CliFailure('usage', lines.join('\n'), { code: 'invalid_manifest', fix: 'docs/reference/hostel-yaml.md tells what a manifest takes.', cause })
}

function at(shown: string, { line, column }: Place): string {
  return `${shown}:${line}:${column}:`
}

function checkSource(item: ManifestFunction, shown: string): void {
  const stat = statSync(item.source, { throwIfNoEntry: false })
  if (stat?.isDirectory()) return
  const place = item.places['source'] ?? item.places['name']!
  throw mistakes([`${at(shown, place)} source of ${item.name}: ${fromHere(item.source)} is ${stat ? 'not a directory' : 'not there'}`], undefined)
}

function fromHere(path: string): string {
  const shown = relative(process.cwd(), path)
  return shown.startsWith('../..') || shown === '' ? path : shown
}

function readText(file: string, shown: string): string {
  const descriptor = openSync(file, 'r')
  try {
    const buffer = Buffer.alloc(MANIFEST_MAX_BYTES + 1)
    let bytes = 0
    for (let read = -1; read !== 0 && bytes < buffer.length; bytes += read) read = readSync(descriptor, buffer, bytes, buffer.length - bytes, null)
    if (bytes > MANIFEST_MAX_BYTES) throw usageFailure(`${shown} is larger than ${MANIFEST_MAX_BYTES} bytes`)
    return buffer.toString('utf8', 0, bytes)
  } finally {
    closeSync(descriptor)
  }
}
