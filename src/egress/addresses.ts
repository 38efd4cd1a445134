/** IP addresses as bytes: one form for every spelling, so that what is refused is refused however it is written. */
import { isIPv4, isIPv6 } from 'node:net'

/** 4 or 16 bytes; an IPv4-mapped IPv6 address is always its 4 bytes. */
export type Address = Uint8Array

/** A network: all addresses of the same family whose first `bits` bits are those of `base`. */
export interface Network {
  base: Address
  bits: number
}

/** The address that a text in its standard form names; undefined for zone ids and for any other spelling (octal, hexadecimal, short). */
export function parseAddress(text: string): Address | undefined {
  if (isIPv4(text)) return Uint8Array.from(text.split('.').map(Number))
  if (!isIPv6(text) || text.includes('%')) return undefined
  const bytes = new Uint8Array(16)
  for (const [index, group] of ipv6Groups(text).entries()) {
    bytes[2 * index] = group >> 8
    bytes[2 * index + 1] = group & 0xff
  }
  return contains(MAPPED, bytes) ? bytes.slice(12) : bytes
}

/** `ADDRESS/BITS`, or an address alone for itself; undefined for anything else, and for a base with bits beyond its prefix. */
export function parseNetwork(text: string): Network | undefined {
  const match = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text)
  const base = match ? parseAddress(match[1]!) : undefined
  if (!match || !base) return undefined
  const bits = match[2] === undefined ? base.length * 8 : Number(match[2])
  if (bits > base.length * 8 || (match[2] !== undefined && base.length === 4 && isIPv6(match[1]!))) return undefined
  const clean = base.every((byte, index) => (byte & ~maskByte(bits, index) & 0xff) === 0)
  return clean ? { base, bits } : undefined
}

export function contains(network: Network, address: Address): boolean {
  if (address.length !== network.base.length) return false
  for (let index = 0; index * 8 < network.bits; index++) {
    if (((address[index]! ^ network.base[index]!) & maskByte(network.bits, index)) !== 0) return false
  }
  return true
}

/** In its usual form: dotted, or eight groups without leading zeros (not shortened). */
export function formatAddress(address: Address): string {
  if (address.length === 4) return address.join('.')
  const groups = Array.from({ length: 8 }, (_, index) => ((address[2 * index]! << 8) | address[2 * index + 1]!).toString(16))
  return groups.join(':')
}

/** What IANA's registries of special-purpose addresses, and the clouds, keep for other things than public servers. */
const SPECIAL: [kind: string, networks: string[]][] = [
  ['a metadata service', ['169.254.169.254', '169.254.170.2', '168.63.129.16', '100.100.100.200', '192.0.0.192', 'fd00:ec2::254', 'fd20:ce::254']],
  ['an unspecified', ['0.0.0.0/8', '::']],
  ['a loopback', ['127.0.0.0/8', '::1']],
  ['a private', ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7', 'fec0::/10']],
  ['a shared (carrier-grade NAT)', ['100.64.0.0/10']],
  ['a link-local', ['169.254.0.0/16', 'fe80::/10']],
  ['a multicast', ['224.0.0.0/4', 'ff00::/8']],
  ['a broadcast', ['255.255.255.255']],
  ['a reserved', ['192.0.0.0/24', '192.88.99.0/24', '198.18.0.0/15', '240.0.0.0/4', '64:ff9b:1::/48', '100::/64', '2001::/23', '5f00::/16']],
  ['a documentation', ['192.0.2.0/24', '198.51.100.0/24', '203.0.113.0/24', '2001:db8::/32', '3fff::/20']],
]
const MAPPED = { base: Uint8Array.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0]), bits: 96 }
const special = SPECIAL.flatMap(([kind, texts]) => texts.map((text) => ({ kind, network: parseNetwork(text)! })))
/** IPv6 addresses that lead to the IPv4 address at `at`: NAT64, 6to4, and the long-forbidden "compatible" ones. */
const EMBEDDING = [
  { network: parseNetwork('64:ff9b::/96')!, at: 12 },
  { network: parseNetwork('2002::/16')!, at: 2 },
  { network: parseNetwork('::/96')!, at: 12 },
]
const GLOBAL_UNICAST = parseNetwork('2000::/3')!

/** Why an address is nobody's public server ("a private address"), or undefined when it may be one. */
export function specialKind(address: Address): string | undefined {
  const found = special.find(({ network }) => contains(network, address))
  if (found) return `${found.kind} address`
  if (address.length === 4) return undefined
  for (const { network, at } of EMBEDDING) {
    if (!contains(network, address)) continue
    const kind = specialKind(address.slice(at, at + 4))
    if (kind) return `${kind} inside an IPv6 one`
    return undefined
  }
  return contains(GLOBAL_UNICAST, address) ? undefined : 'a reserved address'
}

/** The IPv4 address inside an IPv6 one that leads to it. */
export function embeddedIPv4(address: Address): Address | undefined {
  const found = address.length === 16 ? EMBEDDING.find(({ network }) => contains(network, address)) : undefined
  return found && address.slice(found.at, found.at + 4)
}

function maskByte(bits: number, index: number): number {
  const left = bits - 8 * index
  return left >= 8 ? 0xff : left <= 0 ? 0 : (0xff << (8 - left)) & 0xff
}

/** The eight groups of a valid IPv6 address, a dotted tail included. */
export function ipv6Groups(text: string): number[] {
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text)
  const plain = dotted
    ? `${dotted[1]}${((Number(dotted[2]) << 8) | Number(dotted[3])).toString(16)}:${((Number(dotted[4]) << 8) | Number(dotted[5])).toString(16)}`
    : text
  const [left = '', right] = plain.split('::')
  const groups = (part: string): number[] => (part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16)))
  const [head, tail] = [groups(left), groups(right ?? '')]
  return [...head, ...Array.from({ length: 8 - head.length - tail.length }, () => 0), ...tail]
}
