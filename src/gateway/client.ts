/** Who a request comes from: the other end of its connection, or whom a proxy in front names, if that proxy is trusted. */
import type { IncomingMessage } from 'node:http'
import { BlockList, isIP } from 'node:net'

import { HostelError } from '../errors.ts'
import type { Connection } from './connections.ts'

/** Proxies whose word is believed. */
export interface TrustedProxies {
  has(address: string): boolean
}

/** What a request says of where it comes from; each field's values in the order in which they came, joined by commas. */
export interface ForwardedFields {
  for: string
  proto: string
  host: string
}

export interface Origin {
  address: string
  scheme: 'http' | 'https'
  /** In place of the Host field, if a proxy has named one. */
  host: string | null
}

/** Entries that are looked at from the right: more proxies in a row than this are nobody's. */
const HOPS_MAX = 20

/** @throws HostelError `invalid_input` naming what is no network. */
export function trustedProxiesOf(networks: string[]): TrustedProxies {
  const list = new BlockList()
  for (const network of networks) {
    const [address = '', bits] = network.split('/')
    const version = isIP(address)
    const length = bits === undefined ? (version === 6 ? 128 : 32) : /^\d{1,3}$/.test(bits) ? Number(bits) : Number.NaN
    if (version === 0 || !(length <= (version === 6 ? 128 : 32)))
      throw new HostelError('invalid_input', `--trusted-proxies takes addresses and networks such as 10.0.0.0/8 or fd00::/8; got "${network}"`)
    list.addSubnet(address, length, version === 6 ? 'ipv6' : 'ipv4')
  }
  return {
    has: (address) => networks.length > 0 && isIP(address) !== 0 && list.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4'),
  }
}

/** IPv4 in its plain spelling, also where a socket for both families has mapped it. */
export function plainAddress(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address
}

/**
 * The client behind trusted proxies. Each proxy appends the address that it was called from, so the list is read from the right: the first
 * that is not one of ours is the client, and whatever stands left of it is what the client claims. Scheme and host are the nearest proxy's word.
 */
export function originOf(remoteAddress: string, fields: ForwardedFields, proxies: TrustedProxies, scheme: 'http' | 'https'): Origin {
  const hops = fields.for.split(',').slice(-HOPS_MAX)
  let address = remoteAddress
  while (hops.length > 0 && proxies.has(address)) {
    const hop = hopAddress(hops.pop()!.trim())
    if (hop === null) break
    address = hop
  }
  const proto = lastOf(fields.proto).toLowerCase()
  return { address, scheme: proto === 'http' || proto === 'https' ? proto : scheme, host: lastOf(fields.host) || null }
}

/** Some write a port behind it; what is no address at all is not believed. */
function hopAddress(hop: string): string | null {
  const bare = /^\[([^\]]+)\](?::\d+)?$/.exec(hop)?.[1] ?? /^([\d.]+):\d+$/.exec(hop)?.[1] ?? hop
  return isIP(bare) === 0 ? null : plainAddress(bare.toLowerCase())
}

function lastOf(list: string): string {
  return list.slice(list.lastIndexOf(',') + 1).trim()
}

/** For the access log, which also tells of requests that were not looked at further. */
export function clientAddressOf(req: IncomingMessage, { isProxy, remoteAddress, scheme }: Connection, proxies: TrustedProxies): string {
  if (!isProxy) return remoteAddress
  return originOf(remoteAddress, { for: String(req.headers['x-forwarded-for'] ?? ''), proto: '', host: '' }, proxies, scheme).address
}
