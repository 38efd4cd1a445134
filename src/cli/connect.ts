/** From a command's options to the server: the client, and the gateway's URL. */
import { findAccess } from '../client/access.ts'
import { createControlClient } from '../client/control.ts'
import type { ControlClient } from '../client/control.ts'

export interface Connection {
  client: ControlClient
  /** URL of the gateway; asked from the API when the place that told about the API does not tell. */
  gateway: () => Promise<string>
  token: string
}

/** @throws NoAccess when no server is known */
export function connect(options: { api?: string | undefined; token?: string | undefined }): Connection {
  const access = findAccess(options, process.env)
  const client = createControlClient(access)
  return { client, gateway: async () => access.gateway ?? (await client.system()).gatewayUrl, token: access.token }
}
