import assert from 'node:assert/strict'

import { CONSUMERS, file, type BodyInit, type RequestInit } from './suite.ts'

const AT = 'http://host.test/path'
const post = (body: BodyInit | null): RequestInit => ({ method: 'POST', body })

file('request/request-consume.any.js', {
  'a body of any kind can be consumed in every way, once': async ({ Request }) => {
    const json = '"grüße"'
    const bytes = new TextEncoder().encode(json)
    const padded = new Uint8Array([0, ...bytes, 0])
    for (const body of [
      () => json,
      () => bytes,
      () => bytes.buffer,
      () => new Int8Array(padded.buffer, 1, bytes.length),
      () => new DataView(padded.buffer, 1, bytes.length),
      () => new Blob([json], { type: 'text/plain' }),
    ] as (() => BodyInit)[]) {
      const results = { text: json, json: 'grüße', arrayBuffer: bytes.buffer, bytes, blob: json }
      for (const way of CONSUMERS) {
        const request = new Request(AT, post(body()))
        const result: unknown = await request[way]()
        assert.deepEqual(way === 'blob' ? await (result as Blob).text() : result, results[way])
        assert.equal(request.bodyUsed, true)
        await assert.rejects(request.text(), TypeError)
      }
    }
  },
  'bytes are copied when the request is made': async ({ Request }) => {
    const bytes = new TextEncoder().encode('before')
    const request = new Request(AT, post(bytes))
    bytes.fill(0)
    assert.equal(await request.text(), 'before')
  },
  'good JSON is parsed, bad JSON is a SyntaxError': async ({ Request }) => {
    for (const text of ['null', '1', 'true', '"s"']) assert.deepEqual(await new Request(AT, post(text)).json(), JSON.parse(text))
    for (const text of ['undefined', '{', 'a', '[']) await assert.rejects(new Request(AT, post(text)).json(), SyntaxError)
  },
  'a form is given back as a form': async ({ Request }) => {
    const form = new FormData()
    form.append('name', 'value')
    assert.equal((await new Request(AT, post(form)).formData()).get('name'), 'value')
  },
})

file('request/request-consume-empty.any.js', {
  'no body is empty, and does not get used': async ({ Request }) => {
    const request = new Request(AT, { method: 'POST' })
    assert.equal(await request.text(), '')
    assert.equal((await request.arrayBuffer()).byteLength, 0)
    assert.equal(await (await request.blob()).text(), '')
    await assert.rejects(request.json())
    await assert.rejects(request.formData(), TypeError)
    assert.equal(request.bodyUsed, false)
    assert.ok((await new Request(AT, { method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded' } }).formData()) instanceof FormData)
    await assert.rejects(new Request(AT, { method: 'POST', headers: { 'content-type': 'multipart/form-data; boundary="b"' } }).formData(), TypeError)
  },
  'an empty body is empty, and does get used': async ({ Request }) => {
    for (const body of ['', new Blob([], { type: 'text/plain' }), new URLSearchParams(''), new ArrayBuffer()]) {
      const request = new Request(AT, post(body))
      assert.equal(await request.text(), '')
      assert.equal(request.bodyUsed, true)
    }
  },
  'an empty form is an empty text': async ({ Request }) => {
    assert.equal(await new Request(AT, post(new FormData())).text(), '')
  },
})

file('request/request-disturbed.any.js', {
  'a request without a body cannot be disturbed': async ({ Request }) => {
    const request = new Request(AT)
    assert.equal(request.body, null)
    await request.blob()
    assert.equal(request.bodyUsed, false)
    request.clone()
  },
  'a consumed one can be neither cloned nor copied nor consumed again, but given another body': async ({ Request }) => {
    const request = new Request(AT, post('x'))
    void request.blob()
    assert.equal(request.bodyUsed, true)
    assert.throws(() => request.clone(), TypeError)
    assert.throws(() => new Request(request), TypeError)
    await assert.rejects(request.blob(), TypeError)
    const other = new Request(request, { body: 'y' })
    assert.equal(other.bodyUsed, false)
    assert.equal(await other.text(), 'y')
  },
  'a request that another was made from is used, and keeps its body object': async ({ Request }) => {
    const request = new Request(AT, post('x'))
    const { body } = request
    const other = new Request(request)
    assert.equal(request.bodyUsed, true)
    assert.equal(request.body, body)
    assert.notEqual(other.body, body)
    assert.equal(await other.text(), 'x')
  },
  'so is one that another was made from with a body of its own': async ({ Request }) => {
    const request = new Request(AT, post('x'))
    const { body } = request
    const other = new Request(request, { body: 'y' })
    assert.equal(request.bodyUsed, true)
    assert.equal(request.body, body)
    assert.equal(await other.text(), 'y')
  },
  'a failed construction uses nothing up': ({ Request }) => {
    const request = new Request(AT, post('x'))
    for (const method of ['GET', 'CONNECT']) assert.throws(() => new Request(request, { method }), TypeError)
    assert.equal(request.bodyUsed, false)
    void new Request(request)
    assert.equal(request.bodyUsed, true)
  },
})
