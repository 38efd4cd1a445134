/** Which addresses a connection may be made to, whatever name led there. Asked about the very address that is connected to. */
import { networkInterfaces } from 'node:os'

import { contains, embeddedIPv4, formatAddress, parseAddress, parseNetwork, specialKind } from './addresses.ts'
import type { Address } from './addresses.ts'

/** Why not, in words; undefined: it may. */
export type Guard = (address: Address, port: number) => string | undefined

/** Interfaces come and go; asking the kernel for each connection would cost more than the rest. */
const OWN_KEPT_MS = 5_000

/**
 * @param allow networks that the operator opened (`--egress-allow`), in valid form.
 * @param ownPorts ports of the server itself, which stay shut on this machine's addresses even then: a function has no business with the control API.
 */
export function createGuard(allow: readonly string[], ownPorts: readonly number[]): Guard {
  const allowed = allow.map((text) => parseNetwork(text)!)
  let own = new Set<string>()
  let ownReadAtMs = Number.NEGATIVE_INFINITY

  function isOwn(address: Address): boolean {
    const nowMs = performance.now()
    if (nowMs - ownReadAtMs > OWN_KEPT_MS) {
      own = ownAddresses()
      ownReadAtMs = nowMs
    }
    const inner = embeddedIPv4(address)
    return own.has(formatAddress(address)) || (inner !== undefined && own.has(formatAddress(inner)))
  }

  return (address, port) => {
    const kind = specialKind(address)
    const ofThisMachine = kind?.startsWith('a loopback') || kind?.startsWith('an unspecified') || isOwn(address)
    if (ofThisMachine && ownPorts.includes(port)) return "it is the server's own port"
    if (allowed.some((network) => contains(network, address))) return undefined
    return kind ?? (ofThisMachine ? "one of this machine's own addresses" : undefined)
  }
}

function ownAddresses(): Set<string> {
  const texts = Object.values(networkInterfaces()).flatMap((entries) => (entries ?? []).map(({ address }) => address.replace(/%.*$/, '')))
  return new Set(texts.flatMap((text) => parseAddress(text) ?? []).map(formatAddress))
}
