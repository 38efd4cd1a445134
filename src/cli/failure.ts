/** How a command fails: what happened, why, how to fix it, and an exit code that scripts can rely on. */

/** Exit codes; `docs/reference/cli.md` is generated from it. */
export const exitCodes = {
  ok: { code: 0, meaning: 'it worked' },
  failure: { code: 1, meaning: 'it failed for another reason than those below' },
  usage: { code: 2, meaning: 'the command line or hostel.yaml is wrong: unknown command, option or key, missing or unfit value' },
  notFound: { code: 3, meaning: 'the function, invocation, directory or file is not there' },
  auth: { code: 4, meaning: 'the token is missing, wrong or not allowed to do this' },
  functionFailed: { code: 5, meaning: 'the function failed: it did not start, threw, ran out of time or memory, or answered with a status of 500 or above' },
  unreachable: { code: 6, meaning: 'no server was found or it does not answer' },
  busy: { code: 7, meaning: 'the server or the function has no room just now; trying again may help' },
  changes: { code: 8, meaning: 'with `deploy --plan`: something would change' },
  interrupted: { code: 130, meaning: 'Ctrl-C' },
} as const

export type ExitKind = keyof typeof exitCodes

/** A failure with everything its reader needs. `message` says what happened. */
export class CliFailure extends Error {
  override readonly name = 'CliFailure'
  readonly kind: ExitKind
  readonly why: string | undefined
  readonly fix: string | undefined
  /** Stable code for `--json`: the server's error code, or ours. */
  readonly code: string

  constructor(kind: ExitKind, what: string, more: { why?: string | undefined; fix?: string | undefined; code?: string; cause?: unknown } = {}) {
    super(what, more.cause === undefined ? undefined : { cause: more.cause })
    this.kind = kind
    this.why = more.why
    this.fix = more.fix
    this.code = more.code ?? kind
  }
}

/** Wrong use of the command line. */
export function usageFailure(what: string, fix?: string): CliFailure {
  return new CliFailure('usage', what, { fix })
}
