/** What the API takes and gives about builds. */
import { Type } from 'typebox'
import type { Static } from 'typebox'

import { exact, TenantParams } from './schemas.ts'

const BuildId = Type.String({
  pattern: '^[0-9a-z-]{16,64}$',
  description: 'chosen by the caller, such as a UUID: the name under which the log of a build can be read',
})
export const BuildQuery = Type.Object({ build: Type.Optional(BuildId) }, exact)
export const BuildParams = Type.Object({ tenant: TenantParams.properties.tenant, build: BuildId }, exact)
export const BuildLine = Type.Object({
  afterMs: Type.Integer({ description: 'milliseconds since the deploy asked for its dependencies' }),
  text: Type.String(),
})

export type BuildLine = Static<typeof BuildLine>
