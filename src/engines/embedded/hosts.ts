/** Names inside a sandbox: its own /etc/hosts, and the loopback addresses at which its doors listen. */
import type { Doors } from '../../keeper/messages.ts'
import type { DoorPlace } from './doors.native.ts'

/** Where the proxy door listens in every sandbox that has one; the gateway tells the guest by HTTP_PROXY. */
const PROXY_PLACE: DoorPlace = { address: '127.0.0.1', port: 3_128 }

/** What every sandbox's /etc/hosts begins with. */
export const HOSTS = '127.0.0.1\tlocalhost\n::1\tlocalhost\n'

/** The proxy's place, then each service's in order: an address for each name, so that a service keeps its own port. */
export function placesOf(doors: Doors): DoorPlace[] {
  const names = namesOf(doors)
  return [...(doors.proxy ? [PROXY_PLACE] : []), ...doors.services.map(({ name, port }) => ({ address: addressOf(names.indexOf(name)), port }))]
}

/** The text of /etc/hosts for these doors. */
export function hostsOf(doors: Doors): string {
  return (
    HOSTS +
    namesOf(doors)
      .map((name, index) => `${addressOf(index)}\t${name}\n`)
      .join('')
  )
}

function namesOf(doors: Doors): string[] {
  return [...new Set(doors.services.map(({ name }) => name))]
}

/** The number of services is bounded far below 254 (`limits.servicesPerVersionMax`). */
function addressOf(index: number): string {
  return `127.0.77.${index + 1}`
}
