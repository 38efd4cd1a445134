import assert from 'node:assert/strict'

import { drain, file, streamOf, type BodyInit, type HeadersInit, type RequestInit } from './suite.ts'

const AT = 'http://host.test/path'
const post = (body: BodyInit | null): RequestInit => ({ method: 'POST', body })

file('request/request-structure.any.js', {
  'all members are there': ({ Request }) => {
    const request = new Request(AT)
    for (const member of ['clone', 'arrayBuffer', 'blob', 'bytes', 'formData', 'json', 'text', 'signal', 'body']) assert.ok(member in request, member)
  },
  'attributes have their defaults and cannot be set': ({ Request }) => {
    const request = new Request(AT)
    const expected = {
      method: 'GET',
      url: AT,
      destination: '',
      referrer: 'about:client',
      referrerPolicy: '',
      mode: 'cors',
      credentials: 'same-origin',
      cache: 'default',
      redirect: 'follow',
      integrity: '',
      isReloadNavigation: false,
      isHistoryNavigation: false,
      duplex: 'half',
      bodyUsed: false,
      keepalive: false,
    }
    for (const [name, value] of Object.entries(expected)) {
      assert.equal(Reflect.set(request, name, 'other'), false, name)
      assert.equal((request as unknown as Record<string, unknown>)[name], value, name)
    }
  },
  'priority and the like are not shown': ({ Request }) => {
    for (const name of ['priority', 'internalpriority', 'blocking']) assert.equal(name in new Request(AT), false)
  },
})

file('request/request-error.any.js', {
  'bad arguments are TypeErrors': ({ Request }) => {
    const bad: [string, object?][] = [
      ['http://:no'],
      ['http://user:pass@host.test'],
      [AT, { window: 'http://host.test' }],
      [AT, { mode: 'navigate' }],
      [AT, { referrer: 'http://:no' }],
      [AT, { method: 'IN VALID' }],
      [AT, { method: 'TRACE' }],
      [AT, { mode: 'no-cors', method: 'PUT' }],
      [AT, { cache: 'only-if-cached', mode: 'cors' }],
      [AT, { cache: 'only-if-cached', mode: 'no-cors' }],
      ...['referrerPolicy', 'mode', 'credentials', 'cache', 'redirect'].map((name): [string, object] => [AT, { [name]: 'BAD' }]),
    ]
    for (const [url, init] of bad) assert.throws(() => new Request(url, init), TypeError, JSON.stringify([url, init]))
    assert.throws(() => new (Request as unknown as new () => Request)(), TypeError)
    assert.throws(() => (Request as unknown as (url: string) => void)(AT), TypeError)
  },
  'only-if-cached is fine with same-origin': ({ Request }) => {
    assert.equal(new Request(AT, { cache: 'only-if-cached', mode: 'same-origin' }).cache, 'only-if-cached')
  },
  'content-type comes from the given request, unless headers are given': ({ Request }) => {
    const first = new Request(AT, { headers: { 'content-type': 'own' } })
    assert.equal(new Request(first).headers.get('content-type'), 'own')
    assert.equal(new Request(first, { headers: {} }).headers.has('content-type'), false)
    assert.equal(new Request(new Request(AT, { ...post('x'), headers: { a: 'b' } })).headers.get('content-type'), 'text/plain;charset=UTF-8')
    assert.equal(new Request(new Request(AT, { ...post('x'), headers: { 'content-type': 'own' } })).headers.get('content-type'), 'own')
  },
})

file('request/forbidden-method.any.js', {
  'methods that are not for requests are refused in any case': ({ Request }) => {
    for (const method of ['CONNECT', 'TRACE', 'TRACK', 'connect', 'trace', 'track']) assert.throws(() => new Request(AT, { method }), TypeError)
  },
})

file('request/request-method.html', {
  'six methods become upper case, others stay': ({ Request }) => {
    for (const method of ['delete', 'get', 'head', 'options', 'post', 'put']) assert.equal(new Request(AT, { method }).method, method.toUpperCase())
    for (const method of ['patch', 'Custom', 'FOO']) assert.equal(new Request(AT, { method }).method, method)
  },
})

file('request/request-init-001.sub.html', {
  'what is given is there': ({ Request }) => {
    const init = {
      method: 'PUT',
      referrerPolicy: 'origin',
      mode: 'same-origin',
      credentials: 'include',
      cache: 'no-store',
      redirect: 'manual',
      integrity: 'sha256-x',
      keepalive: true,
    } as const
    const request = new Request(AT, init) as unknown as Record<string, unknown>
    for (const [name, value] of Object.entries(init)) assert.equal(request[name], value, name)
    assert.equal(new Request(AT, { referrer: '' }).referrer, '')
    const copy = new Request(new Request(AT, init)) as unknown as Record<string, unknown>
    for (const [name, value] of Object.entries(init)) assert.equal(copy[name], value, name)
    assert.equal(new Request(new Request(AT, init), { method: 'GET' }).referrerPolicy, '')
  },
  'a URL is parsed and written anew, with its fragment': ({ Request }) => {
    assert.equal(new Request(new URL('HTTP://Host.test:80/a/../b?c#d')).url, 'http://host.test/b?c#d')
  },
})

file('request/request-init-002.any.js', {
  'headers come from headers': ({ Request, Headers }) => assert.equal(new Request(AT, { headers: new Headers({ a: 'b' }) }).headers.get('a'), 'b'),
  'each kind of body brings its type, and GET and HEAD take none': async ({ Request }) => {
    const form = new FormData()
    form.append('field', 'content')
    const bodies: [unknown, string | null, string][] = [
      [undefined, null, ''],
      [null, null, ''],
      [new Blob(['blob'], { type: 'x/b' }), 'x/b', 'blob'],
      [form, 'multipart/form-data', 'name="field"\r\n\r\ncontent'],
      ['text', 'text/plain;charset=UTF-8', 'text'],
      [{ toString: () => 'hi' }, 'text/plain;charset=UTF-8', 'hi'],
      [new URLSearchParams('a=b'), 'application/x-www-form-urlencoded;charset=UTF-8', 'a=b'],
    ]
    for (const [body, type, text] of bodies) {
      const request = new Request(AT, post(body as BodyInit))
      const got = request.headers.get('content-type')
      assert.ok(type === null ? got === null : got!.startsWith(type))
      assert.ok((await request.text()).includes(text))
      for (const method of ['GET', 'HEAD']) {
        const make = (): Request => new Request(AT, { method, body: body as BodyInit })
        if (type === null) make()
        else assert.throws(make, TypeError)
      }
    }
  },
})

file('request/request-init-contenttype.any.js', {
  'the type follows from the body, and a given one wins': ({ Request }) => {
    const kinds: [BodyInit, string | null][] = [
      [new Blob([]), null],
      [new Blob([], { type: 'a/b; c=d' }), 'a/b; c=d'],
      [new Uint8Array(), null],
      [new URLSearchParams(), 'application/x-www-form-urlencoded;charset=UTF-8'],
      ['', 'text/plain;charset=UTF-8'],
      [new ReadableStream(), null],
    ]
    for (const [body, type] of kinds) assert.equal(new Request(AT, { ...post(body), duplex: 'half' } as RequestInit).headers.get('content-type'), type)
    assert.equal(new Request(AT, { ...post('x'), headers: { 'content-type': 'own/type' } }).headers.get('content-type'), 'own/type')
  },
})

file('request/request-init-priority.any.js', {
  'the three priorities are taken, others are not': ({ Request }) => {
    for (const priority of ['high', 'low', 'auto', undefined]) new Request(AT, { priority } as RequestInit)
    assert.throws(() => new Request(AT, { priority: 'urgent' } as unknown as RequestInit), TypeError)
  },
})

file('request/request-init-stream.any.js', {
  'a stream is held as it is': ({ Request }) => {
    const body = new ReadableStream()
    assert.equal(new Request(AT, { ...post(body), duplex: 'half' } as RequestInit).body, body)
  },
  'a stream that is locked, read or was read is refused': async ({ Request }) => {
    const locked = new ReadableStream()
    locked.getReader()
    const wasRead = new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array()) })
    const reader = wasRead.getReader()
    await reader.read()
    reader.releaseLock()
    for (const body of [locked, wasRead]) assert.throws(() => new Request(AT, { ...post(body), duplex: 'half' } as RequestInit), TypeError)
  },
  'a request whose body is locked or read makes another only with a body of its own': async ({ Request }) => {
    const locked = new Request(AT, post('x'))
    locked.body!.getReader()
    const read = new Request(AT, post('x'))
    const reader = read.body!.getReader()
    await reader.read()
    reader.releaseLock()
    for (const request of [locked, read]) {
      assert.throws(() => new Request(request), TypeError)
      assert.equal(await new Request(request, { body: 'y' }).text(), 'y')
    }
  },
  'duplex may be left out for all but streams': ({ Request }) => {
    for (const body of [null, 'x', new Uint8Array(3), new Blob([])]) {
      new Request(AT, post(body))
      new Request(AT, { ...post(body), duplex: 'half' } as RequestInit)
      assert.throws(() => new Request(AT, { ...post(body), duplex: 'full' } as unknown as RequestInit), TypeError)
    }
    assert.throws(() => new Request(AT, post(new ReadableStream())), TypeError)
    new Request(new Request(AT, { ...post(new ReadableStream()), duplex: 'half' } as RequestInit))
  },
})

file('request/request-keepalive.any.js', {
  'keepalive is off, can be on, and takes no stream': ({ Request }) => {
    assert.equal(new Request(AT).keepalive, false)
    const kept = new Request(AT, { keepalive: true })
    assert.equal(kept.keepalive, true)
    assert.equal(new Request(kept).keepalive, true)
    assert.equal(new Request(AT, { ...post('x'), keepalive: true }).keepalive, true)
    assert.throws(() => new Request(AT, { ...post(new ReadableStream()), keepalive: true, duplex: 'half' } as RequestInit), TypeError)
  },
})

file('request/request-constructor-init-body-override.any.js', {
  'another body can be given to a used request, and a request can be the init of another': async ({ Request }) => {
    const first = new Request(AT, post('first'))
    await first.text()
    assert.equal(await new Request(first, { body: 'second' }).text(), 'second')
    assert.equal(await new Request('http://other.test/', new Request(AT, post('first'))).text(), 'first')
  },
})

file('request/request-clone.sub.html', {
  'a clone has all the attributes, and a body and headers of its own': async ({ Request }) => {
    const request = new Request(AT, { ...post('x'), headers: { a: 'b' }, cache: 'reload', redirect: 'error' })
    const clone = request.clone()
    assert.deepEqual([clone.url, clone.method, clone.cache, clone.redirect, clone.headers.get('a')], [AT, 'POST', 'reload', 'error', 'b'])
    clone.headers.set('a', 'c')
    assert.equal(request.headers.get('a'), 'b')
    assert.equal(await clone.text(), 'x')
    assert.equal(request.bodyUsed, false)
    assert.equal(await drain(request.body!.getReader()), 'x')
  },
  'a streamed body can be read by both': async ({ Request }) => {
    const request = new Request(AT, { ...post(streamOf('both')), duplex: 'half' } as RequestInit)
    const clone = request.clone()
    assert.deepEqual(await Promise.all([request.text(), clone.text()]), ['both', 'both'])
  },
})

file('request/request-headers.any.js', {
  'headers are read from headers, pairs and records': ({ Request, Headers }) => {
    for (const headers of [new Headers([['a', 'b']]), [['a', 'b']], { a: 'b' }] as HeadersInit[])
      assert.equal(new Request(AT, { headers }).headers.get('a'), 'b')
  },
  'ordinary headers can be set': ({ Request }) => {
    for (const name of ['Content-Type', 'proxy', 'sec', 'Set-Cookie2', 'User-Agent']) {
      const { headers } = new Request(AT)
      headers.set(name, 'OK')
      assert.equal(headers.get(name), 'OK')
    }
  },
  'headers are one object for good': ({ Request }) => {
    const request = new Request(AT, { headers: { a: 'b' } })
    const { headers } = request
    headers.set('a', 'c')
    assert.equal(request.headers, headers)
  },
  'an empty Content-Type makes a blob without a type': async ({ Request }) => {
    assert.equal((await new Request(AT, { ...post('x'), headers: [['content-type', '']] }).blob()).type, '')
  },
  'headers that a browser keeps to itself are passed over': ({ Request }) => {
    const { headers } = new Request(AT, { headers: { cookie: 'a=b', host: 'x' } })
    assert.equal(headers.get('cookie'), null)
    assert.equal(headers.get('host'), null)
  },
})

file('headers/headers-no-cors.any.js', {
  'a request without CORS keeps to the safe headers': ({ Request }) => {
    const { headers } = new Request(AT, { mode: 'no-cors', headers: { potato: 'x', accept: 'y' } })
    assert.equal(headers.get('accept'), 'y')
    assert.equal(headers.get('potato'), null)
  },
})

file('abort/request.any.js', {
  "the signal follows the given one, and a clone's follows it": ({ Request }) => {
    const controller = new AbortController()
    const request = new Request(AT, { signal: controller.signal })
    const clone = request.clone()
    const copy = new Request(request)
    assert.notEqual(request.signal, controller.signal)
    assert.equal(request.signal, request.signal)
    const reason = new Error('enough')
    controller.abort(reason)
    for (const { signal } of [request, clone, copy]) assert.equal(signal.reason, reason)
    assert.equal(new Request(request, { signal: null }).signal.aborted, false)
    assert.throws(() => new Request(AT, { signal: {} as AbortSignal }), TypeError)
  },
  'an aborted request can still be read': async ({ Request }) => {
    const request = new Request(AT, { ...post('x'), signal: AbortSignal.abort() })
    assert.equal(request.signal.aborted, true)
    assert.equal(await request.text(), 'x')
  },
  'fetch uses the body of a request at once': async ({ Request, fetch }) => {
    const request = new Request('data:text/plain,x', { ...post('x'), signal: AbortSignal.abort() })
    void fetch(request).catch(() => {})
    await assert.rejects(request.text(), TypeError)
  },
})
