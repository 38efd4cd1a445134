/** What a version asks of its doors, checked and brought into the form in which it is kept. */
import { EGRESS_TAKES, canonicalRule, parseServiceName } from '../egress/rules.ts'
import { HostelError } from '../errors.ts'
import type { ServiceMapping } from '../keeper/messages.ts'
import { limits } from '../limits.ts'
import type { VersionConfig } from './types.ts'

/** @throws HostelError `invalid_input`, saying which services there are when one is named that the operator has not mapped. */
export function resolveDoors(
  wanted: { egress?: string[]; services?: string[] },
  mapped: readonly ServiceMapping[],
): Pick<VersionConfig, 'egress' | 'services'> {
  return {
    egress: unique(wanted.egress ?? [], checkRule, 'egress', limits.egressRulesMax),
    services: unique(wanted.services ?? [], checkService, 'services', limits.servicesPerVersionMax),
  }

  function checkRule(text: string): string {
    const rule = canonicalRule(text)
    if (rule === undefined) throw invalid('egress', `${EGRESS_TAKES}; got ${JSON.stringify(text.slice(0, 300))}`)
    return rule
  }

  function checkService(text: string): string {
    const service = parseServiceName(text)
    const known = service && mapped.find(({ name, port }) => name === service.name && port === service.port)
    if (known) return `${known.name}:${known.port}`
    const there = mapped.map(({ name, port }) => `${name}:${port}`).join(', ')
    throw invalid(
      'services',
      there === ''
        ? `services that the operator has mapped, and there are none; \`hostel server --service NAME:PORT=HOST:PORT\` maps one. Got ${JSON.stringify(text.slice(0, 300))}`
        : `services that the operator has mapped (${there}); got ${JSON.stringify(text.slice(0, 300))}`,
    )
  }
}

/** One order, so that equal lists are equal texts. */
function unique(texts: string[], check: (text: string) => string, field: string, max: number): string[] {
  if (texts.length > max) throw invalid(field, `at most ${max} entries; got ${texts.length}`)
  return [...new Set(texts.map(check))].sort()
}

function invalid(field: string, takes: string): HostelError {
  return new HostelError('invalid_input', `${field} takes ${takes}`, { facts: { field } })
}
