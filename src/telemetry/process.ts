/** Figures of the process that runs this. */
import { readdirSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'

import type { MetricSample } from './catalogue.ts'

/** The window over which the delay of the event loop is told: between one and two scrapes of the usual 15 s. */
const DELAY_WINDOW_MS = 30_000
const DELAY_RESOLUTION_MS = 20

/** @param name keeper, gateway or control. Give the result to `Registry.source`. */
export function processFigures(name: string): () => MetricSample[] {
  const delay = monitorEventLoopDelay({ resolution: DELAY_RESOLUTION_MS })
  delay.enable()
  // What was measured while the process started says nothing about how it serves.
  setInterval(() => delay.reset(), DELAY_WINDOW_MS).unref()
  const startedAtSeconds = performance.timeOrigin / 1_000
  const labels = { process: name }

  return () => {
    const { user, system } = process.cpuUsage()
    const lateness = (quantile: string, nanoseconds: number): MetricSample => ({
      name: 'hostel_event_loop_delay_seconds',
      labels: { process: name, quantile },
      // The measure includes the timer's own period.
      value: Math.max(0, (Number.isFinite(nanoseconds) ? nanoseconds : 0) / 1e9 - DELAY_RESOLUTION_MS / 1_000),
    })
    return [
      { name: 'hostel_process_cpu_seconds_total', labels, value: (user + system) / 1e6 },
      { name: 'hostel_process_resident_memory_bytes', labels, value: process.memoryUsage.rss() },
      { name: 'hostel_process_open_fds', labels, value: readdirSync('/proc/self/fd').length },
      { name: 'hostel_process_start_time_seconds', labels, value: startedAtSeconds },
      lateness('0.5', delay.percentile(50)),
      lateness('0.99', delay.percentile(99)),
      lateness('1', delay.max),
    ]
  }
}
