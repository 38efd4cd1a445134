/**
 * What a version's `egress` list may say, and whether a target is on it. Control checks lists with it at deploy, the gateway
 * every attempt. To let one sandbox out is to put `host:port` on its version's list: nothing else opens the proxy door, so what
 * Hostel itself runs in a sandbox (a builder that may reach package registries, say) is a version with a list, too.
 */
import { domainToASCII } from 'node:url'

import { contains, parseAddress, parseNetwork } from './addresses.ts'
import type { Address, Network } from './addresses.ts'

export type EgressRule = { port: number } & ({ kind: 'name'; name: string } | { kind: 'below'; suffix: string } | { kind: 'network'; network: Network })

/** Where a guest wants to go. */
export type Target = { port: number; text: string } & ({ kind: 'name'; name: string } | { kind: 'address'; address: Address })

/** Completes "egress takes …". */
export const EGRESS_TAKES =
  'host:port entries: a name (api.example.com:443), names below one (*.example.com:443), an address (203.0.113.7:443, [2001:db8::1]:443) or a network (203.0.113.0/24:443)'

const LABEL = '[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?'
const NAME = new RegExp(`^(?=.{1,253}$)${LABEL}(?:\\.${LABEL})*$`)
/** Names whose last label looks like a number are addresses in an old spelling to many programs, and no host's. */
const NUMERIC_END = /(?:^|\.)(?:\d+|0x[0-9a-f]*)$/

/** A DNS name in lower case, without its final dot; undefined when it is none. Names in other scripts become their `xn--` form. */
export function parseName(text: string): string | undefined {
  // oxlint-disable-next-line no-control-regex -- what is not ASCII is the question
  const ascii = /^[\x00-\x7f]*$/.test(text) ? text.toLowerCase() : domainToASCII(text)
  const name = ascii.endsWith('.') ? ascii.slice(0, -1) : ascii
  return NAME.test(name) && !NUMERIC_END.test(name) ? name : undefined
}

/** An entry of the list as a rule; undefined when it is none. */
export function parseRule(text: string): EgressRule | undefined {
  const split = splitPort(text)
  if (!split) return undefined
  const { host, port, bracketed } = split
  const network = parseNetwork(host)
  if (network) return bracketed === host.includes(':') ? { kind: 'network', network, port } : undefined
  if (bracketed) return undefined
  if (host.startsWith('*.')) {
    const suffix = parseName(host.slice(2))
    return suffix === undefined ? undefined : { kind: 'below', suffix: `.${suffix}`, port }
  }
  const name = parseName(host)
  return name === undefined ? undefined : { kind: 'name', name, port }
}

/** How an entry is kept: names in lower case and ASCII, so that equal lists are equal texts. */
export function canonicalRule(text: string): string | undefined {
  const rule = parseRule(text)
  if (!rule) return undefined
  if (rule.kind === 'name') return `${rule.name}:${rule.port}`
  if (rule.kind === 'below') return `*${rule.suffix}:${rule.port}`
  return text.toLowerCase()
}

/** `host:port` as CONNECT and URLs have it. A string is why it is no target: what is said here reaches the guest. */
export function parseTarget(text: string, defaultPort?: number): Target | string {
  const split = splitPort(defaultPort !== undefined && !/:\d*$/.test(text.replace(/\[.*\]/, '')) ? `${text}:${defaultPort}` : text)
  if (!split) return 'it takes host:port with a port from 1 to 65535'
  const { host, port, bracketed } = split
  if (host.includes('%')) return 'an address with a zone is never reached from here'
  const address = parseAddress(host)
  if (address && bracketed === host.includes(':')) return { kind: 'address', address, port, text: `${split.shown}:${port}` }
  if (bracketed) return 'what stands in brackets is no IPv6 address'
  const name = parseName(host)
  if (name !== undefined) return { kind: 'name', name, port, text: `${name}:${port}` }
  return NUMERIC_END.test(host.toLowerCase().replace(/\.$/, ''))
    ? 'an IPv4 address is written as four decimal numbers, such as 203.0.113.7'
    : 'the host is neither a DNS name nor an address'
}

/** The rule that admits a target; names are only admitted by name, and addresses only by address. */
export function findRule(rules: readonly EgressRule[], target: Target): EgressRule | undefined {
  return rules.find((rule) => {
    if (rule.port !== target.port) return false
    if (rule.kind === 'network') return target.kind === 'address' && contains(rule.network, target.address)
    if (target.kind !== 'name') return false
    return rule.kind === 'name' ? rule.name === target.name : target.name.endsWith(rule.suffix) && target.name.length > rule.suffix.length
  })
}

/** `NAME:PORT` of a service, as versions name it; undefined when it is none. */
export function parseServiceName(text: string): { name: string; port: number } | undefined {
  const split = splitPort(text)
  const name = split && !split.bracketed ? parseName(split.host) : undefined
  return name === undefined || name === 'localhost' || name.endsWith('.localhost') ? undefined : { name, port: split!.port }
}

function splitPort(text: string): { host: string; port: number; bracketed: boolean; shown: string } | undefined {
  const match = /^(?:\[([^[\]]{1,100})\]|([^:[\]\s]{1,255})):(\d{1,5})$/.exec(text)
  const port = Number(match?.[3])
  if (!match || port < 1 || port > 65_535) return undefined
  const host = match[1] ?? match[2]!
  return { host, port, bracketed: match[1] !== undefined, shown: match[1] === undefined ? host : `[${host}]` }
}
