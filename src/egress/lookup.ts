/** Names to addresses, by DNS alone: no search domains, no /etc/hosts of this machine, no thread of the pool. */
import { Resolver } from 'node:dns/promises'

import { parseAddress } from './addresses.ts'
import type { Address } from './addresses.ts'

/** All addresses of an absolute name, best first. Rejects with Node's DNS error when there are none. */
export type Lookup = (name: string) => Promise<Address[]>

const TRY_MS = 2_000
const TRIES = 2

/** @param servers name servers as `ADDRESS[:PORT]`; none for those of /etc/resolv.conf. */
export function createLookup(servers: readonly string[]): Lookup {
  const resolver = new Resolver({ timeout: TRY_MS, tries: TRIES })
  if (servers.length > 0) resolver.setServers(servers)
  return async (name) => {
    const six = resolver.resolve6(name)
    let late: string[] = []
    six.then(
      (addresses) => (late = addresses),
      () => {},
    )
    try {
      // IPv4 first, since not every machine has a way out by IPv6; what IPv6 has said by then is taken along.
      return addressesOf([...(await resolver.resolve4(name)), ...late])
    } catch (error) {
      return addressesOf(
        await six.catch(() => {
          throw error
        }),
      )
    }
  }
}

function addressesOf(texts: string[]): Address[] {
  return texts.flatMap((text) => parseAddress(text) ?? [])
}
