import assert from 'node:assert/strict'

import { drain, file, form, streamOf, type BodyInit } from './suite.ts'

file('response/response-init-001.any.js', {
  'an empty response has the defaults': ({ Response }) => {
    const { type, url, ok, status, statusText, body, redirected } = new Response()
    assert.deepEqual([type, url, ok, status, statusText, body, redirected], ['default', '', true, 200, '', null, false])
  },
  'status and statusText are taken over, and ok follows': ({ Response }) => {
    for (const status of [200, 299, 300, 404, 599]) {
      const response = new Response('', { status })
      assert.equal(response.status, status)
      assert.equal(response.ok, status < 300)
    }
    for (const statusText of ['', 'Fine', 'two words', '\x80']) assert.equal(new Response('', { statusText }).statusText, statusText)
  },
  'headers are one object for good': ({ Response }) => {
    const response = new Response('', { headers: { a: 'b' } })
    const { headers } = response
    response.headers.set('a', 'c')
    assert.equal(headers.get('a'), 'c')
    assert.equal(response.headers, headers)
  },
})

file('response/response-init-002.any.js', {
  'headers come from headers': ({ Response, Headers }) => {
    assert.equal(new Response('', { headers: new Headers({ one: '1' }) }).headers.get('one'), '1')
  },
  'each kind of body brings its type and can be read as text': async ({ Response }) => {
    const bodies: [BodyInit, string, string][] = [
      [new Blob(['in a blob'], { type: 'application/x-b' }), 'application/x-b', 'in a blob'],
      [form(), 'multipart/form-data', 'name="field"\r\n\r\ncontent'],
      [new URLSearchParams('a=b'), 'application/x-www-form-urlencoded;charset=UTF-8', 'a=b'],
      ['text', 'text/plain;charset=UTF-8', 'text'],
    ]
    for (const [body, type, text] of bodies) {
      const response = new Response(body)
      assert.ok(response.headers.get('content-type')!.startsWith(type))
      assert.ok((await response.text()).includes(text))
    }
  },
  'the body is a stream of its bytes': async ({ Response }) => {
    assert.equal(await drain(new Response('streamed').body!.getReader()), 'streamed')
  },
  'an empty Content-Type makes a blob without a type': async ({ Response }) => {
    assert.equal((await new Response('x', { headers: [['content-type', '']] }).blob()).type, '')
  },
  'a null body stays null': ({ Response }) => assert.equal(new Response(null, { status: 204 }).body, null),
})

const kinds: [string, () => BodyInit | undefined, string | null][] = [
  ['nothing', () => undefined, null],
  ['a blob without a type', () => new Blob([]), null],
  ['a blob with a type', () => new Blob([], { type: 'a/b; c=d' }), 'a/b; c=d'],
  ['bytes', () => new Uint8Array(), null],
  ['parameters', () => new URLSearchParams(), 'application/x-www-form-urlencoded;charset=UTF-8'],
  ['a string', () => '', 'text/plain;charset=UTF-8'],
  ['a stream', () => new ReadableStream(), null],
]

file('response/response-init-contenttype.any.js', {
  'the type follows from the body': ({ Response }) => {
    for (const [what, body, type] of kinds) assert.equal(new Response(body()).headers.get('content-type'), type, what)
  },
  "a form's type has the boundary that its text has": async ({ Response }) => {
    const response = new Response(form())
    const type = response.headers.get('content-type')
    assert.equal(type, `multipart/form-data; boundary=${(await response.text()).split('\r\n')[0]!.slice(2)}`)
  },
  'a given type wins': ({ Response }) => {
    for (const [what, body] of kinds)
      assert.equal(new Response(body(), { headers: { 'Content-Type': 'own/type; x=y' } }).headers.get('content-type'), 'own/type; x=y', what)
  },
})

file('response/response-error.any.js', {
  'a status out of range is a RangeError': ({ Response }) => {
    for (const status of [0, 100, 199, 600, 1000]) assert.throws(() => new Response('', { status }), RangeError)
  },
  'a statusText that no status line can hold is a TypeError': ({ Response }) => {
    for (const statusText of ['\n', '\u0100']) assert.throws(() => new Response('', { statusText }), TypeError)
  },
  'a status without a body takes none': ({ Response }) => {
    for (const status of [204, 205, 304]) assert.throws(() => new Response('x', { status }), TypeError)
  },
})

file('response/response-static-error.any.js', {
  'an error response is empty, typed and immutable': ({ Response }) => {
    const response = Response.error()
    assert.deepEqual([response.type, response.status, response.statusText, response.ok, response.body], ['error', 0, '', false, null])
    assert.throws(() => response.headers.append('a', 'b'), TypeError)
  },
})

file('response/response-static-redirect.any.js', {
  'a redirect has its status, its Location and no text': ({ Response }) => {
    for (const status of [undefined, 301, 302, 303, 307, 308] as const) {
      const response = Response.redirect('http://host.test:81/', status)
      assert.deepEqual([response.type, response.redirected, response.ok, response.status, response.statusText], ['default', false, false, status ?? 302, ''])
      assert.equal(response.headers.get('location'), 'http://host.test:81/')
    }
  },
  'what is no URL is a TypeError, what is no redirect a RangeError': ({ Response }) => {
    assert.throws(() => Response.redirect('http://:no'), TypeError)
    for (const status of [200, 304, 309, 500]) assert.throws(() => Response.redirect('http://host.test/', status as 302), RangeError)
  },
})

file('response/response-static-json.any.js', {
  'init is taken over, and the type is JSON unless another is given': async ({ Response }) => {
    const response = Response.json('v', { status: 400, statusText: 'no', headers: { 'x-a': 'b' } })
    assert.deepEqual(
      [response.type, response.status, response.statusText, response.headers.get('x-a'), response.headers.get('content-type')],
      ['default', 400, 'no', 'b', 'application/json'],
    )
    assert.equal(await response.json(), 'v')
    assert.equal(Response.json(1, { headers: { 'content-type': 'x/y' } }).headers.get('content-type'), 'x/y')
    assert.deepEqual(await Response.json({ a: [1] }).json(), { a: [1] })
  },
  'a status without a body is refused': ({ Response }) => {
    for (const status of [204, 205, 304]) assert.throws(() => Response.json('v', { status }), TypeError)
  },
  'what has no JSON is refused, errors of serialising come through': ({ Response }) => {
    const circle: Record<string, unknown> = {}
    circle['self'] = circle
    for (const data of [Symbol('s'), undefined, circle]) assert.throws(() => Response.json(data), TypeError)
    class Own extends Error {}
    assert.throws(
      () =>
        Response.json({
          get a() {
            throw new Own()
          },
        }),
      Own,
    )
  },
  'text is UTF-8, half characters are escaped': async ({ Response }) => {
    assert.deepEqual([...(await Response.json('\u{1D306}').bytes())], [34, 240, 157, 140, 134, 34])
    assert.equal(await Response.json('\uDEAD').text(), '"\\udead"')
  },
})

file('response/response-clone.any.js', {
  'a clone has the same attributes and headers of its own': ({ Response }) => {
    const response = new Response('x', { status: 201, statusText: 'Made', headers: { name: 'value' } })
    const clone = response.clone()
    assert.deepEqual([clone.type, clone.url, clone.ok, clone.status, clone.statusText, clone.headers.get('name')], ['default', '', true, 201, 'Made', 'value'])
    clone.headers.set('name', 'other')
    assert.equal(response.headers.get('name'), 'value')
    assert.equal(new Response().clone().body, null)
  },
  'both bodies can be read': async ({ Response }) => {
    for (const body of [() => 'text', () => streamOf('text'), () => new Blob(['text']), () => new TextEncoder().encode('text')]) {
      const response = new Response(body())
      const clone = response.clone()
      assert.equal(await drain(response.body!.getReader()), 'text')
      assert.equal(await clone.text(), 'text')
    }
  },
  'cancelling one leaves the other': async ({ Response }) => {
    const response = new Response(streamOf('whole'))
    const clone = response.clone()
    void response.body!.cancel()
    assert.equal(response.bodyUsed, true)
    assert.equal(clone.bodyUsed, false)
    assert.equal(await clone.text(), 'whole')
  },
  'a used response has no clone': async ({ Response }) => {
    const response = new Response('x')
    await response.text()
    assert.throws(() => response.clone(), TypeError)
  },
  'the clone of a stream gets chunks of its own, of the same type': async ({ Response }) => {
    for (const chunk of [
      new Uint8Array([1, 2]),
      new Int16Array([3, 4]),
      new ArrayBuffer(4),
      new DataView(new ArrayBuffer(8), 2, 4),
      new Float64Array(1),
      new BigInt64Array(1),
    ]) {
      const response = new Response(new ReadableStream({ start: (controller) => (controller.enqueue(chunk as Uint8Array), controller.close()) }))
      const clone = response.clone()
      assert.equal((await response.body!.getReader().read()).value as unknown, chunk)
      const { value } = (await clone.body!.getReader().read()) as { value: unknown }
      assert.notEqual(value, chunk)
      assert.deepEqual(value, chunk)
      assert.equal(Object.getPrototypeOf(value), Object.getPrototypeOf(chunk))
    }
  },
})

file('response/json.any.js', {
  'of two equal keys the last value and the first place count': async ({ Response }) => {
    const value = (await new Response('\ufeff{"b":1,"a":2,"b":3}').json()) as Record<string, number>
    assert.deepEqual(Object.entries(value), [
      ['b', 3],
      ['a', 2],
    ])
  },
})

file('response/response-headers-guard.any.js', {
  'the headers of what fetch gives cannot be changed': async ({ fetch }) => {
    const response = await fetch('data:text/plain,x')
    assert.throws(() => response.headers.append('a', 'b'), TypeError)
  },
})
