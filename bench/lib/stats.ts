/** Order statistics of a run; quantiles by the nearest-rank method. */
export interface Summary {
  n: number
  p50: number
  p90: number
  p99: number
  max: number
  mean: number
}

export function summarise(samples: number[]): Summary {
  if (samples.length === 0) throw new RangeError('no samples to summarise')
  const sorted = samples.toSorted((a, b) => a - b)
  const rank = (q: number): number => sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(q * sorted.length) - 1))]!
  return { n: sorted.length, p50: rank(0.5), p90: rank(0.9), p99: rank(0.99), max: sorted.at(-1)!, mean: sorted.reduce((a, b) => a + b, 0) / sorted.length }
}

export function median(samples: number[]): number {
  return summarise(samples).p50
}
