/** A stream that ends where too much comes. */
import { Transform } from 'node:stream'

import type { HostelError } from '../../errors.ts'

/** Passes on at most so many bytes; with more it fails with `tooMany()`. */
export function bounded(maxBytes: number, tooMany: () => HostelError): Transform {
  let bytes = 0
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length
      if (bytes > maxBytes) done(tooMany())
      else done(null, chunk)
    },
  })
}
