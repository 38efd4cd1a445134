/** Which names tenants, functions and aliases may have, for both planes. */
import { limits } from '../limits.ts'

/** A DNS label that starts with a letter and has no `--`: that separates alias from function in host names. */
export const NAME_PATTERN = `^(?=.{1,${limits.nameMaxChars}}$)[a-z][a-z0-9]*(-[a-z0-9]+)*$`

/** What a name takes, for error messages and the API's description. */
export const NAME_TAKES = `1 to ${limits.nameMaxChars} lower-case letters, digits and single hyphens, starting with a letter and not ending with a hyphen`

/** The tenant that exists from the start. */
export const DEFAULT_TENANT = 'default'

/** Hostel's own, for what it runs in sandboxes itself. It is in no table, so that no token, URL or route leads to it; the dots keep others from taking the name. */
export const SYSTEM_TENANT = 'hostel.system'

/** Names that no tenant may take: the host form would give their functions names that people trust, or that mean something else. */
export const RESERVED_TENANTS: readonly string[] = [
  'admin',
  'alias',
  'api',
  'app',
  'apps',
  'console',
  'control',
  'dashboard',
  'docs',
  'functions',
  'gateway',
  'healthz',
  'hostel',
  'internal',
  'keeper',
  'local',
  'localhost',
  'login',
  'metrics',
  'readyz',
  'root',
  'status',
  'system',
  'tenant',
  'www',
]

/** How tokens begin, so that scanners of repositories and logs know one when they see it. */
export const TOKEN_PREFIX = 'hst_'

/** The alias that a deploy moves. */
export const LIVE_ALIAS = 'live'

const namePattern = new RegExp(NAME_PATTERN)

/** Whether a text can name a tenant, function or alias. */
export function isName(text: string): boolean {
  return namePattern.test(text)
}
