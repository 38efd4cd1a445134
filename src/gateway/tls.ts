/** The listener for TLS: agrees on certificate and protocol, and hands what comes of it to the edge. */
import { createServer } from 'node:tls'
import type { Server } from 'node:tls'

import type { CertificatePair } from '../keeper/messages.ts'
import { limits } from '../limits.ts'
import type { Logger } from '../telemetry/logger.ts'
import { createCertificates } from './certificates.ts'
import type { Edge } from './server.ts'

export interface TlsListener {
  /** Not yet listening. */
  server: Server
  /** New certificates; connections go on with those that they began with. @throws Error when one can't be used; nothing changes then. */
  replace(pairs: CertificatePair[]): void
}

export function createTlsListener(edge: Edge, logger: Logger): TlsListener {
  const certificates = createCertificates()
  const server = createServer({
    ALPNProtocols: ['h2', 'http/1.1'],
    minVersion: 'TLSv1.2',
    handshakeTimeout: limits.tlsHandshakeTimeoutMs,
    SNICallback: (serverName, done) => done(null, certificates.find(serverName)),
  })
  server.maxConnections = limits.connectionsMax
  server.on('secureConnection', (socket) => {
    socket.on('error', () => {})
    edge.takeSecure(socket, socket.alpnProtocol === 'h2')
  })
  server.on('tlsClientError', (error, socket) => {
    logger.debug({ err: error }, 'a TLS handshake failed')
    socket.destroy()
  })
  return {
    server,
    replace(pairs) {
      certificates.replace(pairs)
      // For clients that name no server.
      const [first] = pairs
      if (first) server.setSecureContext({ cert: first.certificate, key: first.key, minVersion: 'TLSv1.2' })
    },
  }
}
