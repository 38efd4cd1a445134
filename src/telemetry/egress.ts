/** What is counted of every attempt to leave a sandbox. */
import type { EgressRecord } from '../functions/types.ts'
import type { Registry } from './registry.ts'

export function countEgress(registry: Registry): (record: EgressRecord) => void {
  const sent = registry.counter('hostel_egress_bytes_total', { direction: 'sent' })
  const received = registry.counter('hostel_egress_bytes_total', { direction: 'received' })
  return ({ door, verdict, sentBytes, receivedBytes }) => {
    registry.counter('hostel_egress_attempts_total', { door, verdict }).value++
    sent.value += sentBytes
    received.value += receivedBytes
  }
}
