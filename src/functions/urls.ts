/** Where functions answer. */

export interface FunctionUrls {
  /** Works with every client: nothing in it needs resolving beyond the gateway's own address. */
  path: string
  /** An origin of its own. */
  host: string
}

/** Makes URLs for a gateway that listens on `address` (`host:port`) and serves functions below `domain`. */
export function urlMaker(address: string, domain: string): { gateway: string; of: (tenant: string, name: string) => FunctionUrls } {
  const at = reachableAddress(address)
  const port = at.slice(at.lastIndexOf(':'))
  const gateway = `http://${at}`
  return { gateway, of: (tenant, name) => ({ path: `${gateway}/${tenant}/${name}/`, host: `http://${name}.${tenant}.${domain}${port}/` }) }
}

/** An address to call, where the one listened on may stand for all of a machine's. */
export function reachableAddress(address: string): string {
  return address.replace(/^(0\.0\.0\.0)?:(\d+)$/, '127.0.0.1:$2').replace(/^(\[::\]|::):(\d+)$/, '[::1]:$2')
}
