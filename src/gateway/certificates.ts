/** TLS certificates by the names in them, replaced as a whole while connections live. */
import { X509Certificate } from 'node:crypto'
import { createSecureContext } from 'node:tls'
import type { SecureContext } from 'node:tls'

import type { CertificatePair } from '../keeper/messages.ts'

export interface Certificates {
  /** @throws Error when one can't be used; what there was before stays. */
  replace(pairs: CertificatePair[]): void
  /** For a name that a client asks for, in any case; the first certificate where none fits or none is asked for. */
  find(serverName: string | undefined): SecureContext | undefined
}

export function createCertificates(): Certificates {
  let byName = new Map<string, SecureContext>()
  let first: SecureContext | undefined
  return {
    replace(pairs) {
      const names = new Map<string, SecureContext>()
      const contexts = pairs.map(({ certificate, key }) => {
        const context = createSecureContext({ cert: certificate, key, minVersion: 'TLSv1.2' })
        // The first of several for a name is the one that was meant.
        for (const name of namesOf(certificate)) if (!names.has(name)) names.set(name, context)
        return context
      })
      byName = names
      first = contexts[0]
    },
    find(serverName) {
      const name = serverName?.toLowerCase() ?? ''
      return byName.get(name) ?? byName.get(`*${name.slice(name.indexOf('.') < 0 ? name.length : name.indexOf('.'))}`) ?? first
    },
  }
}

/** DNS names in lower case; a wildcard stands for one label. */
export function namesOf(certificate: string): string[] {
  const names = new X509Certificate(certificate).subjectAltName ?? ''
  return [...names.matchAll(/(?:^|, )DNS:([^,\s"]+)/g)].map((match) => match[1]!.toLowerCase())
}
