/** YAML as a plain tree in which everything knows its line: aliases and merges resolved, so that readers see values only. */
import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument } from 'yaml'
import type { Document, Node, Pair } from 'yaml'

/** Where something stands, both from 1. */
export interface Place {
  line: number
  column: number
}

export interface Entry {
  key: string
  /** Of the key. */
  place: Place
  value: Value
}

export type Value = { place: Place } & (
  | { kind: 'map'; entries: Entry[] }
  | { kind: 'list'; items: Value[] }
  /** `text` is a scalar as it is written, without quotes. */
  | { kind: 'scalar'; type: 'text' | 'number' | 'boolean' | 'null'; text: string }
)

/** Says what is wrong at a place. */
export type Report = (place: Place, message: string) => void

/** Nodes after aliases are resolved: far more than a thousand functions need, and far from what a nest of aliases would make. */
const NODES_MAX = 100_000
const DEPTH_MAX = 50

/** The root of a document; undefined when it is empty or when it cannot be read, which is reported then. */
export function readTree(text: string, report: Report): Value | undefined {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, stringKeys: true, merge: false, version: '1.2' })
  const placeAt = (offset: number): Place => {
    const { line, col } = lines.linePos(offset)
    return { line: Math.max(1, line), column: Math.max(1, col) }
  }
  const problems = [...document.errors, ...document.warnings]
  for (const { pos, message, code } of problems)
    report(placeAt(pos[0]), code === 'MULTIPLE_DOCS' ? 'one file takes one document; take the `---` away' : message)
  if (problems.length > 0 || document.contents === null) return undefined
  return createConverter(document, placeAt, report)(document.contents)
}

/** Thrown to leave a tree that grows without bounds. */
class TooLarge extends Error {}

function createConverter(document: Document, placeAt: (offset: number) => Place, report: Report): (root: Node) => Value | undefined {
  let nodes = 0

  const placeOf = (node: unknown): Place => placeAt((node as Node | null)?.range?.[0] ?? 0)

  function convert(node: unknown, depth: number): Value {
    // What an alias stands for is told of by the alias's line: that is where it is used.
    const place = placeOf(node)
    nodes += 1
    if (nodes > NODES_MAX || depth > DEPTH_MAX) throw new TooLarge()
    const target = isAlias(node) ? node.resolve(document) : node
    if (isAlias(node) && !target)
      report(place, `there is no anchor &${node.source} above this alias; a text that begins with * takes quotes: '*${node.source}'`)
    if (isMap(target)) return { place, kind: 'map', entries: entriesOf(target.items, depth) }
    if (isSeq(target)) return { place, kind: 'list', items: target.items.map((item) => convert(item, depth + 1)) }
    const value = isScalar(target) ? target.value : null
    const type = value === null ? 'null' : typeof value === 'number' || typeof value === 'bigint' ? 'number' : typeof value === 'boolean' ? 'boolean' : 'text'
    return { place, kind: 'scalar', type, text: type === 'text' ? String(value) : (isScalar(target) && target.source) || '' }
  }

  /** What is said beside a merge (`<<`) wins over what is merged in. */
  function entriesOf(pairs: Pair[], depth: number): Entry[] {
    const own = new Map<string, Entry>()
    const merged = new Map<string, Entry>()
    for (const { key, value } of pairs) {
      const name = isScalar(key) ? String(key.value) : ''
      const place = placeOf(key)
      const nothing: Value = { place, kind: 'scalar', type: 'null', text: '' }
      const entry: Entry = { key: name, place, value: value === null ? nothing : convert(value, depth + 1) }
      if (name !== '<<') own.set(name, entry)
      else for (const source of entry.value.kind === 'list' ? entry.value.items : [entry.value]) mergeInto(merged, source)
    }
    return [...new Map([...merged, ...own]).values()]
  }

  function mergeInto(merged: Map<string, Entry>, source: Value): void {
    if (source.kind !== 'map') report(source.place, '<< takes an alias of a mapping, such as *common, or a list of such')
    else for (const entry of source.entries) if (!merged.has(entry.key)) merged.set(entry.key, { ...entry, place: source.place })
  }

  return (root) => {
    try {
      return convert(root, 0)
    } catch (error) {
      if (!(error instanceof TooLarge)) throw error
      report({ line: 1, column: 1 }, `the file is too large or too deep once its aliases are resolved: more than ${NODES_MAX} values or ${DEPTH_MAX} levels`)
      return undefined
    }
  }
}
