/** Control's end of the channel to the keeper, which started it. */
import type { Socket } from 'node:net'

import type { ChildSettings, FromKeeper } from '../keeper/messages.ts'
import type { MetricSample } from '../telemetry/catalogue.ts'

/** What the keeper may tell control. */
export interface KeeperEvents {
  start(settings: ChildSettings): void
  /** A stream to the gateway, now or anew. */
  link(socket: Socket): void
  /** The keeper's own figures, every few seconds. */
  metrics(samples: MetricSample[]): void
  stop(withinMs: number): void
}

/** Listens from now on. A keeper that is gone takes control with it. */
export function listenToKeeper(events: KeeperEvents): void {
  if (!process.send) throw new Error('control is started by the keeper (`hostel server`), not by hand')
  process.on('message', (message: FromKeeper, handle) => {
    if (message.type === 'start') events.start(message.settings)
    else if (message.type === 'metrics') events.metrics(message.samples)
    else if (message.type === 'stop') events.stop(message.withinMs)
    else if (message.type === 'link' && handle) events.link(handle as Socket)
  })
  process.on('disconnect', () => process.exit(1))
  // They reach the whole process group; when to go is the keeper's to say.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {})
}

/** Tells the keeper that requests are being answered. */
export function tellReady(): void {
  process.send?.({ type: 'ready' })
}
