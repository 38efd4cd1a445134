/** Cuts the routing table into pages that are quickly made, sent and parsed. */
import type { RoutedFunction, RoutedVersion } from '../functions/types.ts'
import { limits } from '../limits.ts'

/** Bytes of a version as JSON without its environment, about. */
const VERSION_BYTES = 400

/** Pages in the order of the functions; the last one says so, and may be empty. `fill` is called for a page when it is about to be used. */
export function* pagesOf(
  functions: Iterable<RoutedFunction>,
  fill: (functions: RoutedFunction[]) => RoutedFunction[],
): Generator<{ functions: RoutedFunction[]; last: boolean }> {
  let page: RoutedFunction[] = []
  let bytes = 0
  for (const one of functions) {
    page.push(one)
    bytes += bytesOf(one)
    if (page.length < limits.routesPageMaxFunctions && bytes < limits.routesPageMaxBytes) continue
    yield { functions: fill(page), last: false }
    page = []
    bytes = 0
  }
  yield { functions: fill(page), last: true }
}

function bytesOf(one: RoutedFunction): number {
  return one.versions.reduce((sum, version) => sum + VERSION_BYTES + envBytes(version), 0)
}

function envBytes({ env, secrets }: RoutedVersion): number {
  let chars = 0
  for (const name in env) chars += name.length + env[name]!.length
  return chars + (secrets ? Object.keys(secrets).length * limits.secretValueMaxBytes : 0)
}
