import assert from 'node:assert/strict'
import { test } from 'node:test'

import type { RoutedFunction } from '../functions/types.ts'
import { limits } from '../limits.ts'
import { pagesOf } from './pages.ts'

const fn = (name: string, bytes: number): RoutedFunction =>
  ({ tenant: 'default', name, aliases: { live: 1 }, versions: [{ version: 1, env: { BIG: 'x'.repeat(bytes) } }] }) as unknown as RoutedFunction

test('a table is cut by number and by bytes, keeps its order, and has one last page', () => {
  const many = Array.from({ length: 2 * limits.routesPageMaxFunctions + 1 }, (_, index) => fn(`f${index}`, 0))
  const big = Array.from({ length: 100 }, (_, index) => fn(`b${index}`, 32_000))
  for (const functions of [[], many, big, many.slice(0, limits.routesPageMaxFunctions)]) {
    const pages = [...pagesOf(functions, (page) => page)]
    assert.deepEqual(
      pages.map(({ last }) => last),
      [...pages.slice(1).map(() => false), true],
    )
    assert.deepEqual(
      pages.flatMap((page) => page.functions),
      functions,
    )
    for (const page of pages) assert.ok(page.functions.length <= limits.routesPageMaxFunctions && JSON.stringify(page).length < 1.1 * limits.routesPageMaxBytes)
  }
})

test('a page is filled when it is about to be sent, so that nothing opened waits', () => {
  const filled: string[] = []
  const functions = [fn('a', limits.routesPageMaxBytes), fn('b', limits.routesPageMaxBytes)]
  const pages = pagesOf(functions, (page) => {
    filled.push(...page.map(({ name }) => name))
    return page
  })
  pages.next()
  assert.deepEqual(filled, ['a'])
  pages.next()
  assert.deepEqual(filled, ['a', 'b'])
})
