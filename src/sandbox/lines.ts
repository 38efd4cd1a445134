/** Cuts what bypasses the shim (a child's or a crashing runtime's output) into lines of bounded length. */
import { limits } from '../limits.ts'

const LINE_FEED = 0x0a
const CARRIAGE_RETURN = 0x0d
const CUT_MARK = Buffer.from('… [cut]')

export interface LineSplitter {
  push(chunk: Buffer): void
  /** Gives out an unfinished last line. */
  end(): void
}

/**
 * `onLine` gets bytes without the line break; it must not keep them. Empty lines and what lies beyond a line's length are left out,
 * and `onLeftOut` told how many bytes that were.
 */
export function createLineSplitter(onLine: (line: Buffer) => void, onLeftOut: (bytes: number) => void = () => {}): LineSplitter {
  let held: Buffer | null = null
  /** The line's rest is thrown away up to its end. */
  let cutting = false

  function finish(rest: Buffer): void {
    if (cutting) {
      cutting = false
      onLeftOut(rest.length + 1)
      return
    }
    const line = held === null ? rest : Buffer.concat([held, rest])
    held = null
    if (line.length > limits.logLineMaxBytes) onLine(cutLine(line))
    else {
      const trimmed = line.at(-1) === CARRIAGE_RETURN ? line.subarray(0, -1) : line
      if (trimmed.length > 0) onLine(trimmed)
      else onLeftOut(line.length + 1)
    }
  }

  return {
    push(chunk) {
      let from = 0
      for (let at = chunk.indexOf(LINE_FEED); at >= 0; at = chunk.indexOf(LINE_FEED, from)) {
        finish(chunk.subarray(from, at))
        from = at + 1
      }
      if (from === chunk.length) return
      if (cutting) {
        onLeftOut(chunk.length - from)
        return
      }
      // A copy: what is held must not pin the chunk it came in.
      held = Buffer.concat([held ?? Buffer.alloc(0), chunk.subarray(from)])
      if (held.length <= limits.logLineMaxBytes) return
      onLine(cutLine(held))
      held = null
      cutting = true
    },
    end() {
      if (held !== null || cutting) finish(Buffer.alloc(0))
    },
  }
}

function cutLine(line: Buffer): Buffer {
  return Buffer.concat([line.subarray(0, limits.logLineMaxBytes), CUT_MARK])
}
