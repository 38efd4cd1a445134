/** A line of a function's log as people see it. */
import type { LogLine } from '../client/control.ts'
import { formatTime, harmless, styled } from './output.ts'

const styles = { stdout: 'reset', stderr: 'yellow', debug: 'dim', info: 'reset', warn: 'yellow', error: 'red', gap: 'magenta', system: 'cyan' } as const

/** Time, end of the invocation's id, level, text. `brief` leaves out the day, for who sees it come. */
export function formatLine(line: LogLine, options: { brief?: boolean; text?: string } = {}): string {
  const invocation = line.invocation?.slice(-8) ?? '-'.padEnd(8)
  const time = formatTime(line.atMs).slice(options.brief ? 11 : 0)
  return `${styled('dim', `${time} ${invocation}`)} ${styled(styles[line.level] ?? 'reset', line.level.padEnd(6))} ${harmless(options.text ?? line.text)}`
}
