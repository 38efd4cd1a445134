/** All figures of the server, as control gathers them: its own, the keeper's last ones, and the gateway's as they are now. */
import type { GatewayLink } from './gateway.ts'
import type { MetricSample } from '../telemetry/catalogue.ts'
import { exposition } from '../telemetry/exposition.ts'
import { processFigures } from '../telemetry/process.ts'
import type { Registry } from '../telemetry/registry.ts'

export interface Figures {
  /** The keeper's, which come by themselves. */
  ofKeeper(samples: MetricSample[]): void
  /** As text for Prometheus. With a tenant only what is that tenant's: the rest is the operator's. */
  text(tenant: string | null): Promise<string>
}

export function gatherFigures(options: { registry: Registry; gateway: Pick<GatewayLink, 'connected' | 'metrics'>; version: string }): Figures {
  const { registry, gateway, version } = options
  let keeper: MetricSample[] = []
  registry.source(processFigures('control'))
  registry.source(() => [{ name: 'hostel_info', labels: { version }, value: 1 }])
  registry.gauge('hostel_gateway_connected', () => (gateway.connected ? 1 : 0))

  return {
    ofKeeper(samples) {
      keeper = samples
    },
    async text(tenant) {
      // A gateway that is away or stuck is just what an operator wants to see in the other figures.
      const ofGateway = await gateway.metrics().catch((): MetricSample[] => [])
      const all = [...registry.samples(), ...keeper, ...ofGateway]
      return exposition(tenant === null ? all : all.filter(({ labels }) => labels['tenant'] === tenant))
    },
  }
}
