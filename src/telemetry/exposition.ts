/** Samples as text, in the format that Prometheus reads (version 0.0.4). */
import { metricCatalogue } from './catalogue.ts'
import type { Labels, MetricName, MetricSample } from './catalogue.ts'

export const EXPOSITION_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

/** In the order of the catalogue; a metric without samples is left out. */
export function exposition(samples: readonly MetricSample[]): string {
  const byName = new Map<MetricName, MetricSample[]>()
  for (const sample of samples) {
    const found = byName.get(sample.name)
    if (found) found.push(sample)
    else byName.set(sample.name, [sample])
  }
  let text = ''
  for (const [name, { help, type }] of Object.entries(metricCatalogue)) {
    const found = byName.get(name as MetricName)
    if (!found) continue
    text += `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`
    for (const sample of found) text += linesOf(sample)
  }
  return text
}

function linesOf({ name, labels, value }: MetricSample): string {
  if (typeof value === 'number') return `${name}${labelText(labels)} ${numberText(value)}\n`
  let text = ''
  let count = 0
  for (const [at, bound] of [...value.bounds, Number.POSITIVE_INFINITY].entries()) {
    count += value.counts[at]!
    text += `${name}_bucket${labelText({ ...labels, le: numberText(bound) })} ${count}\n`
  }
  return `${text}${name}_sum${labelText(labels)} ${numberText(value.sum)}\n${name}_count${labelText(labels)} ${count}\n`
}

function labelText(labels: Labels): string {
  const parts = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`)
  return parts.length === 0 ? '' : `{${parts.join(',')}}`
}

function escaped(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}

function numberText(value: number): string {
  return value === Number.POSITIVE_INFINITY ? '+Inf' : String(value)
}
