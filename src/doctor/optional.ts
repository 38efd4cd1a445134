/** Engines and walls that Hostel is to speak to later: what is there already, and what it would give. */
import { existsSync } from 'node:fs'

import type { Check } from './check.ts'
import { programVersion } from './programs.ts'

const candidates = [
  {
    name: 'docker',
    find: () => programVersion('docker', ['version', '--format', '{{.Server.Version}}']),
    absent: 'no daemon answers',
    gives: 'sandboxes as Docker containers',
  },
  { name: 'podman', find: () => programVersion('podman'), absent: 'not installed', gives: 'sandboxes as Podman containers' },
  { name: 'gvisor', find: () => programVersion('runsc'), absent: 'runsc is not installed', gives: 'a second kernel between a function and this one' },
  // That the device is there does not prove that a guest boots on it.
  { name: 'kvm', find: async () => (existsSync('/dev/kvm') ? '/dev/kvm' : null), absent: 'no /dev/kvm', gives: 'a virtual machine around each sandbox' },
]

/** All optional, so none of them fails. */
export function checkOptionalEngines(): Promise<Check[]> {
  return Promise.all(
    candidates.map(async ({ name, find, absent, gives }): Promise<Check> => {
      const found = await find()
      return { name, ok: true, detail: `${found === null ? absent : `there (${found})`}; would give ${gives}, but Hostel does not use it yet` }
    }),
  )
}
