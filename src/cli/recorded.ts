/** The record of an invocation that has only just ended. */
import type { ControlClient, InvocationDetail } from '../client/control.ts'
import { ApiError } from '../client/errors.ts'

/** Records reach the store in batches, within a second. */
const RECORDED_WITHIN_MS = 1_500
/** An invocation may begin so long before its record is written: the longest timeout, and a minute for the queue. */
const RECENT_MS = 960_000

/** The record, waited for when the id tells that it may be on its way. @throws ApiError `not_found` when there is none */
export async function recordedInvocation(client: ControlClient, tenant: string, id: string): Promise<InvocationDetail> {
  const deadline = performance.now() + (Date.now() - startOf(id) < RECENT_MS ? RECORDED_WITHIN_MS : 0)
  for (;;) {
    try {
      return await client.invocation(tenant, id)
    } catch (error) {
      if (!(error instanceof ApiError && error.problem.code === 'not_found') || performance.now() > deadline) throw error
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
}

/** What is known about why an invocation ended as it did; undefined when that can't be had. */
export async function explanationOf(client: ControlClient, tenant: string, id: string): Promise<string | undefined> {
  try {
    const { detail, explanation } = await recordedInvocation(client, tenant, id)
    return typeof detail?.['explanation'] === 'string' ? detail['explanation'] : explanation.summary
  } catch {
    // It only adds to a failure that is told anyway.
    return undefined
  }
}

/** Epoch milliseconds from the first 48 bits of a UUIDv7. */
function startOf(id: string): number {
  return Number.parseInt(id.replace('-', '').slice(0, 12), 16) || 0
}
