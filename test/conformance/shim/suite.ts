/** What the suite's files have in common. */
import { describe } from 'node:test'

import type { SpecialiseMessage } from '../../../src/sandbox/protocol.ts'
import { ShimHost } from './host.ts'
import { runtimes, type Capability, type ShimRuntime } from './runtimes.ts'

/** A group of tests for each runtime that has the capabilities. */
export function forEachRuntime(title: string, body: (runtime: ShimRuntime) => void, ...needed: Capability[]): void {
  for (const runtime of runtimes.filter(({ capabilities }) => needed.every((capability) => capabilities.has(capability)))) {
    describe(`${runtime.name}: ${title}`, { timeout: 60_000 }, () => body(runtime))
  }
}

/** A shim that is ready for requests. */
export async function started(runtime: ShimRuntime, fixture = 'actions', options: Partial<SpecialiseMessage> = {}): Promise<ShimHost> {
  const host = new ShimHost(runtime)
  try {
    await host.hello()
    await host.specialise(fixture, options)
    return host
  } catch (error) {
    await host[Symbol.asyncDispose]()
    throw error
  }
}
