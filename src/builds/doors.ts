/** Who serves the doors of builders: the operator named where they lead, so that may be anywhere but the server itself. */
import { lookup as systemLookup } from 'node:dns/promises'

import { parseAddress } from '../egress/addresses.ts'
import { createEgressDoors } from '../egress/doors.ts'
import type { EgressDoors, EgressOptions } from '../egress/doors.ts'
import { createGuard } from '../egress/guard.ts'
import { SYSTEM_TENANT } from '../functions/names.ts'

const EVERYWHERE = ['0.0.0.0/0', '::/0']

/** @param ownPorts ports of the server, which stay shut. */
export function withBuilderDoors(options: EgressOptions, ownPorts: readonly number[]): EgressDoors {
  const forFunctions = createEgressDoors(options)
  const forBuilders = createEgressDoors({
    ...options,
    guard: createGuard(EVERYWHERE, ownPorts),
    // As this machine itself finds them, /etc/hosts included.
    lookup: async (name) => (await systemLookup(name, { all: true })).flatMap(({ address }) => parseAddress(address) ?? []),
  })
  return { open: (owner, wanted, listeners) => (owner.tenant === SYSTEM_TENANT ? forBuilders : forFunctions).open(owner, wanted, listeners) }
}
