/** `--watch`: the same output again every second, in place on a terminal. */
import { Option } from '@commander-js/extra-typings'

import { ConnectionError } from '../client/errors.ts'
import { usageFailure } from './failure.ts'
import { failureOf } from './report.ts'

const EVERY_MS = 1_000

export const watchOption = () => new Option('-w, --watch', 'show it again every second; Ctrl-C ends it')

/**
 * Shows what `render` gives, once or again and again. A server that goes away meanwhile is waited for.
 * @throws CliFailure (usage) for --json, which is one document
 */
export async function show(render: () => Promise<string>, options: { watch?: boolean | undefined; json?: boolean | undefined }): Promise<void> {
  if (!options.watch) return void process.stdout.write(`${await render()}\n`)
  if (options.json) throw usageFailure('--watch and --json do not go together', 'Take --watch away, and run it as often as you like.')
  for (;;) {
    const startedAt = performance.now()
    const text = await render().catch((error: unknown) => {
      if (!(error instanceof ConnectionError)) throw error
      return failureOf(error).message
    })
    await draw(text)
    await new Promise((resolve) => setTimeout(resolve, Math.max(100, EVERY_MS - (performance.now() - startedAt))))
  }
}

/** Over what was there before; into a pipe one after the other. Waits for a slow reader. */
async function draw(text: string): Promise<void> {
  const frame = process.stdout.isTTY ? onScreen(text, process.stdout.rows) : `${text}\n\n`
  if (!process.stdout.write(frame)) await new Promise((resolve) => process.stdout.once('drain', resolve))
}

const HOME = '\u001B[H'
const CLEAR_LINE = '\u001B[K'
const CLEAR_BELOW = '\u001B[J'
/** Lines longer than the screen is wide would break and move the rest down. */
const NO_WRAP = '\u001B[?7l'
const WRAP = '\u001B[?7h'

/** A frame that overwrites the one before without flicker, cut to the screen. */
export function onScreen(text: string, rows: number): string {
  const lines = text.split('\n')
  const fitting = lines.length < rows || rows < 3 ? lines : [...lines.slice(0, rows - 2), `… ${lines.length - rows + 2} more lines`]
  return HOME + NO_WRAP + fitting.map((line) => `${line}${CLEAR_LINE}\n`).join('') + WRAP + CLEAR_BELOW
}
