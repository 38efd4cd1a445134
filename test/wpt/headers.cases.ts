import assert from 'node:assert/strict'

import { file } from './suite.ts'

const given = { alpha: 'one', beta: null, gamma: undefined, delta: 4, 'Content-Type': 'a/b' } as unknown as Record<string, string>
const entries = Object.entries(given)

file('headers/headers-basic.any.js', {
  'nothing, undefined and an empty record make empty headers': ({ Headers }) => {
    for (const headers of [new Headers(), new Headers(undefined), new Headers({})]) assert.equal([...headers].length, 0)
  },
  'null and a number are refused': ({ Headers }) => {
    for (const init of [null, 1] as never[]) assert.throws(() => new Headers(init), TypeError)
  },
  'a sequence is not taken for a record': ({ Headers }) => {
    const headers = new Headers(entries)
    for (const [name, value] of entries) assert.equal(headers.get(name), String(value))
    assert.equal(headers.get('length'), null)
  },
  'a record is read with values as strings': ({ Headers }) => {
    for (const [name, value] of entries) assert.equal(new Headers(given).get(name), String(value))
  },
  'headers are copied from headers': ({ Headers }) => {
    const copy = new Headers(new Headers(given))
    for (const [name, value] of entries) assert.equal(copy.get(name), String(value))
  },
  "an iterator of one's own on headers is used": ({ Headers }) => {
    const headers = new Headers() as Headers & { [Symbol.iterator]: unknown }
    headers[Symbol.iterator] = function* (): Generator<[string, string]> {
      yield ['mine', 'yes']
    } as never
    assert.equal(new Headers(headers).get('mine'), 'yes')
  },
  'append, set, has, get and delete do what they say': ({ Headers }) => {
    const headers = new Headers()
    for (const [name, value] of entries) {
      headers.append(name, value)
      assert.equal(headers.get(name), String(value))
      headers.set(name, 'again')
      assert.equal(headers.get(name), 'again')
      assert.equal(headers.has(name), true)
      headers.delete(name)
      assert.equal(headers.has(name), false)
    }
    assert.equal(headers.has('absent'), false)
    assert.equal(headers.get('absent'), null)
  },
  'iterators are iterators by the book': ({ Headers }) => {
    const headers = new Headers(given)
    for (const iterator of [headers.keys(), headers.values(), headers.entries()]) {
      const prototype = Object.getPrototypeOf(iterator) as object
      assert.equal(Object.getPrototypeOf(prototype), Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]())))
      const { configurable, enumerable, writable } = Object.getOwnPropertyDescriptor(prototype, 'next')!
      assert.deepEqual([configurable, enumerable, writable], [true, true, true])
      while (!iterator.next().done);
      assert.equal(iterator.next().done, true)
    }
  },
  'keys come sorted and in lower case, values and entries with them': ({ Headers }) => {
    const headers = new Headers({ zeta: '1', Zet: '2', 'content-Type': '3', 'Content-Typ': '4', 'Content-Types': '5' })
    assert.deepEqual([...headers.keys()], ['content-typ', 'content-type', 'content-types', 'zet', 'zeta'])
    assert.deepEqual([...headers.values()], ['4', '3', '5', '2', '1'])
    assert.deepEqual([...headers], [...headers.entries()])
    const seen: unknown[] = []
    headers.forEach((value, name, container) => seen.push([name, value, container === headers]))
    assert.deepEqual(seen[0], ['content-typ', '4', true])
    assert.equal(seen.length, 5)
  },
  'what is removed during an iteration is not visited': ({ Headers }) => {
    const headers = new Headers({ c: '3', b: '2', a: '1' })
    const seen = []
    for (const [name] of headers) {
      seen.push(name)
      headers.delete('c')
    }
    assert.deepEqual(seen, ['a', 'b'])
  },
  'removing what was visited skips one': ({ Headers }) => {
    const headers = new Headers({ a: '1', b: '2', c: '3', d: '4' })
    const seen = []
    for (const [name] of headers) {
      seen.push(name)
      if (name === 'b') headers.delete('a')
    }
    assert.deepEqual(seen, ['a', 'b', 'd'])
  },
  'what is added behind is visited, what is added before shifts': ({ Headers }) => {
    const headers = new Headers({ b: '1', c: '2' })
    const seen = []
    for (const [name] of headers) {
      seen.push(name)
      if (seen.length === 1) headers.append('d', '3')
      if (seen.length === 2) headers.append('a', '0')
    }
    assert.deepEqual(seen, ['b', 'c', 'c', 'd'])
  },
})

file('headers/headers-casing.any.js', {
  'names are looked up, set and deleted in any case': ({ Headers }) => {
    const headers = new Headers({ 'X-Mixed': 'a' })
    assert.equal(headers.get('x-MIXED'), 'a')
    headers.append('x-mixed', 'b')
    assert.equal(headers.get('X-mixed'), 'a, b')
    headers.set('X-MIXED', 'c')
    assert.equal(headers.get('x-mixed'), 'c')
    headers.delete('x-Mixed')
    assert.equal(headers.has('X-Mixed'), false)
  },
})

file('headers/headers-combine.any.js', {
  'values of one name are joined by comma and blank, from the constructor and append': ({ Headers }) => {
    const headers = new Headers([
      ['x', 'a'],
      ['X', ''],
      ['x', 'b'],
    ])
    assert.equal(headers.get('x'), 'a, , b')
    headers.append('x', 'c')
    assert.deepEqual([...headers.values()], ['a, , b, c'])
  },
  'set replaces all of them and delete removes all': ({ Headers }) => {
    const headers = new Headers([
      ['x', 'a'],
      ['y', '1'],
      ['x', 'b'],
    ])
    headers.set('x', 'only')
    assert.equal(headers.get('x'), 'only')
    headers.append('x', 'more')
    headers.delete('x')
    assert.equal(headers.has('x'), false)
    assert.equal(headers.get('y'), '1')
  },
})

file('headers/headers-errors.any.js', {
  'pairs of one and of three are refused': ({ Headers }) => {
    for (const init of [[['only']], [['a', 'b', 'c']]] as never[]) assert.throws(() => new Headers(init), TypeError)
  },
  'names that are no tokens are refused by every method': ({ Headers }) => {
    for (const bad of ['nam\u0100', {}, 'a b', '', 'a:b'] as string[]) {
      const headers = new Headers()
      for (const call of [
        () => headers.get(bad),
        () => headers.has(bad),
        () => headers.delete(bad),
        () => headers.set(bad, 'v'),
        () => headers.append(bad, 'v'),
        () => new Headers([[bad, 'v']]),
      ])
        assert.throws(call, TypeError)
    }
  },
  'values beyond a byte are refused by every method': ({ Headers }) => {
    const headers = new Headers()
    for (const call of [() => headers.set('a', '\u0100'), () => headers.append('a', '\u0100'), () => new Headers([['a', '\u0100']])])
      assert.throws(call, TypeError)
  },
  'forEach takes functions only, and stops when one throws': ({ Headers }) => {
    const headers = new Headers([
      ['a', '1'],
      ['b', '2'],
      ['c', '3'],
    ])
    for (const bad of [undefined, 1] as never[]) assert.throws(() => headers.forEach(bad), TypeError)
    assert.throws(() => (headers.forEach as () => void)(), TypeError)
    let calls = 0
    const stop = new Error('stop')
    assert.throws(
      () =>
        headers.forEach((_, name) => {
          calls++
          if (name === 'b') throw stop
        }),
      stop,
    )
    assert.equal(calls, 2)
  },
})

const untidy: [string, string][] = [
  [' blank ', 'blank'],
  ['\ttab\t', 'tab'],
  ['\r\n folded', 'folded'],
  ['folded\r\n ', 'folded'],
  ['\t\f\tfeed\n', '\f\tfeed'],
  ['hard\xa0', 'hard\xa0'],
]

file('headers/headers-normalize.any.js', {
  'white space at the ends of a value goes, whichever way it came': ({ Headers }) => {
    for (const [value, tidy] of untidy) {
      assert.equal(new Headers({ x: value }).get('x'), tidy)
      const headers = new Headers()
      headers.append('x', value)
      assert.equal(headers.get('x'), tidy)
      headers.set('x', value)
      assert.equal(headers.get('x'), tidy)
    }
  },
})

file('headers/headers-structure.any.js', {
  'all members are there': ({ Headers }) => {
    const headers = new Headers()
    for (const member of ['append', 'delete', 'get', 'has', 'set', 'entries', 'keys', 'values', 'forEach', 'getSetCookie', Symbol.iterator])
      assert.ok(member in headers)
    assert.equal(Object.prototype.toString.call(headers), '[object Headers]')
  },
})

/** Which traps a constructor springs on a record. */
function traps(Constructor: typeof Headers, record: object): { names: string[]; error: unknown; headers?: Headers } {
  const names: string[] = []
  const handler = Object.fromEntries(
    Object.getOwnPropertyNames(Reflect).map((trap) => [
      trap,
      (...args: unknown[]) => {
        names.push(trap === 'ownKeys' ? trap : `${trap} ${String(args[1])}`)
        return (Reflect as unknown as Record<string, (...args: unknown[]) => unknown>)[trap]!(...args)
      },
    ]),
  )
  try {
    return { names, error: null, headers: new Constructor(new Proxy(record, handler) as never) }
  } catch (error) {
    return { names, error }
  }
}
const ITERATOR = 'get Symbol(Symbol.iterator)'

file('headers/headers-record.any.js', {
  'a record is asked for its keys, then for each descriptor and value in turn': ({ Headers }) => {
    const { names, headers } = traps(Headers, { a: 'b', c: 'd' })
    assert.deepEqual(names, [ITERATOR, 'ownKeys', 'getOwnPropertyDescriptor a', 'get a', 'getOwnPropertyDescriptor c', 'get c'])
    assert.deepEqual(
      [...headers!],
      [
        ['a', 'b'],
        ['c', 'd'],
      ],
    )
  },
  'what the prototype has does not count': ({ Headers }) => {
    const { names, headers } = traps(Headers, Object.create({ c: 'd' }, { a: { value: 'b', enumerable: true } }) as object)
    assert.deepEqual(names, [ITERATOR, 'ownKeys', 'getOwnPropertyDescriptor a', 'get a'])
    assert.deepEqual([...headers!.keys()], ['a'])
  },
  'a bad name is found before its value is read': ({ Headers }) => {
    const { names, error } = traps(Headers, { a: 'b', '\uffff': 'd' })
    assert.ok(error instanceof TypeError)
    assert.equal(names.at(-1), 'getOwnPropertyDescriptor \uffff')
  },
  'a bad value is found before the next name is looked at': ({ Headers }) => {
    const { names, error } = traps(Headers, { a: '\uffff', c: 'd' })
    assert.ok(error instanceof TypeError)
    assert.equal(names.at(-1), 'get a')
  },
  'what is not enumerable, or has no descriptor, is passed over': ({ Headers }) => {
    const record = Object.defineProperty({ c: 'd' } as object, 'a', { value: 'b', enumerable: false })
    assert.deepEqual([...traps(Headers, record).headers!.keys()], ['c'])
    const liar = new Proxy(
      { a: 'b', c: 'd' },
      { getOwnPropertyDescriptor: (target, name) => (name === 'a' ? undefined : Reflect.getOwnPropertyDescriptor(target, name)) },
    )
    assert.deepEqual([...traps(Headers, liar).headers!.keys()], ['c'])
  },
  'keys that come twice are refused': ({ Headers }) => {
    const liar = new Proxy({ a: 'b' }, { ownKeys: () => ['a', 'a'] })
    assert.ok(traps(Headers, liar).error instanceof TypeError)
  },
  'a symbol is refused when it is enumerable and passed over when it is not': ({ Headers }) => {
    const symbol = Symbol.toStringTag
    assert.ok(traps(Headers, { a: 'b', [symbol]: 'x' }).error instanceof TypeError)
    const hidden = Object.defineProperty({ a: 'b' }, symbol, { value: 'x', enumerable: false })
    assert.deepEqual([...traps(Headers, hidden).headers!.keys()], ['a'])
  },
})

file('headers/header-setcookie.any.js', {
  'get joins cookies, iteration keeps them apart and in order': ({ Headers }) => {
    const headers = new Headers([
      ['x-z', '1'],
      ['set-cookie', 'z=1'],
      ['a', '1'],
      ['Set-Cookie', 'a=2'],
      ['a', '2'],
      ['set-cookie2', 'p'],
      ['set-cookie2', 'q'],
    ])
    assert.equal(headers.get('set-cookie'), 'z=1, a=2')
    assert.deepEqual(
      [...headers],
      [
        ['a', '1, 2'],
        ['set-cookie', 'z=1'],
        ['set-cookie', 'a=2'],
        ['set-cookie2', 'p, q'],
        ['x-z', '1'],
      ],
    )
  },
  'an iteration follows cookies that come and go': ({ Headers }) => {
    const headers = new Headers([
      ['set-cookie', 'a'],
      ['set-cookie', 'b'],
      ['set-cookie', 'c'],
    ])
    const iterator = headers[Symbol.iterator]()
    assert.deepEqual(iterator.next().value, ['set-cookie', 'a'])
    headers.delete('set-cookie')
    for (const cookie of ['d', 'e']) headers.append('set-cookie', cookie)
    assert.deepEqual(iterator.next().value, ['set-cookie', 'e'])
    headers.append('accept', 'x')
    assert.deepEqual(iterator.next().value, ['set-cookie', 'e'])
    assert.equal(iterator.next().done, true)
  },
  'has, append, set and delete know cookies in any case': ({ Headers }) => {
    const headers = new Headers()
    headers.append('SET-cookie', 'a')
    headers.append('set-COOKIE', 'b')
    assert.equal(headers.has('sEt-cOokie'), true)
    headers.set('Set-Cookie', 'c')
    assert.deepEqual([...headers], [['set-cookie', 'c']])
    headers.delete('SET-COOKIE')
    assert.deepEqual([...headers], [])
  },
  'getSetCookie lists each cookie, equal and empty ones too': ({ Headers }) => {
    assert.deepEqual(new Headers().getSetCookie(), [])
    assert.deepEqual(new Headers({ 'Set-Cookie': 'a=b' }).getSetCookie(), ['a=b'])
    assert.deepEqual(
      new Headers([
        ['set-cookie', 'x'],
        ['set-cookie2', 'n'],
        ['set-cookie', ''],
        ['set-cookie', 'x'],
      ]).getSetCookie(),
      ['x', '', 'x'],
    )
  },
  'cookies are tidied and checked as other values': ({ Headers }) => {
    const headers = new Headers({ 'Set-Cookie': ' a=b\n' })
    headers.append('set-cookie', '\n\rc=d ')
    assert.deepEqual(headers.getSetCookie(), ['a=b', 'c=d'])
    for (const bad of ['\0', 'a\nb', 'a\rb']) assert.throws(() => headers.append('set-cookie', bad), TypeError)
  },
  "a response's headers take no cookies": ({ Response }) => {
    const { headers } = new Response()
    headers.append('set-cookie', 'a=b')
    assert.deepEqual(headers.getSetCookie(), [])
  },
})
