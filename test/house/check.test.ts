import { describe, it } from 'node:test'

import { checks, runCheck } from '../../scripts/checks.mjs'

describe('the source', () => {
  for (const { name, holds, command } of checks) it(`${holds} (${name})`, () => runCheck(command))
})
