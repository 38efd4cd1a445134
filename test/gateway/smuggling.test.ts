/**
 * Request smuggling: ways to make two parties see different requests in the same bytes, known from public lists, retold. Each is sent to the real edge,
 * followed by bytes that a party which reads it otherwise would take for a second request. Verdicts: `refused` is one 400 and a closed connection; `two`
 * are two calls, the first with the body named, since the bytes behind the first request are one by every reading.
 */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'

import { frameFlags } from '../../src/sandbox/protocol.ts'
import { rawExchange, startGateway } from './lib/harness.ts'
import type { TestGateway } from './lib/harness.ts'

const LAST = frameFlags.END | frameFlags.SETTLED
const SMUGGLED = 'GET /default/hello/smuggled HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'

type Verdict = 'refused' | { two: string }

const post = (fields: string, body: string): string => `POST /default/hello/first HTTP/1.1\r\nHost: localhost\r\n${fields}\r\n${body}`
const chunked = (te: string, body = '0\r\n\r\n'): string => post(`${te}\r\n`, body)
const get = (line: string, fields = 'Host: localhost\r\n'): string => `${line}\r\n${fields}\r\n`

const vectors: [what: string, bytes: string, verdict: Verdict][] = [
  // Two lengths at once.
  ['CL.TE', post('Content-Length: 4\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'), 'refused'],
  ['TE.CL', post('Transfer-Encoding: chunked\r\nContent-Length: 3\r\n', '8\r\nSMUGGLED\r\n0\r\n\r\n'), 'refused'],
  ['CL.0 with TE', post('Content-Length: 0\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'), 'refused'],
  ['CL next to TE identity', post('Content-Length: 3\r\nTransfer-Encoding: identity\r\n', 'abc'), 'refused'],
  ['CL next to an empty TE', post('Content-Length: 3\r\nTransfer-Encoding: \r\n', 'abc'), 'refused'],
  ['CL next to an obfuscated TE', post('Content-Length: 3\r\nTransfer-Encoding: xchunked\r\n', 'abc'), 'refused'],

  // TE.TE: a coding that one party does not recognise.
  ['TE: identity', chunked('Transfer-Encoding: identity'), 'refused'],
  ['TE: chunked, identity', chunked('Transfer-Encoding: chunked, identity'), 'refused'],
  ['TE: chunked twice in a list', chunked('Transfer-Encoding: chunked, chunked'), 'refused'],
  ['TE: two fields, the last unknown', chunked('Transfer-Encoding: chunked\r\nTransfer-Encoding: x'), 'refused'],
  ['TE: two fields, both chunked', chunked('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked'), 'refused'],
  ['TE: gzip, chunked', chunked('Transfer-Encoding: gzip, chunked'), 'refused'],
  ['TE in quotes', chunked('Transfer-Encoding: "chunked"'), 'refused'],
  ['TE with a vertical tab', chunked('Transfer-Encoding: \x0bchunked'), 'refused'],
  ['TE with a form feed', chunked('Transfer-Encoding:\x0cchunked'), 'refused'],
  ['TE with a trailing parameter', chunked('Transfer-Encoding: chunked;a=b'), 'refused'],
  ['TE with trailing garbage', chunked('Transfer-Encoding: chunkedx'), 'refused'],
  ['TE after a NUL', chunked('Transfer-Encoding: \0chunked'), 'refused'],
  ['TE whose name ends in a space', chunked('Transfer-Encoding : chunked'), 'refused'],
  ['TE whose name ends in a tab', chunked('Transfer-Encoding\t: chunked'), 'refused'],
  ['TE whose name begins with a space', chunked(' Transfer-Encoding: chunked'), 'refused'],
  ['TE on a folded line', chunked('Transfer-Encoding:\r\n chunked'), 'refused'],
  ['TE behind a folded field', chunked('X: y\r\n Transfer-Encoding: chunked'), 'refused'],
  ['TE behind a bare line feed in a value', chunked('X: y\nTransfer-Encoding: chunked'), 'refused'],
  ['TE behind a bare carriage return in a value', chunked('X: y\rTransfer-Encoding: chunked'), 'refused'],
  ['TE in HTTP/1.0', 'POST /default/hello HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 'refused'],
  ['TE in capitals, which is the same', chunked('TRANSFER-ENCODING: CHUNKED', '3\r\nabc\r\n0\r\n\r\n'), { two: 'abc' }],
  ['TE with spaces around, which are none of it', chunked('Transfer-Encoding:   chunked  ', '3\r\nabc\r\n0\r\n\r\n'), { two: 'abc' }],
  ['TE with tabs around', chunked('Transfer-Encoding: \tchunked\t'), 'refused'],
  ['TE spelled with an underscore, which is another field', post('Transfer_Encoding: chunked\r\nContent-Length: 3\r\n', 'abc'), { two: 'abc' }],

  // Content-Length that two parties read differently.
  ['CL twice, different', post('Content-Length: 3\r\nContent-Length: 0\r\n', 'abc'), 'refused'],
  ['CL twice, the same', post('Content-Length: 3\r\nContent-Length: 3\r\n', 'abc'), 'refused'],
  ['CL as a list', post('Content-Length: 3, 3\r\n', 'abc'), 'refused'],
  ['CL with a plus', post('Content-Length: +3\r\n', 'abc'), 'refused'],
  ['CL with a minus', post('Content-Length: -3\r\n', 'abc'), 'refused'],
  ['CL in hexadecimal', post('Content-Length: 0x3\r\n', 'abc'), 'refused'],
  ['CL with an exponent', post('Content-Length: 3e0\r\n', 'abc'), 'refused'],
  ['CL with a fraction', post('Content-Length: 3.0\r\n', 'abc'), 'refused'],
  ['CL with a space inside', post('Content-Length: 1 3\r\n', 'abc'), 'refused'],
  ['CL with an underscore', post('Content-Length: 1_0\r\n', 'abc'), 'refused'],
  ['CL that is empty', post('Content-Length: \r\n', ''), 'refused'],
  ['CL beyond 64 bits', post('Content-Length: 18446744073709551619\r\n', 'abc'), 'refused'],
  ['CL with letters behind', post('Content-Length: 3a\r\n', 'abc'), 'refused'],
  ['CL with a vertical tab', post('Content-Length: \x0b3\r\n', 'abc'), 'refused'],
  ['CL whose name ends in a space', post('Content-Length : 3\r\n', 'abc'), 'refused'],
  ['CL on a folded line', post('Content-Length:\r\n 3\r\n', 'abc'), 'refused'],
  ['CL with leading zeros, which change nothing', post('Content-Length: 0003\r\n', 'abc'), { two: 'abc' }],
  ['CL of a GET, whose body is its body', 'GET /default/hello/first HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc', { two: 'abc' }],

  // Chunks.
  ['a chunk size in decimal disguise', chunked('Transfer-Encoding: chunked', '0x3\r\nabc\r\n0\r\n\r\n'), 'refused'],
  ['a chunk size with a plus', chunked('Transfer-Encoding: chunked', '+3\r\nabc\r\n0\r\n\r\n'), 'refused'],
  ['a chunk size with a minus', chunked('Transfer-Encoding: chunked', '-3\r\nabc\r\n0\r\n\r\n'), 'refused'],
  ['a chunk size behind a space', chunked('Transfer-Encoding: chunked', ' 3\r\nabc\r\n0\r\n\r\n'), 'refused'],
  ['a chunk size before a space', chunked('Transfer-Encoding: chunked', '3 \r\nabc\r\n0\r\n\r\n'), 'refused'],
  ['a chunk size with an underscore', chunked('Transfer-Encoding: chunked', '0_3\r\nabc\r\n0\r\n\r\n'), 'refused'],
  ['a chunk size beyond 64 bits', chunked('Transfer-Encoding: chunked', '10000000000000003\r\nabc\r\n0\r\n\r\n'), 'refused'],
  ['no chunk size', chunked('Transfer-Encoding: chunked', '\r\nabc\r\n0\r\n\r\n'), 'refused'],
  ['a chunk size ended by a bare line feed', chunked('Transfer-Encoding: chunked', '3\nabc\r\n0\r\n\r\n'), 'refused'],
  ['a chunk size ended by a bare carriage return', chunked('Transfer-Encoding: chunked', '3\rabc\r\n0\r\n\r\n'), 'refused'],
  ['a chunk ended by a bare line feed', chunked('Transfer-Encoding: chunked', '3\r\nabc\n0\r\n\r\n'), 'refused'],
  ['a chunk without an end', chunked('Transfer-Encoding: chunked', '3\r\nabc0\r\n\r\n'), 'refused'],
  ['a chunk longer than it says', chunked('Transfer-Encoding: chunked', '3\r\nabcd\r\n0\r\n\r\n'), 'refused'],
  ['a line feed in a chunk extension', chunked('Transfer-Encoding: chunked', '3;a\nb\r\nabc\r\n0\r\n\r\n'), 'refused'],
  ['a carriage return in a chunk extension', chunked('Transfer-Encoding: chunked', '3;a\rb\r\nabc\r\n0\r\n\r\n'), 'refused'],
  ['a last chunk ended by bare line feeds', chunked('Transfer-Encoding: chunked', '3\r\nabc\r\n0\n\n'), 'refused'],
  ['a trailer with a bare line feed', chunked('Transfer-Encoding: chunked', '3\r\nabc\r\n0\r\nX: y\nZ: a\r\n\r\n'), 'refused'],
  ['a trailer with a space before its colon', chunked('Transfer-Encoding: chunked', '3\r\nabc\r\n0\r\nX : y\r\n\r\n'), 'refused'],
  ['a chunk extension, which means nothing', chunked('Transfer-Encoding: chunked', '3;a=b;c="d"\r\nabc\r\n0;x\r\n\r\n'), { two: 'abc' }],
  ['a chunk size with leading zeros', chunked('Transfer-Encoding: chunked', '00003\r\nabc\r\n000\r\n\r\n'), { two: 'abc' }],
  ['a trailer that claims a length', chunked('Transfer-Encoding: chunked', '3\r\nabc\r\n0\r\nContent-Length: 50\r\n\r\n'), 'refused'],
  ['a trailer, which is dropped', chunked('Transfer-Encoding: chunked', '3\r\nabc\r\n0\r\nHost: other\r\n\r\n'), { two: 'abc' }],

  // Lines and fields.
  ['bare line feeds throughout', get('GET /default/hello HTTP/1.1').replaceAll('\r\n', '\n'), 'refused'],
  ['a head that ends in a bare line feed', 'GET /default/hello HTTP/1.1\r\nHost: localhost\r\n\n', 'refused'],
  ['a NUL in a value', get('GET /default/hello HTTP/1.1', 'Host: localhost\r\nX: a\0b\r\n'), 'refused'],
  ['a NUL in a name', get('GET /default/hello HTTP/1.1', 'Host: localhost\r\nX\0: a\r\n'), 'refused'],
  ['a control character in a value', get('GET /default/hello HTTP/1.1', 'Host: localhost\r\nX: a\x01b\r\n'), 'refused'],
  ['a name with a space inside', get('GET /default/hello HTTP/1.1', 'Host: localhost\r\nX Y: a\r\n'), 'refused'],
  ['a field without a colon', get('GET /default/hello HTTP/1.1', 'Host: localhost\r\nnonsense\r\n'), 'refused'],
  ['a field without a name', get('GET /default/hello HTTP/1.1', 'Host: localhost\r\n: a\r\n'), 'refused'],
  ['a space before the first field', get('GET /default/hello HTTP/1.1', ' Host: localhost\r\n'), 'refused'],
  ['obs-fold', get('GET /default/hello HTTP/1.1', 'Host: localhost\r\nX: a\r\n\tb\r\n'), 'refused'],

  // Request lines.
  ['HTTP/0.9', 'GET /default/hello\r\n', 'refused'],
  ['HTTP/2 preface', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'refused'],
  ['HTTP/1.2', get('GET /default/hello HTTP/1.2'), 'refused'],
  ['HTTP/01.1', get('GET /default/hello HTTP/01.1'), 'refused'],
  ['a lower-case protocol name', get('GET /default/hello http/1.1'), 'refused'],
  ['two spaces before the target, which mean one', get('GET  /default/hello/first HTTP/1.1'), { two: '' }],
  ['a tab before the target', get('GET\t/default/hello HTTP/1.1'), 'refused'],
  ['two spaces before the version, which mean one', get('GET /default/hello/first  HTTP/1.1'), { two: '' }],
  ['a space in the target', get('GET /default/hello /x HTTP/1.1'), 'refused'],
  ['a NUL in the target', get('GET /default/hello\0 HTTP/1.1'), 'refused'],
  ['bytes beyond ASCII in the target', get('GET /default/hello/\xe9 HTTP/1.1'), 'refused'],
  ['a fragment in the target', get('GET /default/hello#x HTTP/1.1'), 'refused'],
  ['an unknown method', get('SMUGGLE /default/hello HTTP/1.1'), 'refused'],
  ['a target without a slash', get('GET default/hello HTTP/1.1'), 'refused'],
  ['a target of another scheme', get('GET file:///default/hello HTTP/1.1'), 'refused'],
  ['a user in the target', get('GET http://a@localhost/default/hello HTTP/1.1'), 'refused'],

  // Hosts.
  ['no Host', get('GET /default/hello HTTP/1.1', ''), 'refused'],
  ['an empty Host', get('GET /default/hello HTTP/1.1', 'Host: \r\n'), 'refused'],
  ['two Hosts', get('GET /default/hello HTTP/1.1', 'Host: localhost\r\nHost: localhost\r\n'), 'refused'],
  ['two Hosts, in two spellings', get('GET /default/hello HTTP/1.1', 'Host: localhost\r\nhOST: other\r\n'), 'refused'],
  ['a list of Hosts', get('GET /default/hello HTTP/1.1', 'Host: localhost, other\r\n'), 'refused'],
  ['a Host with a path', get('GET /default/hello HTTP/1.1', 'Host: localhost/other\r\n'), 'refused'],
  ['a Host with a user', get('GET /default/hello HTTP/1.1', 'Host: a@localhost\r\n'), 'refused'],
  ['a Host with a bad port', get('GET /default/hello HTTP/1.1', 'Host: localhost:99999\r\n'), 'refused'],
  ['a Host with letters for a port', get('GET /default/hello HTTP/1.1', 'Host: localhost:80a\r\n'), 'refused'],
  ['a Host with a space', get('GET /default/hello HTTP/1.1', 'Host: local host\r\n'), 'refused'],
  ['a Host with a NUL', get('GET /default/hello HTTP/1.1', 'Host: localhost\0\r\n'), 'refused'],
  ['a Host on a folded line', get('GET /default/hello HTTP/1.1', 'Host:\r\n localhost\r\n'), 'refused'],
  ['an absolute target, which counts instead of the Host', get('GET http://localhost/default/hello/first HTTP/1.1', 'Host: other.example\r\n'), { two: '' }],
]

describe('bytes that two parties could read differently:', { timeout: 120_000 }, () => {
  let gateway: TestGateway
  const calls: { url: string; body: string }[] = []

  before(async () => {
    gateway = await startGateway(async (request, answer) => {
      let body = ''
      for await (const chunk of request.body()) body += chunk.toString()
      calls.push({ url: request.url, body })
      answer.head(200)
      await answer.body('ok', LAST)
    })
  })
  after(() => gateway[Symbol.asyncDispose]())

  for (const [what, bytes, verdict] of vectors) {
    it(what, async () => {
      calls.length = 0
      const text = await rawExchange(gateway.port, Buffer.from(bytes + SMUGGLED, 'latin1'))
      const statuses = [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map((match) => match[1])
      if (verdict === 'refused') {
        assert.deepEqual(statuses, ['400'], text)
        assert.deepEqual(
          calls.filter(({ url }) => url.endsWith('smuggled')),
          [],
        )
      } else {
        const expected = [
          { url: 'http://localhost/first', body: verdict.two },
          { url: 'http://localhost/smuggled', body: '' },
        ]
        // They run side by side.
        calls.sort((a, b) => a.url.localeCompare(b.url))
        assert.deepEqual(calls, expected, text)
        assert.deepEqual(statuses, ['200', '200'])
      }
    })
  }
})
