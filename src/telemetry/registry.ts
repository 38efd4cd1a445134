/** A process's figures: plain numbers that are counted in place, and read when somebody asks. */
import type { CounterName, GaugeName, HistogramName, Labels, MetricName, MetricSample } from './catalogue.ts'

/** Something that is counted; whoever counts often keeps it at hand. */
export interface Counter {
  value: number
}

/** From half a millisecond, where warm calls are, to the longest deadline people set; each about two and a half times the one before. */
const DURATION_BOUNDS_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30] as const

/** A histogram of durations. Counting allocates nothing. */
export class Histogram {
  readonly bounds: readonly number[] = DURATION_BOUNDS_SECONDS
  readonly counts: number[] = [...DURATION_BOUNDS_SECONDS, Number.POSITIVE_INFINITY].map(() => 0)
  sum = 0

  observe(seconds: number): void {
    let at = 0
    while (at < this.bounds.length && seconds > this.bounds[at]!) at++
    this.counts[at]!++
    this.sum += seconds
  }
}

export interface Registry {
  /** The same one for the same labels. */
  counter(name: CounterName, labels?: Labels): Counter
  histogram(name: HistogramName, labels?: Labels): Histogram
  /** Asks for the value, or for one by label values, each time that somebody asks for figures; `undefined` leaves it out. */
  gauge(name: GaugeName, read: () => number | undefined): void
  /** Asks for whole samples likewise: for what is counted elsewhere, or comes and goes. */
  source(read: () => Iterable<MetricSample>): void
  samples(): MetricSample[]
}

export function createRegistry(): Registry {
  const counters = new Map<string, { name: MetricName; labels: Labels; counter: Counter }>()
  const histograms = new Map<string, { name: MetricName; labels: Labels; histogram: Histogram }>()
  const sources: (() => Iterable<MetricSample>)[] = []

  return {
    counter(name, labels = {}) {
      const key = keyOf(name, labels)
      let found = counters.get(key)
      if (!found) counters.set(key, (found = { name, labels, counter: { value: 0 } }))
      return found.counter
    },
    histogram(name, labels = {}) {
      const key = keyOf(name, labels)
      let found = histograms.get(key)
      if (!found) histograms.set(key, (found = { name, labels, histogram: new Histogram() }))
      return found.histogram
    },
    gauge(name, read) {
      sources.push(() => {
        const value = read()
        return value === undefined ? [] : [{ name, labels: {}, value }]
      })
    },
    source(read) {
      sources.push(read)
    },
    samples() {
      return [
        ...[...counters.values()].map(({ name, labels, counter }) => ({ name, labels, value: counter.value })),
        ...[...histograms.values()].map(({ name, labels, histogram }) => histogramSample(name, labels, histogram)),
        ...sources.flatMap((read) => [...read()]),
      ]
    },
  }
}

export function histogramSample(name: MetricName, labels: Labels, { bounds, counts, sum }: Histogram): MetricSample {
  return { name, labels, value: { bounds, counts: [...counts], sum } }
}

function keyOf(name: string, labels: Labels): string {
  return `${name} ${Object.values(labels).join('\n')}`
}
