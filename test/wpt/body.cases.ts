import assert from 'node:assert/strict'

import { CONSUMERS, drain, file, form, streamOf, type BodyInit } from './suite.ts'

file('response/response-consume.html', {
  'a body of any kind can be consumed in every way, once': async ({ Response }) => {
    const json = '"grüße"'
    const bytes = new TextEncoder().encode(json)
    for (const body of [
      () => json,
      () => bytes,
      () => bytes.buffer,
      () => new DataView(bytes.buffer),
      () => new Blob([json]),
      () => streamOf(json),
    ] as (() => BodyInit)[]) {
      const results = { text: json, json: 'grüße', arrayBuffer: bytes.buffer, bytes, blob: json }
      for (const way of CONSUMERS) {
        const response = new Response(body())
        assert.equal(response.bodyUsed, false)
        const result: unknown = await response[way]()
        assert.deepEqual(way === 'blob' ? await (result as Blob).text() : result, results[way])
        assert.equal(response.bodyUsed, true)
        await assert.rejects(response.text(), TypeError)
      }
    }
  },
  'a byte order mark is left out of text and JSON, and kept in bytes': async ({ Response }) => {
    assert.equal(await new Response('\ufeffx').text(), 'x')
    assert.equal(await new Response('\ufeff1').json(), 1)
    assert.equal((await new Response('\ufeffx').bytes()).length, 4)
  },
  'a blob has the Content-Type, tidied': async ({ Response }) => {
    assert.equal((await new Response('x', { headers: { 'content-type': 'Text/PLAIN;charset=utf-8' } }).blob()).type, 'text/plain;charset=utf-8')
    assert.equal((await new Response(new Blob(['x'], { type: 'text/plain' })).blob()).type, 'text/plain')
  },
  'forms come back as forms': async ({ Response }) => {
    for (const body of [form(), new URLSearchParams('field=content')]) {
      const data = await new Response(body).formData()
      assert.ok(data instanceof FormData)
      assert.equal(data.get('field'), 'content')
    }
    const withFile = form()
    withFile.append('f', new File(['abc'], 'a"b.txt', { type: 'text/x' }))
    const file = (await new Response(withFile).formData()).get('f') as File
    assert.deepEqual([file.name, file.type, await file.text()], ['a"b.txt', 'text/x', 'abc'])
  },
})

file('response/response-consume-empty.any.js', {
  'no body is empty, and does not get used': async ({ Response }) => {
    const response = new Response()
    assert.equal(await response.text(), '')
    assert.equal((await response.arrayBuffer()).byteLength, 0)
    assert.equal((await response.blob()).size, 0)
    await assert.rejects(response.json(), SyntaxError)
    await assert.rejects(response.formData(), TypeError)
    assert.equal(response.bodyUsed, false)
  },
  'a form of no body is empty when urlencoded and an error when multipart': async ({ Response }) => {
    assert.deepEqual([...(await new Response(null, { headers: { 'content-type': 'application/x-www-form-urlencoded;charset=UTF-8' } }).formData())], [])
    await assert.rejects(new Response(null, { headers: { 'content-type': 'multipart/form-data; boundary="b"' } }).formData(), TypeError)
  },
  'an empty body is empty, and does get used': async ({ Response }) => {
    for (const body of ['', new Blob([]), new URLSearchParams(''), new ArrayBuffer()]) {
      const response = new Response(body)
      assert.equal(await response.text(), '')
      assert.equal(response.bodyUsed, true)
    }
  },
})

file('response/response-consume-stream.any.js', {
  "every kind of body reads as a stream, with buffers of one's own too": async ({ Response }) => {
    for (const body of [
      () => 'some text',
      () => new Blob(['some text']),
      () => new TextEncoder().encode('some text').buffer,
      () => new URLSearchParams('some text'),
    ] as (() => BodyInit)[]) {
      for (const mode of [undefined, 'byob'] as const)
        assert.match(await drain(new Response(body()).body!.getReader({ mode } as { mode: 'byob' })), /^some.text=?$/)
    }
    assert.match(await drain(new Response(form()).body!.getReader({ mode: 'byob' })), /name="field"\r\n\r\ncontent/)
  },
  'an empty body is an empty stream, an error and a redirect have none': async ({ Response }) => {
    assert.equal(await drain(new Response('').body!.getReader()), '')
    assert.equal(await drain(new Response(new Blob([])).body!.getReader()), '')
    assert.equal(Response.error().body, null)
    assert.equal(Response.redirect('http://host.test/').body, null)
  },
  'a reader fills the buffer it brings, from the offset on': async ({ Response }) => {
    const reader = new Response('abcdef').body!.getReader({ mode: 'byob' })
    const { value } = await reader.read(new Uint8Array(new ArrayBuffer(6), 3))
    assert.equal(Buffer.from(value!.buffer).toString(), '\0\0\0abc')
  },
})

file('response/response-cancel-stream.any.js', {
  'a body can be cancelled before, while and after it is read': async ({ Response }) => {
    await new Response(new Blob([])).body!.cancel()
    const reading = new Response(new Blob(['data'])).body!.getReader()
    void reading.read()
    await reading.cancel()
    const read = new Response(new Blob(['T'])).body!.getReader()
    await drain(read)
    await read.cancel()
  },
  'the body stays the same object': async ({ Response }) => {
    const response = new Response('x')
    const { body } = response
    await body!.cancel()
    assert.equal(response.body, body)
  },
})

file('response/response-error-from-stream.any.js', {
  'the error of a stream is the error of what consumes it': async ({ Response }) => {
    for (const when of ['start', 'pull'] as const) {
      for (const way of [...CONSUMERS, 'formData'] as const) {
        const error = new Error('of the stream')
        await assert.rejects(
          new Response(new ReadableStream({ [when]: (controller: ReadableStreamDefaultController) => controller.error(error) }))[way](),
          error,
        )
      }
    }
  },
})

file('response/response-from-stream.any.js', {
  'a stream that is locked, read or was read makes no response': async ({ Response }) => {
    const locked = new ReadableStream()
    locked.getReader()
    const beingRead = new ReadableStream()
    void beingRead.getReader().read()
    const wasRead = new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array()) })
    const reader = wasRead.getReader()
    await reader.read()
    reader.releaseLock()
    for (const stream of [locked, beingRead, wasRead]) assert.throws(() => new Response(stream), TypeError)
  },
})

file('response/response-stream-bad-chunk.any.js', {
  'a chunk that is no Uint8Array is a TypeError': async ({ Response }) => {
    for (const way of [...CONSUMERS, 'formData'] as const)
      await assert.rejects(
        new Response(new ReadableStream({ start: (controller) => (controller.enqueue('text' as never), controller.close()) }))[way](),
        TypeError,
      )
  },
})

const sources: [string, () => BodyInit][] = [
  ['string', () => '{"a":1}'],
  ['stream', () => streamOf('{"a":1}')],
]

file('response/response-stream-disturbed-1.any.js', {
  'a lock taken and released leaves the body as it was': async ({ Response }) => {
    for (const [, body] of sources) {
      for (const way of CONSUMERS) {
        const response = new Response(body())
        response.body!.getReader().releaseLock()
        assert.ok(await response[way]())
      }
    }
  },
})

file('response/response-stream-disturbed-2.any.js', {
  'a locked body is not consumed': async ({ Response }) => {
    for (const [, body] of sources) {
      for (const way of CONSUMERS) {
        const response = new Response(body())
        response.body!.getReader()
        await assert.rejects(response[way](), TypeError)
      }
    }
  },
})

file('response/response-stream-disturbed-3.any.js', {
  'a body that was read from is not consumed, also while the read goes on': async ({ Response }) => {
    for (const [, body] of sources) {
      for (const way of CONSUMERS) {
        const response = new Response(body())
        void response.body!.getReader().read()
        await assert.rejects(response[way](), TypeError)
      }
    }
  },
})

file('response/response-stream-disturbed-4.any.js', {
  'a body that was cancelled is not consumed': async ({ Response }) => {
    for (const [, body] of sources) {
      for (const way of CONSUMERS) {
        const response = new Response(body())
        await response.body!.cancel()
        await assert.rejects(response[way](), TypeError)
      }
    }
  },
})

file('response/response-stream-disturbed-5.any.js', {
  'what is being consumed gives no reader': ({ Response }) => {
    for (const [, body] of sources) {
      for (const way of CONSUMERS) {
        const response = new Response(body())
        void response[way]()
        assert.notEqual(response.body, null)
        assert.throws(() => response.body!.getReader(), TypeError)
      }
    }
  },
})

file('response/response-stream-disturbed-6.any.js', {
  'bodyUsed turns true with the first read or cancellation, not with a lock': ({ Response }) => {
    const starts = [
      undefined,
      (controller: ReadableStreamDefaultController) => controller.close(),
      (controller: ReadableStreamDefaultController) => controller.error(new Error('e')),
    ]
    for (const start of starts) {
      for (const use of ['read', 'cancel'] as const) {
        const stream = new ReadableStream(start ? { start } : {})
        const response = new Response(stream)
        const reader = stream.getReader()
        assert.equal(response.bodyUsed, false)
        reader[use]().then(null, () => {})
        assert.equal(response.bodyUsed, true)
      }
    }
  },
})

file('response/response-stream-disturbed-by-pipe.any.js', {
  'a pipe disturbs at once, even one that reads nothing yet': ({ Response }) => {
    const sink = (): WritableStream => new WritableStream({}, { highWaterMark: 0 })
    const piped = new Response(new ReadableStream())
    void piped.body!.pipeTo(sink())
    assert.equal(piped.bodyUsed, true)
    const through = new Response(new ReadableStream())
    through.body!.pipeThrough({ writable: sink(), readable: new ReadableStream() })
    assert.equal(through.bodyUsed, true)
  },
})

const proto = Object.prototype as { then?: unknown }

file('response/response-stream-with-broken-then.any.js', {
  'a then on Object.prototype cannot slip in another chunk': async ({ Response }) => {
    for (const lie of [{ done: false, value: new TextEncoder().encode('bye') }, { done: false, value: undefined }, undefined, 8.2]) {
      const response = new Response(streamOf('hello'))
      proto.then = (resolve: (value: unknown) => void) => {
        delete proto.then
        resolve(lie)
      }
      try {
        const text = await response.text()
        delete proto.then
        assert.equal(text, 'hello')
      } finally {
        delete proto.then
      }
    }
  },
  'nor change bytes on their way to text': async ({ Response }) => {
    const response = new Response(new TextEncoder().encode('hello'))
    proto.then = (resolve: (value: unknown) => void) => {
      delete proto.then
      resolve({ done: false, value: new Uint8Array([98]) })
    }
    try {
      const text = await response.text()
      delete proto.then
      assert.equal(text, 'hello')
    } finally {
      delete proto.then
    }
  },
})
