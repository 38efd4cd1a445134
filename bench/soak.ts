/**
 * Mixed load for minutes: innocent functions beside ones that crash, hang, leak, flood their logs, fork, fill /tmp and answer
 * garbage. Tells what leaked and whether the innocent kept answering: their p99 alone, and in this company.
 */
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'

import { Http1Client } from './lib/http1.ts'
import { printTable, type Row, writeResult } from './lib/report.ts'
import { summarise } from './lib/stats.ts'
import { deploy } from '../test/lib/functions.ts'
import { memoryCgroupCount, processesOf } from '../test/lib/leftovers.ts'
import { isZombie, openDescriptors, residentMiB } from '../test/lib/processes.ts'
import { removeData, startServer, type TestServer } from '../test/lib/server.ts'

const innocent = {
  'innocent-node': { 'index.mjs': 'export default { fetch: (request) => new Response(new URL(request.url).pathname) }\n' },
  'innocent-python': { 'main.py': 'def handler(event, context):\n    return {"statusCode": 200, "body": event["rawPath"]}\n' },
}

const hostile = {
  crashes: { 'index.mjs': 'export default { fetch: () => process.exit(Math.floor(Math.random() * 3)) }\n' },
  segfaults: { 'main.py': 'import os\ndef handler(event, context):\n    os.kill(os.getpid(), 11)\n' },
  hangs: { 'index.mjs': 'export default { fetch: () => new Promise(() => {}) }\n' },
  spins: { 'index.mjs': 'export default { fetch() { for (;;); } }\n' },
  leaks: {
    'index.mjs':
      'const hold = []\nexport default { async fetch() { for (;;) { hold.push(Buffer.alloc(4 << 20, 1)); await new Promise((r) => setImmediate(r)) } } }\n',
  },
  floods: { 'index.mjs': "export default { fetch() { for (let i = 0; i < 20000; i++) console.log('x'.repeat(200), i); return new Response('flooded') } }\n" },
  forks: {
    'main.py':
      'import os, time\ndef handler(event, context):\n    for _ in range(500):\n        try:\n            if os.fork() == 0:\n                time.sleep(30)\n                os._exit(0)\n        except OSError:\n            pass\n    return "forked"\n',
  },
  fills: {
    'main.py':
      'def handler(event, context):\n    try:\n        with open("/tmp/full", "wb") as file:\n            while True:\n                file.write(b"x" * (1 << 20))\n    except OSError as error:\n        return str(error)\n',
  },
  lies: {
    'index.mjs': "import { writeSync } from 'node:fs'\nexport default { fetch() { writeSync(3, Buffer.alloc(64, 255)); return new Response('lied') } }\n",
  },
  garbage: { 'index.mjs': "export default { fetch: () => ({ status: 'no' }) }\n" },
}

export async function soak(args: string[]): Promise<void> {
  const { values } = parseArgs({ args, options: { minutes: { type: 'string', default: '10' } } })
  const server = await startServer()
  try {
    for (const [name, files] of Object.entries({ ...innocent, ...hostile })) await deploy(server, name, files, { timeoutMs: 2_000, memoryMiB: 128 })
    console.log('30 s of the innocent alone …')
    const alone = await innocents(server, 30_000)
    const before = state(server)
    console.log(`${values.minutes} min of all together …`)
    const until = performance.now() + Number(values.minutes) * 60_000
    const [company, outcomes] = await Promise.all([
      innocents(server, Number(values.minutes) * 60_000),
      Promise.all(Object.keys(hostile).map((name) => hostileCalls(server, name, until))),
    ])
    await new Promise((resolve) => setTimeout(resolve, 15_000))
    const after = state(server)
    report(alone, company, Object.fromEntries(outcomes), before, after)
  } finally {
    await server.stop()
    removeData(server.dataDir)
  }
}

type Samples = Map<string, { ms: number[]; failures: number }>

/** Calls each innocent function one call at a time, with a short pause, and counts every answer that is not its own. */
async function innocents(server: TestServer, forMs: number): Promise<Samples> {
  const result: Samples = new Map()
  await Promise.all(
    Object.keys(innocent).map(async (name) => {
      const samples = { ms: [] as number[], failures: 0 }
      result.set(name, samples)
      const until = performance.now() + forMs
      let client = await Http1Client.open('127.0.0.1', server.gatewayPort)
      for (let call = 0; performance.now() < until; call++) {
        try {
          const answer = await client.get(`/default/${name}/${call}`, 'localhost')
          if (answer.status === 200 && answer.body.includes(`/${call}`)) samples.ms.push(answer.ms)
          else samples.failures++
        } catch {
          samples.failures++
          client = await Http1Client.open('127.0.0.1', server.gatewayPort)
        }
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
      client.close()
    }),
  )
  return result
}

async function hostileCalls(server: TestServer, name: string, until: number): Promise<[string, Record<string, number>]> {
  const outcomes: Record<string, number> = {}
  while (performance.now() < until) {
    let outcome: string
    try {
      const response = await fetch(`${server.gateway}/default/${name}`, { signal: AbortSignal.timeout(15_000) })
      const text = await response.text()
      outcome = response.ok ? 'ok' : ((JSON.parse(text) as { code: string }).code ?? String(response.status))
    } catch (error) {
      outcome = `client: ${(error as Error).name}`
    }
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  return [name, outcomes]
}

type State = Record<string, number>

function state(server: TestServer): State {
  const processes = processesOf(server.child.pid!)
  const own = Object.fromEntries(
    ['keeper', 'gateway', 'control'].flatMap((role) => {
      const pid = processes.titled(`hostel ${role}`)
      return [
        [`${role} MiB`, Math.round(residentMiB(pid))],
        [`${role} descriptors`, openDescriptors(pid)],
      ]
    }),
  )
  const keeper = processes.titled('hostel keeper')
  return {
    ...own,
    processes: processes.all.length,
    zombies: processes.all.filter(isZombie).length,
    'keeper mounts': readFileSync(`/proc/${keeper}/mounts`, 'utf8').split('\n').length,
    'memory cgroups in /proc/cgroups': memoryCgroupCount(),
  }
}

function report(alone: Samples, company: Samples, outcomes: Record<string, Record<string, number>>, before: State, after: State): void {
  const rows: Row[] = [...alone].map(([name, samples]) => {
    const a = summarise(samples.ms)
    const c = summarise(company.get(name)!.ms)
    return {
      function: name,
      'calls alone': a.n,
      'p50 alone': a.p50,
      'p99 alone': a.p99,
      'calls in company': c.n,
      'p50 in company': c.p50,
      'p99 in company': c.p99,
      'p99 ratio': c.p99 / a.p99,
      failures: samples.failures + company.get(name)!.failures,
    }
  })
  printTable('the innocent, milliseconds', rows)
  printTable(
    'the hostile',
    Object.entries(outcomes).map(([name, counts]) => ({
      function: name,
      outcomes: Object.entries(counts)
        .map(([code, n]) => `${code} ${n}`)
        .join(', '),
    })),
  )
  printTable(
    'what is there before and 15 s after',
    Object.keys(before).map((what) => ({ what, before: before[what]!, after: after[what]! })),
  )
  writeResult('soak', { rows, outcomes, before, after })
}
