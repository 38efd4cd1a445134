import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'

import { createLogger } from '../telemetry/logger.ts'
import type { CertificatePair } from './messages.ts'
import { openAccessLog, openCertificates } from './operator-files.ts'

const directory = mkdtempSync(join(tmpdir(), 'hostel-files-'))
const file = (name: string): string => join(directory, name)
const log = createLogger('test')
log.level = 'silent'

const make = (name: string): void => {
  const what = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=${name} -keyout ${file(`${name}.key`)} -out ${file(`${name}.pem`)}`
  execFileSync('openssl', what.split(' '), { stdio: 'ignore' })
}

describe("the operator's certificates", () => {
  before(() => {
    make('a')
    make('b')
    writeFileSync(file('no.pem'), 'nothing')
    writeFileSync(file('large.pem'), 'x'.repeat(300_000))
  })
  after(() => rmSync(directory, { recursive: true }))

  for (const [what, certificate, key, pattern] of [
    ['are missing', 'gone.pem', 'a.key', /--tls-cert: cannot read .*gone\.pem \(ENOENT\)/],
    ['are no PEM', 'no.pem', 'a.key', /no certificate and key in PEM form/],
    ['are too large', 'large.pem', 'a.key', /more than 262144 bytes/],
    ['have the key of another', 'a.pem', 'b.key', /b\.key is not the key of .*a\.pem/],
  ] as const) {
    it(`are refused, by name, when they ${what}`, () => {
      assert.throws(() => openCertificates([{ certificate: file(certificate), key: file(key) }], log), { code: 'invalid_input', message: pattern })
    })
  }

  it('are read again when told, and stay when the new ones are of no use', () => {
    const certificates = openCertificates([{ certificate: file('a.pem'), key: file('a.key') }], log)
    const seen: CertificatePair[][] = []
    certificates.onChange((pairs) => seen.push(pairs))
    const [before] = certificates.pairs
    writeFileSync(file('a.pem'), 'nothing')
    certificates.reload()
    assert.deepEqual([certificates.pairs, seen.length], [[before], 0])
    make('a')
    certificates.reload()
    assert.equal(seen.length, 1)
    assert.notEqual(certificates.pairs[0]!.certificate, before!.certificate)
    certificates.close()
  })

  it('and an access log that cannot be written is refused by name', () => {
    assert.throws(() => openAccessLog(join(directory, 'none', 'access.log')), { code: 'invalid_input', message: /--access-log: cannot write .* \(ENOENT\)/ })
  })
})
