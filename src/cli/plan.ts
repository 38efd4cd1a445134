/** A deploy's plan for people: what is created, changed, left alone and removed. */
import type { Plan } from '../client/control.ts'
import { functionKeys } from '../manifest/keys.ts'
import type { PlannedTarget } from './deploying.ts'
import { harmless, print, styled } from './output.ts'

export type Action = 'create' | 'change' | 'none'

export function actionOf({ plan }: PlannedTarget): Action {
  return plan.live === null ? 'create' : plan.changes.length > 0 ? 'change' : 'none'
}

const marks = { create: { sign: '+', style: 'green' }, change: { sign: '~', style: 'yellow' }, none: { sign: '=', style: 'dim' } } as const

/** One function, its changes under one another. */
export function printPlanned(planned: PlannedTarget, width: number): void {
  const action = actionOf(planned)
  const { sign, style } = marks[action]
  const texts =
    action === 'none' ? [`nothing changes, version ${planned.plan.live} stays live`] : action === 'create' ? ['new'] : planned.plan.changes.map(changeText)
  if (action === 'create') texts.push(...planned.plan.changes.filter((change) => isSaid(planned, change.field)).map(changeText))
  for (const [index, text] of texts.entries()) {
    const head = index === 0 ? `${sign} ${planned.target.name.padEnd(width)}` : ' '.repeat(width + 2)
    print(`  ${styled(style, head)}  ${harmless(text)}`)
  }
}

/** A function that the manifest does not name. */
export function printOther(name: string, remove: boolean, width: number): void {
  const text = remove ? 'is removed with all its versions' : 'is not in the file, and stays; --prune removes it'
  print(`  ${styled(remove ? 'red' : 'dim', `${remove ? '-' : ' '} ${name.padEnd(width)}`)}  ${text}`)
}

/** Defaults of a new function are no news. */
function isSaid({ target }: PlannedTarget, field: string): boolean {
  return Object.hasOwn(target.wanted, field.split('.')[0]!)
}

function changeText({ field, kind, from, to }: Plan['changes'][number]): string {
  if (field === 'code') return kind === 'added' ? 'code' : `code ${short(from)} → ${short(to)}`
  const key = Object.entries(functionKeys).find(([, candidate]) => candidate.field === field)
  const show = (value: unknown): string => key?.[1].show?.(value) ?? (typeof value === 'string' ? value : JSON.stringify(value))
  const name = key?.[0] ?? field
  if (from === undefined && to === undefined) return `${name} ${kind}`
  const absent = key?.[1].absent
  if (from === undefined) return absent === undefined ? `${name} ${show(to)}` : `${name} ${absent} → ${show(to)}`
  return `${name} ${show(from)} → ${to === undefined ? (absent ?? 'none') : show(to)}`
}

function short(digest: unknown): string {
  return String(digest).slice(0, 12)
}
