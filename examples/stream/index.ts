// A streaming answer: each line reaches the caller as soon as it is written.
//
//   hostel deploy examples/stream
//   hostel invoke stream --path '/?from=5'

import { setTimeout } from 'node:timers/promises'

async function* countdown(from: number, signal: AbortSignal): AsyncGenerator<string> {
  for (let left = from; left > 0; left--) {
    yield `${left}\n`
    // The signal fires when the caller goes away, so nothing counts on for nobody.
    await setTimeout(50, undefined, { signal })
  }
  yield 'lift-off\n'
}

export default {
  fetch(request: Request): Response {
    const from = Math.min(Number(new URL(request.url).searchParams.get('from') ?? 3), 100)
    const lines = ReadableStream.from(countdown(from, request.signal))
    return new Response(lines.pipeThrough(new TextEncoderStream()), { headers: { 'content-type': 'text/plain; charset=utf-8' } })
  },
}
