/**
 * What a newcomer sees when the server is up: started by the keeper, as an unprivileged process. With HOSTEL_WELCOME=examples on a
 * server without functions it deploys examples/, calls each, and shows what came and how long it took.
 */
import { readdirSync } from 'node:fs'
import { resolve } from 'node:path'

import { createControlClient } from '../client/control.ts'
import type { ControlClient, System } from '../client/control.ts'
import { callFunction } from '../client/gateway.ts'
import { readBody } from '../client/transport.ts'
import { DEFAULT_TENANT } from '../functions/names.ts'
import { manifestTarget } from './deploy-manifest.ts'
import { applyTarget, planTarget } from './deploying.ts'
import type { Target } from './deploying.ts'
import { findManifest, loadManifest } from './manifest-file.ts'
import { formatMs, print, styled, table } from './output.ts'
import { failureOf } from './report.ts'

const EXAMPLES = resolve(import.meta.dirname, '../../examples')
/** How long all parts of the server may take to be there. */
const READY_TIMEOUT_MS = 15_000
const CALL_TIMEOUT_MS = 15_000
const ANSWER_LIMITS = { maxBytes: 64 * 1024, timeoutMs: CALL_TIMEOUT_MS }
const WARM_CALLS = 5

interface Outcome {
  name: string
  url: string
  /** Undefined when it failed. */
  times?: { coldMs: number; warmMs: number }
  /** The answer, or why there is none. */
  text: string
}

process.stdout.on('error', () => process.exit(0))

try {
  await welcome()
} catch (error) {
  const failure = failureOf(error)
  print(`The welcome could not be finished: ${failure.message}${failure.why ? ` (${failure.why})` : ''}`)
  process.exitCode = 1
}

async function welcome(): Promise<void> {
  const client = createControlClient({ api: required('HOSTEL_API'), token: required('HOSTEL_TOKEN') })
  const gateway = required('HOSTEL_GATEWAY').replace(/\/+$/, '')
  const system = await ready(client)
  let deployed = (await client.functions(DEFAULT_TENANT)).map((item) => item.name)
  if (process.env['HOSTEL_WELCOME'] === 'examples' && deployed.length === 0) {
    const outcomes = await tryExamples(client, gateway)
    showOutcomes(outcomes)
    deployed = outcomes.filter((outcome) => outcome.times).map((outcome) => outcome.name)
  }
  showWhereabouts(system, gateway, deployed)
}

function required(name: string): string {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set; the keeper sets it`)
  return value
}

/** The API may be a moment ahead of the gateway. */
async function ready(client: ControlClient): Promise<System> {
  const deadline = performance.now() + READY_TIMEOUT_MS
  for (;;) {
    try {
      const system = await client.system()
      if (system.gatewayConnected) return system
      if (performance.now() > deadline) throw new Error('the gateway is not there')
    } catch (error) {
      if (performance.now() > deadline) throw error
    }
    await new Promise((done) => setTimeout(done, 50))
  }
}

async function tryExamples(client: ControlClient, gateway: string): Promise<Outcome[]> {
  const targets: Target[] = []
  for (const entry of readdirSync(EXAMPLES, { withFileTypes: true })) {
    const directory = resolve(EXAMPLES, entry.name)
    if (!entry.isDirectory()) continue
    const manifest = findManifest(directory)
    if (manifest === undefined) targets.push({ name: entry.name, directory, wanted: {} })
    else targets.push(...(await loadManifest(manifest)).functions.map(manifestTarget))
  }
  print(`Deploying the ${targets.length} functions of examples/ …`)
  const outcomes: Outcome[] = []
  // One after another, so that the times mean something.
  for (const target of targets) outcomes.push(await tryExample(client, gateway, target))
  return outcomes
}

async function tryExample(client: ControlClient, gateway: string, target: Target): Promise<Outcome> {
  const { name } = target
  let url = `${gateway}/${DEFAULT_TENANT}/${name}/`
  try {
    const planned = await planTarget(client, DEFAULT_TENANT, target, () => {})
    const deployed = await applyTarget(client, DEFAULT_TENANT, planned, () => {})
    url = deployed.urls.path
    const first = await measure(gateway, name)
    const warm: number[] = []
    for (let call = 0; call < WARM_CALLS; call++) warm.push((await measure(gateway, name)).ms)
    warm.sort((a, b) => a - b)
    // The deploy started the function, so that part of a cold start is known from there.
    return { name, url, times: { coldMs: deployed.timings.initMs + first.ms, warmMs: warm[WARM_CALLS >> 1]! }, text: first.text }
  } catch (error) {
    const failure = failureOf(error)
    return { name, url, text: [failure.message, failure.why].filter(Boolean).join(': ').replaceAll('\n', ' ') }
  }
}

/** Time to the head of the answer, and the answer. */
async function measure(gateway: string, name: string): Promise<{ ms: number; text: string }> {
  const startedAt = performance.now()
  const answer = await callFunction(gateway, { tenant: DEFAULT_TENANT, function: name, path: '/', method: 'GET', headers: {}, timeoutMs: CALL_TIMEOUT_MS })
  const ms = performance.now() - startedAt
  const text = (await readBody(answer, gateway, ANSWER_LIMITS)).toString().trim().replaceAll('\n', ' ')
  if (answer.status >= 400) throw new Error(`it answered ${answer.status}: ${text}`)
  return { ms, text }
}

function showOutcomes(outcomes: Outcome[]): void {
  const short = (text: string): string => (text.length > 40 ? `${text.slice(0, 39)}…` : text)
  const rows = outcomes
    .filter((outcome) => outcome.times)
    .map(({ name, url, times, text }) => [name, url, short(text), formatMs(times!.coldMs), formatMs(times!.warmMs)])
  print()
  print(table([{ title: 'FUNCTION' }, { title: 'URL' }, { title: 'ANSWER' }, { title: 'COLD', right: true }, { title: 'WARM', right: true }], rows))
  for (const outcome of outcomes.filter((candidate) => !candidate.times)) print(`${styled('red', 'failed')}  ${outcome.name}: ${outcome.text}`)
  print(styled('dim', `COLD: start of the function in a spare sandbox and its first call. WARM: median of ${WARM_CALLS} calls. Both to the first byte.`))
}

function showWhereabouts(system: System, gateway: string, deployed: string[]): void {
  const next = deployed.includes('hello')
    ? "bin/hostel invoke hello --path '/?name=Ada'"
    : deployed.length > 0
      ? 'bin/hostel ls'
      : 'bin/hostel init my-function && bin/hostel deploy my-function'
  print()
  print(`${styled('green', `Hostel ${system.version} is serving.`)} Ctrl-C stops it.`)
  print(`  gateway      ${gateway}/TENANT/FUNCTION/`)
  print(`  control API  ${system.apiUrl}`)
  print(`  bin/hostel   finds the API and its token in /run/hostel/cli.json, or in HOSTEL_API and HOSTEL_TOKEN;`)
  print(`               to call it hostel from anywhere: ln -s "$PWD/bin/hostel" /usr/local/bin/hostel`)
  print()
  print(`Try next: ${styled('bold', next)}`)
}
