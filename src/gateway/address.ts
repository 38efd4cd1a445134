/** From request target and Host to the function meant: the URL forms of docs/reference/http.md. */
import { isIP } from 'node:net'

import { HostelError } from '../errors.ts'
import { limits } from '../limits.ts'

/** Which hosts mean what. */
export interface HostRules {
  /** Functions answer below it: `{function}.{tenant}.{domain}`. */
  domain: string
  /** Hosts on which the path names the function; IPv6 addresses in brackets. */
  bareHosts: ReadonlySet<string>
  /** Every IP address is a bare host too: where the server listens on all addresses. An address can't be rebound by DNS. */
  anyAddress: boolean
}

/** What a request addresses. */
export interface Address {
  tenant: string
  function: string
  /** Alias or version as written; null for the default alias. */
  qualifier: string | null
  /** Host and port as the client named them, in lower case. */
  host: string
  /** The same without port and trailing dot. */
  hostname: string
  /** Path and query as the function sees them. */
  path: string
  /** What the path form took off the path; null in the host form. */
  prefix: string | null
}

const hostPattern = /^(\[[0-9a-f:.]{2,45}\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?(?::(\d{0,5}))?$/
const pathFormPattern = /^\/([a-z0-9-]{1,63})\/([a-z0-9-]{1,63})(?:(?::|%3[Aa])([a-z0-9-]{1,63}))?(\/[^?]*)?(\?.*)?$/
const hostFormPattern = /^(?:([a-z0-9-]+?)--)?([a-z0-9-]+)\.([a-z0-9-]+)$/
// Visible ASCII but `#`: a fragment is never sent (RFC 9112, section 3.2).
const targetPattern = /^[\x21\x22\x24-\x7e]+$/

/** The rules of a server: `listenHosts` are the addresses and names that it listens on. */
export function hostRulesOf(domain: string, listenHosts: string[]): HostRules {
  const inBrackets = (host: string): string => (host.includes(':') && !host.startsWith('[') ? `[${host}]` : host).toLowerCase()
  return {
    domain,
    bareHosts: new Set(['localhost', '127.0.0.1', '[::1]', domain, ...listenHosts.map(inBrackets)]),
    anyAddress: listenHosts.some((host) => host === '0.0.0.0' || host === '::'),
  }
}

/**
 * The function that a request addresses. Nothing is decoded or normalised: the function sees the rest of the path as it was sent.
 * @throws HostelError `malformed_request`, `uri_too_long`, or `unknown_function` for a host or path that can't be one.
 */
export function parseAddress(target: string, hostHeader: string, rules: HostRules): Address {
  if (target.length > limits.requestUrlMaxBytes)
    throw new HostelError('uri_too_long', `the request target has ${target.length} bytes, ${limits.requestUrlMaxBytes} are taken`)
  if (!targetPattern.test(target)) throw new HostelError('malformed_request', 'the request target holds bytes that a URL can not have unencoded')
  let rest = target
  let host = hostHeader.toLowerCase()
  if (rest[0] !== '/') {
    // absolute-form: its authority counts instead of the Host header (RFC 9112, section 3.2.2).
    const absolute = /^https?:\/\/([^/?]*)(\/[^?]*)?(\?.*)?$/i.exec(rest)
    if (!absolute) throw new HostelError('malformed_request', 'the request target must begin with a slash or be an http URL')
    host = absolute[1]!.toLowerCase()
    rest = `${absolute[2] ?? '/'}${absolute[3] ?? ''}`
  }
  const hostParts = hostPattern.exec(host)
  if (!hostParts || host.length > 260 || Number(hostParts[2] ?? 0) > 65_535)
    throw new HostelError('malformed_request', 'the Host header is not a host name or address with an optional port')
  const hostname = hostParts[1]!
  const above = hostname.length - rules.domain.length - 1
  if (above > 0 && hostname[above] === '.' && hostname.endsWith(rules.domain)) return hostForm(hostname.slice(0, above), host, hostname, rest)
  if (rules.bareHosts.has(hostname) || (rules.anyAddress && isAddress(hostname))) return pathForm(host, hostname, rest)
  throw new HostelError('unknown_function', `no functions answer at the host ${hostname}`)
}

/** Whether a Host header names the server itself, where the path names the function. */
export function isBareHost(hostHeader: string, rules: HostRules): boolean {
  const hostname = hostPattern.exec(hostHeader.toLowerCase())?.[1]
  return hostname !== undefined && (rules.bareHosts.has(hostname) || (rules.anyAddress && isAddress(hostname)))
}

function pathForm(host: string, hostname: string, target: string): Address {
  const parts = pathFormPattern.exec(target)
  if (!parts) throw new HostelError('unknown_function', 'at this host the path names the function: /TENANT/FUNCTION/…')
  const path = parts[4] ?? '/'
  const query = parts[5] ?? ''
  return {
    tenant: parts[1]!,
    function: parts[2]!,
    qualifier: parts[3] ?? null,
    host,
    hostname,
    path: path + query,
    prefix: target.slice(0, target.length - query.length - (parts[4]?.length ?? 0)),
  }
}

function hostForm(labels: string, host: string, hostname: string, target: string): Address {
  const parts = hostFormPattern.exec(labels)
  if (!parts) throw new HostelError('unknown_function', `the host ${hostname} is not FUNCTION.TENANT.DOMAIN`)
  return { tenant: parts[3]!, function: parts[2]!, qualifier: parts[1] ?? null, host, hostname, path: target, prefix: null }
}

function isAddress(hostname: string): boolean {
  return isIP(hostname[0] === '[' ? hostname.slice(1, -1) : hostname) !== 0
}
