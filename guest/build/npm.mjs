/**
 * The builder for Node: runs in a sandbox of its own for each build, gets manifests (and, for local packages, all of the code) as a tar.gz,
 * and answers with frames: what is said meanwhile, then node_modules as a tar.gz, then how it ended. What it installs may be hostile and
 * runs beside it, so the host believes nothing of what comes from here.
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'

const NPM = '/usr/local/lib/node_modules/npm/bin/npm-cli.js'
const WORK = '/tmp/work'
/** Frame: a byte for what it is, its length as u32, its bytes. */
const kinds = { line: 1, archive: 2, end: 3 }
/** Characters of a line that are passed on. */
const LINE_MAX_CHARS = 2_000
/** It is unpacked a moment later on the same machine. */
const GZIP_LEVEL = 1

export default {
  /** @param {Request} request @param {Record<string, string>} env */
  fetch(request, env) {
    /** @type {ReadableStreamDefaultController<Uint8Array>} */
    let controller
    /** @type {(() => void) | null} */
    let resume = null
    const body = new ReadableStream(
      {
        start: (given) => void (controller = given),
        pull() {
          resume?.()
        },
      },
      { highWaterMark: 262_144, size: (chunk) => chunk.length },
    )
    const send = (/** @type {number} */ kind, /** @type {Uint8Array} */ payload) => {
      const frame = Buffer.allocUnsafe(5 + payload.length)
      frame.writeUInt8(kind, 0)
      frame.writeUInt32BE(payload.length, 1)
      frame.set(payload, 5)
      controller.enqueue(frame)
    }
    const say = (/** @type {string} */ text) => send(kinds.line, Buffer.from(text.slice(0, LINE_MAX_CHARS)))
    const room = () => ((controller.desiredSize ?? 1) > 0 ? undefined : new Promise((resolve) => (resume = () => resolve(undefined))))
    build(request, env, { say, send, room })
      .catch((error) => ({ ok: false, message: String(error?.message ?? error) }))
      .then((end) => {
        send(kinds.end, Buffer.from(JSON.stringify(end)))
        controller.close()
      })
      // The host has gone away.
      .catch(() => {})
    return new Response(body, { headers: { 'content-type': 'application/octet-stream' } })
  },
}

/**
 * @param {Request} request
 * @param {Record<string, string>} env
 * @param {{ say(text: string): void, send(kind: number, payload: Uint8Array): void, room(): Promise<void> | undefined }} out
 */
async function build(request, env, { say, send, room }) {
  rmSync(WORK, { recursive: true, force: true })
  mkdirSync(WORK)
  const unpacking = spawn('tar', ['-x', '-z', '-f', '-', '-C', WORK], { stdio: ['pipe', 'ignore', 'inherit'] })
  const unpacked = once(unpacking, 'close')
  unpacking.stdin.end(Buffer.from(await request.arrayBuffer()))
  if ((await unpacked)[0] !== 0) return { ok: false, message: 'the manifests could not be unpacked' }

  const command = env.BUILD_COMMAND ?? 'install'
  // Packages are installed as copies and not as links, which a version can't have. Scripts find each other's commands by the links of
  // .bin, which are taken away at the end.
  const flags = [
    '--omit=dev',
    '--install-links',
    '--no-audit',
    '--no-fund',
    '--no-update-notifier',
    '--foreground-scripts',
    '--loglevel=notice',
    '--progress=false',
  ]
  const fixed = [`--registry=${env.BUILD_REGISTRY}`, '--cache=/tmp/npm', '--fetch-retries=2', '--fetch-timeout=60000', '--maxsockets=12', '--noproxy=']
  say(`npm ${command} --omit=dev`)
  const code = await run([NPM, command, ...flags, ...fixed], say)
  if (code !== 0) return { ok: false, message: `npm ${command} ended with ${code}` }
  rmSync('/tmp/npm', { recursive: true, force: true })
  if (!existsSync(`${WORK}/node_modules`)) mkdirSync(`${WORK}/node_modules`)
  await spawnToEnd('find', [`${WORK}/node_modules`, '-type', 'd', '-name', '.bin', '-prune', '-exec', 'rm', '-rf', '{}', '+'])
  rmSync(`${WORK}/node_modules/.package-lock.json`, { force: true })
  const packing = spawn('tar', ['-c', '-h', '-f', '-', '-C', WORK, 'node_modules'], { stdio: ['ignore', 'pipe', 'inherit'] })
  const packed = once(packing, 'close')
  await pipeline(packing.stdout, createGzip({ level: GZIP_LEVEL }), async (chunks) => {
    for await (const chunk of chunks) {
      send(kinds.archive, chunk)
      await room()
    }
  })
  const [status] = await packed
  return status === 0 ? { ok: true } : { ok: false, message: 'what was installed could not be packed' }
}

/** @param {string[]} args @param {(text: string) => void} say @returns {Promise<number | string>} exit code or signal */
async function run(args, say) {
  const child = spawn(process.execPath, args, {
    cwd: WORK,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_EXTRA_CA_CERTS: '/code/ca.pem', HOME: '/tmp' },
  })
  const reading = [child.stdout, child.stderr].map(async (stream) => {
    for await (const line of createInterface({ input: stream })) say(line)
  })
  const [code, signal] = await once(child, 'close')
  await Promise.all(reading)
  return signal ?? code
}

/** @param {string} program @param {string[]} args */
async function spawnToEnd(program, args) {
  await once(spawn(program, args, { stdio: 'ignore' }), 'close')
}
