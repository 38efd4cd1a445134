/** Token buckets by key, in bounded memory. */

export interface RateLimiter {
  /** Takes a token; else the seconds until there is one. */
  take(key: string, nowMs: number): number
}

interface Bucket {
  tokens: number
  atMs: number
}

/**
 * So many a second for each key, with a burst of one second's worth. Buckets lie in two generations: when the younger is full it
 * becomes the older, whose keys are forgotten, and with them a debt of at most a second. Many keys at once can so only make it laxer, never larger.
 */
export function createRateLimiter(perSecond: number, maxKeys: number): RateLimiter {
  const burst = Math.max(1, perSecond)
  let young = new Map<string, Bucket>()
  let old = new Map<string, Bucket>()
  return {
    take(key, nowMs) {
      let bucket = young.get(key)
      if (bucket === undefined) {
        bucket = old.get(key) ?? { tokens: burst, atMs: nowMs }
        if (young.size >= maxKeys / 2) {
          old = young
          young = new Map()
        }
        young.set(key, bucket)
      }
      bucket.tokens = Math.min(burst, bucket.tokens + (Math.max(0, nowMs - bucket.atMs) / 1_000) * perSecond)
      bucket.atMs = nowMs
      if (bucket.tokens >= 1) {
        bucket.tokens--
        return 0
      }
      return (1 - bucket.tokens) / perSecond
    },
  }
}

/** An IPv6 host has a whole network of addresses, so that counts as one client. */
export function clientKey(address: string): string {
  if (!address.includes(':')) return address
  const [head = '', tail] = address.split('::')
  const groups = head === '' ? [] : head.split(':')
  const after = tail === undefined || tail === '' ? [] : tail.split(':')
  const all = tail === undefined ? groups : [...groups, ...new Array<string>(Math.max(0, 8 - groups.length - after.length)).fill('0'), ...after]
  return all.slice(0, 4).join(':')
}
