/** Doors of a version's sandboxes: what the keeper opens, what the guest is told, who serves them. */
import type { Server } from 'node:net'

import type { EgressDoors } from '../egress/doors.ts'
import { parseServiceName } from '../egress/rules.ts'
import type { RoutedVersion } from '../functions/types.ts'
import type { Doors } from '../keeper/messages.ts'
import type { Sandbox } from './sandbox.ts'

/** Where the keeper lets the proxy door listen (`engines/embedded/hosts.ts`); part of the contract with guests. */
const PROXY_URL = 'http://127.0.0.1:3128'

/** What the keeper is to open; undefined for a version without doors, whose start shall cost nothing more. */
export function doorsOf(version: RoutedVersion): Doors | undefined {
  if (doorCount(version) === 0) return undefined
  return { proxy: version.egress.length > 0, services: version.services.map((text) => parseServiceName(text)!) }
}

export function doorCount(version: RoutedVersion): number {
  return (version.egress.length > 0 ? 1 : 0) + version.services.length
}

/**
 * The version's environment, with the customary variables that lead HTTP clients to the proxy where there is one. What the
 * version sets itself wins. Named services are no business of the proxy's.
 */
export function environmentOf(version: RoutedVersion): Record<string, string> {
  if (version.egress.length === 0) return version.env
  const direct = ['localhost', '127.0.0.1', '::1', ...new Set(version.services.map((text) => text.replace(/:\d+$/, '')))].join(',')
  return {
    HTTP_PROXY: PROXY_URL,
    HTTPS_PROXY: PROXY_URL,
    http_proxy: PROXY_URL,
    https_proxy: PROXY_URL,
    NO_PROXY: direct,
    no_proxy: direct,
    // For Node processes that the function starts; its own is told by the shim.
    NODE_USE_ENV_PROXY: '1',
    ...version.env,
  }
}

/** Serves a sandbox's doors until its end. Does nothing for a version without. */
export function serveDoors(egress: EgressDoors, sandbox: Sandbox, version: RoutedVersion, listeners: Server[], onFlood: () => void): void {
  if (listeners.length === 0) return
  const { tenant, function: name } = version
  sandbox.listeners = []
  if (sandbox.state === 'ending') {
    for (const listener of listeners) listener.close()
    return
  }
  sandbox.doors = egress.open(
    {
      tenant,
      function: name,
      version: version.version,
      sandbox: sandbox.id,
      invocation: () => sandbox.connection.soleRunning?.invocation ?? null,
      note: (text, invocation) => sandbox.logs.system(text, invocation ?? undefined),
      flooded: onFlood,
    },
    version,
    listeners,
  )
}
