/**
 * The Web Platform Tests' cases for Headers, Request and Response, retold: no package that a machine like ours reaches
 * carries the files of fetch/api/{headers,request,response}, and their text is not copied here. Each group names the file
 * whose cases it tells. Everything runs twice: on the light classes of the Node shim and, to compare, on Node's own.
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

export type BodyInit = NonNullable<ConstructorParameters<typeof Response>[0]>
export type RequestInit = NonNullable<ConstructorParameters<typeof Request>[1]>
export type HeadersInit = NonNullable<ConstructorParameters<typeof Headers>[0]>

/** A set of fetch classes under test. */
export interface Api {
  name: 'light' | 'node'
  Headers: typeof Headers
  Request: typeof Request
  Response: typeof Response
  fetch: typeof fetch
}

type Body = (api: Api) => unknown

const groups: { file: string; cases: [title: string, body: Body][] }[] = []

/** Cases of one WPT file under fetch/api/. */
export function file(name: string, cases: Record<string, Body>): void {
  groups.push({ file: name, cases: Object.entries(cases) })
}

/** Registers all groups for an implementation. `known` has the cases that fail, by file and title, with the reason; one that passes after all fails the run. */
export function runOn(api: Api, known: Record<string, string>): void {
  const unseen = new Set(Object.keys(known))
  for (const group of groups) {
    describe(`${api.name} classes, WPT fetch/api/${group.file}`, () => {
      for (const [title, body] of group.cases) {
        const key = `${group.file}: ${title}`
        const reason = known[key]
        unseen.delete(key)
        if (reason === undefined) test(title, async () => void (await body(api)))
        else
          test(`${title} (known to fail: ${reason})`, () =>
            assert.rejects(
              async () => void (await body(api)),
              () => true,
              'it passes now: take it off the list',
            ))
      }
    })
  }
  test(`${api.name} classes: every known failure names a case`, () => assert.deepEqual([...unseen], []))
}

/** All chunks of a reader, joined. */
export async function drain(reader: ReadableStreamDefaultReader<Uint8Array> | ReadableStreamBYOBReader): Promise<string> {
  const chunks: Uint8Array[] = []
  for (;;) {
    const { value, done } = await ('releaseLock' in reader && reader.constructor.name === 'ReadableStreamBYOBReader'
      ? (reader as ReadableStreamBYOBReader).read(new Uint8Array(64))
      : (reader as ReadableStreamDefaultReader<Uint8Array>).read())
    if (done) return Buffer.concat(chunks).toString()
    chunks.push(value!)
  }
}

/** A stream of one text. */
export function streamOf(text: string): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      controller.enqueue(new TextEncoder().encode(text))
      controller.close()
    },
  })
}

export const CONSUMERS = ['text', 'json', 'arrayBuffer', 'bytes', 'blob'] as const

/** A form with one field. */
export function form(): FormData {
  const data = new FormData()
  data.append('field', 'content')
  return data
}
