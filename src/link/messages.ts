/**
 * What gateway and control say to each other over the stream that the keeper made between them. Control pushes the routing
 * table; the gateway streams records and logs in batches. Each side keeps working while the other is away.
 */
import type { EgressRecord, InvocationRecord, LogLine, RoutedFunction, RoutedVersion, SandboxInfo } from '../functions/types.ts'
import type { MetricSample } from '../telemetry/catalogue.ts'
import type { Contract, GuestError } from '../sandbox/protocol.ts'
import type { InvokeToken, TenantQuotas } from '../functions/types.ts'

/** Events: one way, in order, no answer. */
export interface LinkEvents {
  /**
   * control → gateway: all functions, page by page, first thing on a new link; replaces what was known. Changes may come between pages.
   * `first` and `last` mark the pages of one table, which is one page at least.
   */
  routes: { functions: RoutedFunction[]; first: boolean; last: boolean }
  /** control → gateway: one function as it is now. */
  route: { function: RoutedFunction }
  /** control → gateway: a function is gone; its sandboxes are retired. */
  unroute: { tenant: string; name: string }
  /** control → gateway: all tenants with bounds of their own, before `routes` and after each change. Replaces what was known. */
  quotas: { tenants: TenantQuotas[] }
  /** control → gateway: all tokens that may call functions, likewise. */
  tokens: { tokens: InvokeToken[] }
  /** gateway → control: hashes of the tokens that were used, at most once a minute. */
  tokensUsed: { hashes: string[] }
  /** gateway → control: what happened at the doors of a build. */
  buildNote: { build: string; text: string }
}

/** Calls: answered once, or failed with an error code, or broken off when the link goes. */
export interface LinkCalls {
  /** control → gateway: start the version once, to learn its contract or why it fails; what was started stays warm. */
  prepare: {
    params: { version: RoutedVersion }
    result: { contract: Contract; initMs: number } | { error: { code: string; message: string; guest?: GuestError; facts?: Record<string, unknown> } }
  }
  /** control → gateway: answered when all events before it have taken effect. */
  sync: { params: Record<string, never>; result: Record<string, never> }
  /** control → gateway */
  sandboxes: { params: Record<string, never>; result: { sandboxes: SandboxInfo[] } }
  /** control → gateway: its figures now. */
  metrics: { params: Record<string, never>; result: { samples: MetricSample[] } }
  /** control → gateway: call a builder with this source (base64). Its answer goes to `buildOutput`, all of it before this one's; what ended it is as in a record. */
  build: {
    params: { build: string; version: RoutedVersion; source: string }
    result: { status: number; outcome: string; detail: Record<string, unknown> | null }
  }
  /** gateway → control: a part (base64) of what a builder answers; the next one comes after the answer. */
  buildOutput: { params: { build: string; data: string }; result: Record<string, never> }
  /** gateway → control: durable when answered. The gateway sends the next batch after the answer to the one before. */
  batch: { params: { records: InvocationRecord[]; logs: LogLine[]; egress?: EgressRecord[] }; result: Record<string, never> }
}
