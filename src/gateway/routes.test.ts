import assert from 'node:assert/strict'
import { describe, it } from 'node:test'

import type { RoutedFunction, RoutedVersion } from '../functions/types.ts'
import type { Address } from './address.ts'
import { createRoutingTable } from './routes.ts'

const version = (name: string, number: number): RoutedVersion => ({ tenant: 'default', function: name, version: number }) as RoutedVersion
const fn = (name: string, aliases: Record<string, number>, versions: number[]): RoutedFunction => ({
  tenant: 'default',
  name,
  aliases,
  versions: versions.map((number) => version(name, number)),
})
const address = (name: string, qualifier: string | null = null): Address => ({ tenant: 'default', function: name, qualifier, prefix: null }) as Address

describe('the routing table', () => {
  function table(): { table: ReturnType<typeof createRoutingTable>; retired: unknown[]; noted: number[] } {
    const retired: unknown[] = []
    const noted: number[] = []
    return {
      retired,
      noted,
      table: createRoutingTable({
        onRetire: (tenant, name, keep) => retired.push([tenant, name, keep.map(({ version: number }) => number)]),
        onVersions: (versions) => noted.push([...versions].length),
      }),
    }
  }

  it('is unfilled until control has sent one, even an empty one', () => {
    const { table: routes } = table()
    assert.equal(routes.filled, false)
    routes.replaceAll([])
    assert.equal(routes.filled, true)
  })

  it("finds the live version, an alias's and a numbered one", () => {
    const { table: routes } = table()
    routes.replaceAll([fn('a', { live: 3, canary: 2 }, [1, 2, 3])])
    assert.equal(routes.find(address('a')).version, 3)
    assert.equal(routes.find(address('a', 'canary')).version, 2)
    assert.equal(routes.find(address('a', '1')).version, 1)
    for (const qualifier of ['4', '01', 'nothing', 'toString']) assert.throws(() => routes.find(address('a', qualifier)), { code: 'unknown_function' })
    assert.throws(() => routes.find(address('b')), { code: 'unknown_function' })
  })

  it("says which versions' sandboxes are still wanted: those that an alias points at", () => {
    const { table: routes, retired, noted } = table()
    routes.replaceAll([fn('a', { live: 1 }, [1]), fn('b', { live: 1 }, [1])])
    routes.replace(fn('a', { live: 2, old: 1 }, [1, 2]))
    routes.replace(fn('a', { live: 2 }, [1, 2]))
    routes.replaceAll([fn('a', { live: 2 }, [1, 2])])
    routes.remove('default', 'a')
    routes.remove('default', 'a')
    assert.deepEqual(retired, [
      ['default', 'a', [1]],
      ['default', 'b', [1]],
      ['default', 'a', [1, 2]],
      ['default', 'a', [2]],
      ['default', 'a', [2]],
      ['default', 'b', []],
      ['default', 'a', []],
    ])
    assert.deepEqual(noted, [2, 3, 3, 2, 0])
    assert.throws(() => routes.find(address('a')), { code: 'unknown_function' })
  })

  it('comes in pages, with changes between them, and drops after the last what none of them had', () => {
    const { table: routes, noted } = table()
    routes.replaceAll([fn('old', { live: 1 }, [1]), fn('kept', { live: 1 }, [1])])
    routes.take({ functions: [fn('kept', { live: 2 }, [1, 2]), fn('short', { live: 1 }, [1])], first: true, last: false })
    assert.equal(routes.find(address('old')).version, 1)
    routes.replace(fn('new', { live: 1 }, [1]))
    routes.remove('default', 'short')
    // A link that broke off in between: the next one begins anew.
    routes.take({ functions: [fn('kept', { live: 3 }, [3])], first: true, last: false })
    routes.replace(fn('new', { live: 2 }, [2]))
    routes.take({ functions: [], first: false, last: true })
    assert.deepEqual(
      ['kept', 'new'].map((name) => routes.find(address(name)).version),
      [3, 2],
    )
    for (const name of ['old', 'short']) assert.throws(() => routes.find(address(name)), { code: 'unknown_function' })
    assert.equal(noted.at(-1), 2)
  })
})
