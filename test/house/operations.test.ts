/** What the operator's pages bring along fits the server: the dashboard's metrics exist, and systemd takes the unit. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'

import { metricCatalogue } from '../../src/telemetry/catalogue.ts'

const root = join(import.meta.dirname, '..', '..')

describe('the dashboard', () => {
  const text = readFileSync(join(root, 'docs/grafana/hostel.json'), 'utf8')
  const expressions = (JSON.parse(text) as { panels: { targets: { expr: string }[] }[] }).panels.flatMap(({ targets }) => targets.map(({ expr }) => expr))
  const catalogue: Record<string, { type: string; labels?: readonly string[] }> = metricCatalogue

  it('shows only metrics that there are, each as what it is', () => {
    const used = new Set(text.match(/hostel_[a-z_]+/g))
    for (const name of used) {
      const metric = catalogue[name] ?? catalogue[name.replace(/_bucket$/, '')]
      assert.ok(metric, name)
      assert.equal(name.endsWith('_bucket'), metric.type === 'histogram', name)
    }
    for (const name of Object.keys(catalogue).filter((one) => catalogue[one]!.type === 'counter' && used.has(one)))
      for (const expression of expressions.filter((one) => one.includes(name)))
        assert.match(expression, new RegExp(`rate\\(${name}\\b`), 'what only rises is shown as a rate')
  })

  it('tells them apart by labels that they have', () => {
    for (const expression of expressions) {
      const labels = [...expression.matchAll(/by \(([^)]*)\)/g), ...expression.matchAll(/\{(\w+)=/g)].flatMap((match) => match[1]!.split(', '))
      const [name = ''] = /hostel_[a-z_]+/.exec(expression) ?? []
      const { labels: known = [] } = catalogue[name.replace(/_bucket$/, '')]!
      for (const label of labels.filter((one) => one !== 'le')) assert.ok(known.includes(label), `${name} has no ${label}`)
    }
  })
})

describe('the unit for systemd', () => {
  it('is one that systemd takes', { skip: existsSync('/usr/bin/systemd-analyze') ? false : 'there is no systemd-analyze' }, () => {
    const directory = mkdtempSync(join(tmpdir(), 'hostel-unit-'))
    try {
      const unit = join(directory, 'hostel.service')
      writeFileSync(unit, readFileSync(join(root, 'docs/how-to/hostel.service'), 'utf8').replace('/opt/hostel', root))
      const output = execFileSync('systemd-analyze', ['verify', '--man=no', unit], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], timeout: 30_000 })
      assert.equal(output, '')
    } finally {
      rmSync(directory, { recursive: true })
    }
  })
})
