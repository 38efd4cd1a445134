/**
 * The keeper: root, pid 1 of its own pid namespace, in a mount namespace of its own. Supervises gateway and control, and makes
 * and ends sandboxes for the gateway. It parses no HTTP, opens no database and takes nothing but ids and bounded numbers.
 */
import { closeSync, mkdirSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'

import { socketpair } from '../engines/embedded/descriptors.native.ts'
import { createEmbeddedEngine } from '../engines/embedded/embedded.ts'
import { createReaper } from '../engines/embedded/reaper.native.ts'
import { readRuntimes } from '../engines/embedded/runtimes.ts'
import { HostelError, errorKinds } from '../errors.ts'
import { parseSettings } from '../settings.ts'
import { createLogger } from '../telemetry/logger.ts'
import { processFigures } from '../telemetry/process.ts'
import { type Child, type ChildOptions, type Supervised, superviseChild } from './child.ts'
import { CONFINED_DATA, CONTROL_UID, GATEWAY_UID } from './confine.ts'
import { LATEST_CLI_FILE, openDataDirectory } from './data-directory.ts'
import { openInstance } from './instance.ts'
import { listen } from './listen.native.ts'
import type { ChildSettings } from './messages.ts'
import { isReadyMessage } from './parse.ts'
import { createSandboxes } from './sandboxes.ts'
import { openAccessLog, openCertificates } from './operator-files.ts'
import { showAround } from './welcome.ts'

const RUNTIMES_DIR = '/var/cache/hostel/runtimes'

/** For the children to drain; the rest of the five seconds that a stop may take is for cleaning up. */
const DRAIN_MS = 3_500

/** A child that has never served and ends this often in a row will not serve either. */
const HOPELESS_FAILURES = 5

/** Prometheus usually asks every 15 s. */
const FIGURES_EVERY_MS = 5_000

async function main(): Promise<number> {
  process.title = 'hostel keeper'
  const log = createLogger('keeper')
  const settings = parseSettings(process.argv.slice(2), process.env)
  const appDir = resolve(import.meta.dirname, '../..')
  const { promise: stopped, resolve: stop } = Promise.withResolvers<number>()
  const children: Supervised[] = []
  let stopping = false
  const onStopSignal = (): void => {
    // The first asks, the second insists.
    if (stopping) for (const child of children) child.kill()
    stopping = true
    stop(0)
  }
  process.on('SIGTERM', onStopSignal)
  process.on('SIGINT', onStopSignal)
  // Without certificates to read again it means that the terminal is gone.
  process.on('SIGHUP', () => (certificates ? certificates.reload() : onStopSignal()))

  // 1. What is there once: addresses, data directory, a name among the machine's servers.
  checkReadable(appDir)
  const runtimes = await readRuntimes(RUNTIMES_DIR)
  if (runtimes.size === 0) throw new HostelError('unavailable', `no runtime is installed in ${RUNTIMES_DIR}; build them with npm run setup`)
  using data = openDataDirectory(settings.dataDir, LATEST_CLI_FILE)
  const gatewayListener = await listen('--gateway', settings.gateway)
  const apiListener = await listen('--api', settings.api)
  const tlsListener = settings.tls && (await listen('--gateway-tls', settings.tls.listen))
  const certificates = settings.tls && openCertificates(settings.tls.files, log)
  const accessLogFd = settings.accessLog === null ? null : openAccessLog(settings.accessLog)
  await using instance = await openInstance(log)
  data.publish({ api: apiListener.url, gateway: gatewayListener.url })

  // 2. The engine, which needs all orphans to be ours.
  using reaper = createReaper()
  await using engine = await createEmbeddedEngine({
    instance: instance.name,
    runDir: instance.runDir,
    slotsDir: instance.slotsDir,
    appDir,
    codeRoot: data.controlDir,
    runtimes,
    reaper,
    onTrouble: (error, about) => log.error({ err: error }, about),
  })
  const sandboxes = createSandboxes({ engine, gateway: (): Child | undefined => gateway.current(), maxSandboxes: settings.maxSandboxes, log })

  // 3. The unprivileged processes.
  const childSettings: ChildSettings = {
    dataDir: CONFINED_DATA,
    gatewayAddress: gatewayListener.address,
    apiAddress: apiListener.address,
    domain: settings.domain,
    keepWarmMs: settings.keepWarmMs,
    memoryBudgetMiB: settings.memoryBudgetMiB,
    maxSandboxes: settings.maxSandboxes,
    services: settings.services,
    egressAllow: settings.egressAllow,
    egressDns: settings.egressDns,
    memoryReserveMiB: settings.memoryReserveMiB,
    otlp: settings.otlp,
    retention: settings.retention,
    traceRatio: settings.traceRatio,
    edge: {
      tlsAddress: tlsListener?.address ?? null,
      trustedProxies: settings.trustedProxies,
      clientRequestsPerSecond: settings.clientRequestsPerSecond,
      accessLog: accessLogFd === null ? null : settings.accessLogFormat,
    },
    registries: settings.registries,
    runtimes: [...runtimes.values()].map(({ name, version, digest, entryFiles }) => ({ name, version, digest, entryFiles })),
  }
  const rootDir = join(instance.runDir, 'root')
  mkdirSync(rootDir)
  const ready = { gateway: Promise.withResolvers<void>(), control: Promise.withResolvers<void>() }
  const served = new Set<string>()
  const common = (name: 'gateway' | 'control'): Pick<ChildOptions, 'name' | 'reaper' | 'log' | 'entry' | 'onDown'> => ({
    name,
    reaper,
    log,
    entry: `src/${name}.ts`,
    onDown({ code, signal, failuresInARow }) {
      if (name === 'gateway') sandboxes.gatewayLost()
      if (served.has(name) || failuresInARow < HOPELESS_FAILURES) return
      process.stderr.write(`hostel: ${name} does not start (${signal ?? `exit code ${code}`}); what it wrote above says why\n`)
      stop(1)
    },
  })
  const nowReady = (name: 'gateway' | 'control'): void => {
    served.add(name)
    ready[name].resolve()
  }
  /** Either side is new: the old stream between them is of no use. */
  let linking = false
  const link = (): void => {
    if (linking) return
    linking = true
    // Once, when both are spawned in the same turn; and never before what they get at start.
    queueMicrotask(() => {
      linking = false
      const [left, right] = [gateway.current(), control.current()]
      if (!left || !right) return
      const [leftEnd, rightEnd] = socketpair()
      left.sendDescriptor({ type: 'link' }, leftEnd)
      right.sendDescriptor({ type: 'link' }, rightEnd)
    })
  }
  const gateway: Supervised = superviseChild({
    ...common('gateway'),
    listenFd: gatewayListener.fd,
    moreFds: [tlsListener?.fd ?? 'ignore', accessLogFd ?? 'ignore'],
    confinement: { uid: GATEWAY_UID, appDir, rootDir, dataDir: data.gatewayDir },
    onUp(child) {
      child.send({ type: 'start', settings: childSettings })
      if (certificates) child.send({ type: 'certificates', pairs: certificates.pairs })
      sandboxes.adoptInto(child)
      link()
    },
    onMessage(message, child) {
      if (isReadyMessage(message)) nowReady('gateway')
      else sandboxes.receive(message, child)
    },
  })
  const control: Supervised = superviseChild({
    ...common('control'),
    listenFd: apiListener.fd,
    confinement: { uid: CONTROL_UID, appDir, rootDir, dataDir: data.controlDir },
    onUp(child) {
      child.send({ type: 'start', settings: { ...childSettings, adminToken: data.adminToken } })
      link()
    },
    onMessage(message) {
      if (isReadyMessage(message)) nowReady('control')
      else log.warn('control sent a message that does not fit')
    },
  })
  children.push(gateway, control)
  const figures = processFigures('keeper')
  const tellFigures = (): void => control.current()?.send({ type: 'metrics', samples: figures() })
  setInterval(tellFigures, FIGURES_EVERY_MS).unref()
  certificates?.onChange((pairs) => gateway.current()?.send({ type: 'certificates', pairs }))

  // 4. A word to whoever started it.
  void Promise.all([ready.gateway.promise, ready.control.promise]).then(async () => {
    if (!stopping) await showAround({ reaper, log, data, appDir, rootDir, examples: settings.examples, api: apiListener.url, gateway: gatewayListener.url })
  })

  // 5. Until told to stop.
  const exitCode = await stopped
  stopping = true
  await Promise.all(children.map((child) => child.stop(DRAIN_MS)))
  certificates?.close()
  if (tlsListener) closeSync(tlsListener.fd)
  closeSync(gatewayListener.fd)
  closeSync(apiListener.fd)
  return exitCode
}

/** Gateway and control run the application as strangers to it. @throws HostelError when its files are for their owner only, as a umask of 077 makes them. */
function checkReadable(appDir: string): void {
  for (const part of ['src', 'src/gateway.ts', 'node_modules', 'node_modules/pino/package.json']) {
    const everyone = part.includes('.') ? 0o004 : 0o005
    if ((statSync(join(appDir, part)).mode & everyone) !== everyone)
      throw new HostelError('invalid_input', `${join(appDir, part)} cannot be read by the server's unprivileged processes; run chmod -R go+rX ${appDir}`)
  }
}

try {
  process.exit(await main())
} catch (error) {
  const known = error instanceof HostelError
  process.stderr.write(`hostel: ${known ? error.message : (error as Error).stack}\n`)
  if (known && error.message === errorKinds[error.code].title) process.stderr.write(`  ${errorKinds[error.code].hint}\n`)
  process.exit(1)
}
