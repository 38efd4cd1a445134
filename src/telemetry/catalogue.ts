/**
 * Every figure of `/metrics`: what kind it is, what it means, and by what it is told apart. `docs/reference/metrics.md` is generated
 * from it, and nothing is shown that is not in it. Names follow Prometheus's conventions: base units, `_total` for what only rises.
 */

interface Metric {
  type: 'counter' | 'gauge' | 'histogram'
  /** A sentence without a full stop. */
  help: string
  /** Names of labels; none when left out. The values of each are bounded. */
  labels?: readonly string[]
}

export const metricCatalogue = {
  // Invocations.
  hostel_invocations_total: {
    type: 'counter',
    help: 'Invocations that are over, by outcome: ok or an error code',
    labels: ['tenant', 'function', 'outcome'],
  },
  hostel_invocation_duration_seconds: { type: 'histogram', help: 'From the request to the end of its answer', labels: ['tenant', 'function'] },
  hostel_acquire_duration_seconds: {
    type: 'histogram',
    help: 'From the request to a place in a sandbox, by how it was come by: warm, spare (specialised for it), boot (booted for it), none (refused)',
    labels: ['start'],
  },
  hostel_forward_duration_seconds: { type: 'histogram', help: 'From a place in a sandbox to the end of the answer' },
  hostel_cold_starts_total: { type: 'counter', help: 'Invocations for which a sandbox was started, by kind: spare or boot', labels: ['kind'] },
  hostel_invocations_in_flight: { type: 'gauge', help: 'Invocations under way' },
  hostel_request_body_bytes_total: { type: 'counter', help: 'Bytes of request bodies that invocations took' },
  hostel_response_body_bytes_total: { type: 'counter', help: 'Bytes of response bodies that functions gave' },

  // The queue.
  hostel_queue_requests: { type: 'gauge', help: 'Requests waiting for a place in a sandbox' },
  hostel_queue_wait_seconds: { type: 'histogram', help: 'How long requests waited that found no free place at once' },

  // Sandboxes.
  hostel_sandboxes: { type: 'gauge', help: 'Sandboxes, by state', labels: ['state'] },
  hostel_spares: { type: 'gauge', help: 'Spares that are ready, by class: runtime/memory in MiB/isolation', labels: ['class'] },
  hostel_spares_booting: { type: 'gauge', help: 'Spares that are booting, by class', labels: ['class'] },
  hostel_spares_target: { type: 'gauge', help: 'Spares that are to be kept ready, by class', labels: ['class'] },
  hostel_sandbox_boots_total: { type: 'counter', help: 'Boots of sandboxes, by result: ok or failed', labels: ['result'] },
  hostel_sandbox_ends_total: { type: 'counter', help: 'Sandboxes that are gone, by cause', labels: ['cause'] },
  hostel_evictions_total: {
    type: 'counter',
    help: 'Sandboxes ended to make room, by what they were (idle, spare) and why (budget: for others; pressure: the machine was short of memory)',
    labels: ['kind', 'reason'],
  },
  hostel_memory_charged_bytes: { type: 'gauge', help: 'Memory that sandboxes are counted with' },
  hostel_memory_budget_bytes: { type: 'gauge', help: 'Memory that sandboxes may be counted with' },
  hostel_host_memory_available_bytes: { type: 'gauge', help: "The machine's memory that is available, as its kernel estimates it" },
  hostel_host_memory_reserve_bytes: { type: 'gauge', help: 'Below so much available memory sandboxes are ended and refused' },
  hostel_host_memory_pressure_ratio: {
    type: 'gauge',
    help: 'Share of the last ten seconds in which something waited for memory; absent where the kernel does not tell',
  },
  hostel_memory_pressure_state: { type: 'gauge', help: '0: enough memory; 1: sandboxes without work are ended; 2: new sandboxes are refused' },

  // Logs and records.
  hostel_log_lines_total: { type: 'counter', help: 'Lines that functions wrote and Hostel took, by level', labels: ['level'] },
  hostel_log_lines_dropped_total: {
    type: 'counter',
    help: 'Lines that were dropped, by reason: rate (over the limit of a sandbox or an invocation), store (control did not take them in time)',
    labels: ['reason'],
  },
  hostel_records_dropped_total: { type: 'counter', help: 'Invocation records that were dropped since control did not take them in time' },
  hostel_reports_pending: { type: 'gauge', help: 'Records and lines on their way from the gateway to control, by kind', labels: ['kind'] },
  hostel_batches_total: { type: 'counter', help: 'Batches of records and lines that control made durable, by result: ok or failed', labels: ['result'] },
  hostel_batch_duration_seconds: { type: 'histogram', help: 'From the arrival of a batch at control until it was durable' },
  hostel_trace_spans_total: {
    type: 'counter',
    help: 'Spans, by result: exported, dropped (too many waited), failed (the collector did not take them)',
    labels: ['result'],
  },

  // Egress.
  hostel_egress_attempts_total: {
    type: 'counter',
    help: 'Attempts to leave sandboxes, by door (proxy, service) and verdict (allowed, refused, failed)',
    labels: ['door', 'verdict'],
  },
  hostel_egress_bytes_total: { type: 'counter', help: 'Bytes through doors, by direction: sent, received', labels: ['direction'] },

  // The control API.
  hostel_api_requests_total: { type: 'counter', help: 'Answers of the control API, by route and status', labels: ['route', 'status'] },
  hostel_api_duration_seconds: { type: 'histogram', help: 'From a request to the control API to the end of its answer; streams of logs left out' },

  // The server.
  hostel_info: { type: 'gauge', help: 'Always 1, with the version', labels: ['version'] },
  hostel_gateway_connected: { type: 'gauge', help: 'Whether control has a link to the gateway: without it the figures of the data plane are missing' },
  hostel_process_cpu_seconds_total: { type: 'counter', help: "CPU time of the server's own processes", labels: ['process'] },
  hostel_process_resident_memory_bytes: { type: 'gauge', help: 'Resident memory', labels: ['process'] },
  hostel_process_open_fds: { type: 'gauge', help: 'Open descriptors', labels: ['process'] },
  hostel_process_start_time_seconds: { type: 'gauge', help: 'When the process started, in seconds since the epoch', labels: ['process'] },
  hostel_event_loop_delay_seconds: {
    type: 'gauge',
    help: 'How late the event loop was over the last half minute, by quantile: 0.5, 0.99, 1',
    labels: ['process', 'quantile'],
  },
} as const satisfies Record<string, Metric>

export type MetricName = keyof typeof metricCatalogue
type NameOf<T extends Metric['type']> = { [K in MetricName]: (typeof metricCatalogue)[K]['type'] extends T ? K : never }[MetricName]
export type CounterName = NameOf<'counter'>
export type GaugeName = NameOf<'gauge'>
export type HistogramName = NameOf<'histogram'>

/** Label → value. */
export type Labels = Readonly<Record<string, string>>

/** One figure at one moment, as it goes from process to process. */
export interface MetricSample {
  name: MetricName
  labels: Labels
  value: number | HistogramValue
}

export interface HistogramValue {
  /** Upper bounds, rising. */
  bounds: readonly number[]
  /** How many fell into each, and beyond the last: one more than bounds. */
  counts: readonly number[]
  sum: number
}
