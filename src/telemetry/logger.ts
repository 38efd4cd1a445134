/** The server's own log: JSON lines on standard error. What functions write goes elsewhere (see invocations/). */
import { pino } from 'pino'

export type { Logger } from 'pino'

/** A logger for one process; `HOSTEL_LOG` sets the level (trace, debug, info, warn, error; default warn). Synchronous, so that nothing is lost in a crash. */
export function createLogger(processName: string): pino.Logger {
  return pino(
    {
      level: process.env['HOSTEL_LOG'] ?? 'warn',
      base: { process: processName, pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    pino.destination({ fd: 2, sync: true }),
  )
}
