/** `npm run bench -- NAME [flags]`: one benchmark a name; each compares with named peers in one interleaved run. */
const benchmarks: Record<string, () => Promise<(args: string[]) => Promise<void>>> = {
  cold: async () => (await import('./cold.ts')).cold,
  warm: async () => (await import('./warm.ts')).warm,
  soak: async () => (await import('./soak.ts')).soak,
}

const [name = '', ...args] = process.argv.slice(2)
const load = benchmarks[name]
if (!load) {
  console.error(`npm run bench -- NAME, where NAME is one of: ${Object.keys(benchmarks).join(', ')}`)
  process.exit(2)
}
const { needTools } = await import('./lib/tools.ts')
await needTools()
await (
  await load()
)(args)
