/** What a check of the machine finds. */
export interface Check {
  name: string
  /** `warn`: Hostel runs, but something is less than it should be. */
  ok: boolean | 'warn'
  /** What was found, and what it means where that is not plain. */
  detail: string
  /** A command or a deed that mends it. */
  mend?: string
}
