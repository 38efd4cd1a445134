/** "Did you mean …?" for names of functions. */
import type { ControlClient } from '../client/control.ts'
import { ApiError } from '../client/errors.ts'
import { CliFailure } from './failure.ts'

/** Runs a request about a function; when there is no such function, the failure names the one that was likely meant. */
export async function withSuggestion<T>(client: ControlClient, tenant: string, name: string, request: () => Promise<T>): Promise<T> {
  try {
    return await request()
  } catch (error) {
    if (error instanceof ApiError && error.problem.status === 404) throw await unknownFunction(client, tenant, name, error)
    throw error
  }
}

/** The failure for a function that is not there. */
export async function unknownFunction(client: ControlClient, tenant: string, name: string, cause: unknown): Promise<CliFailure> {
  // The listing only helps to word the failure, so its own failure changes nothing.
  const names = await client
    .functions(tenant)
    .then((functions) => functions.map((item) => item.name))
    .catch(() => [])
  const close = closest(name, names)
  return new CliFailure('notFound', `there is no function "${name}" in tenant "${tenant}"`, {
    code: 'unknown_function',
    why: names.length === 0 ? 'nothing is deployed there' : undefined,
    fix: close ? `Did you mean "${close}"?` : names.length === 0 ? 'Deploy it with `hostel deploy`.' : '`hostel ls` lists what is deployed.',
    cause,
  })
}

/** The candidate with the fewest edits from `word`, if they are few for its length. */
export function closest(word: string, candidates: string[]): string | undefined {
  const most = Math.max(1, Math.floor(word.length / 3))
  const ranked = candidates.map((candidate) => ({ candidate, edits: editDistance(word, candidate) })).sort((a, b) => a.edits - b.edits)
  return ranked[0] && ranked[0].edits <= most ? ranked[0].candidate : undefined
}

/** Insertions, deletions and substitutions that make one word the other. */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index)
  for (let i = 1; i <= from.length; i++) {
    const next = [i]
    for (let j = 1; j <= to.length; j++) {
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (from[i - 1] === to[j - 1] ? 0 : 1)))
    }
    row = next
  }
  return row[to.length]!
}
