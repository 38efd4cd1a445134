/** "Did you mean …?" for names of functions. */
import type { ControlClient } from '../client/control.ts'
import { ApiError } from '../client/errors.ts'
import { closest } from '../manifest/closest.ts'
import { CliFailure } from './failure.ts'

/** Runs a request about a function; when there is no such function, the failure names the one that was likely meant. */
export async function withSuggestion<T>(client: ControlClient, tenant: string, name: string, request: () => Promise<T>): Promise<T> {
  try {
    return await request()
  } catch (error) {
    if (error instanceof ApiError && error.problem.code === 'unknown_function') throw await unknownFunction(client, tenant, name, error)
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
