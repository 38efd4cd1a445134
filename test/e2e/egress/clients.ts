/** Functions that reach out with the clients that people use, unmodified, as their package managers install them. */
import { execFile, spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'

import { ensureProgram } from './outside.ts'

const execute = promisify(execFile)
const INSTALL_TIMEOUT_MS = 120_000

const nodeClients = `
import http from 'node:http'
import https from 'node:https'
import { readFileSync } from 'node:fs'
import tls from 'node:tls'
import axios from 'axios'
import Redis from 'ioredis'
import pg from 'pg'
import * as undici from 'undici'

tls.setDefaultCACertificates([...tls.getCACertificates('default'), readFileSync('ca.pem', 'utf8')])

const get = (url) => new Promise((resolve, reject) => {
  (url.startsWith('https:') ? https : http).get(url, (response) => {
    let text = ''
    response.on('data', (chunk) => (text += chunk)).on('end', () => resolve(text))
  }).on('error', reject)
})
const clients = {
  undici: async (url) => (await undici.request(url)).body.text(),
  undiciFetch: async (url) => (await undici.fetch(url)).text(),
  fetch: async (url) => (await fetch(url)).text(),
  http: get,
  axios: async (url) => (await axios.get(url, { responseType: 'text' })).data,
}
let calls = 0

export const handler = async ({ urls = [], redis, postgres, only }) => {
  calls++
  const out = { calls }
  for (const [name, client] of Object.entries(clients)) {
    if (only && !only.includes(name)) continue
    for (const url of urls) out[name + ' ' + new URL(url).protocol] = await client(url).catch((error) => 'failed: ' + error.message)
  }
  if (redis) {
    const client = new Redis(6379, 'redis.internal', { lazyConnect: true, maxRetriesPerRequest: 1, retryStrategy: null })
    await client.connect()
    await client.set('node', 'in redis')
    out.redis = await client.get('node')
    client.disconnect()
  }
  if (postgres) {
    const client = new pg.Client({ host: 'postgres.internal', user: 'hostel', database: 'postgres' })
    await client.connect()
    out.postgres = (await client.query('select 6 * 7 as answer')).rows[0].answer
    await client.end()
  }
  return out
}
`

const pythonClients = `
import subprocess
import urllib.request

def by_urllib(url):
    return urllib.request.urlopen(url, timeout=10).read().decode()

def by_requests(url):
    import requests
    return requests.get(url, timeout=10).text

def by_httpx(url):
    import httpx
    return httpx.get(url, timeout=10).text

def by_curl(url):
    command = ['/code/curl/ld.so', '--library-path', '/code/curl', '/code/curl/curl', '-sS', '--max-time', '10', '--cacert', '/code/ca.pem', url]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout or done.stderr

def handler(event, context):
    out = {}
    for name, client in {'urllib': by_urllib, 'requests': by_requests, 'httpx': by_httpx, 'curl': by_curl}.items():
        for url in event.get('urls', []):
            try:
                out[name + ' ' + url.split('/')[0]] = client(url)
            except Exception as error:
                out[name + ' ' + url.split('/')[0]] = f'failed: {error}'
    if event.get('redis'):
        import redis
        client = redis.Redis(host='redis.internal', port=6379, decode_responses=True)
        client.set('python', 'in redis')
        out['redis'] = client.get('python')
        client.close()
    if event.get('postgres'):
        import pg8000.dbapi
        connection = pg8000.dbapi.connect(user='hostel', host='postgres.internal', database='postgres')
        cursor = connection.cursor()
        cursor.execute('select 6 * 7')
        out['postgres'] = cursor.fetchone()[0]
        connection.close()
    return out
`

/** A function's directory with axios, undici, ioredis and pg from npm. @throws when the registry cannot be reached. */
export async function nodeFunction(directory: string, ca: string): Promise<string> {
  mkdirSync(directory)
  writeFileSync(join(directory, 'package.json'), '{ "type": "module", "main": "index.js" }')
  await install('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', '--prefer-offline', 'axios@1', 'undici@8', 'ioredis@5', 'pg@8'], directory)
  writeFileSync(join(directory, 'index.js'), nodeClients)
  copyFileSync(ca, join(directory, 'ca.pem'))
  return directory
}

/** One with requests, httpx, redis and pg8000 from PyPI, and this machine's curl with what it is linked with. */
export async function pythonFunction(directory: string, ca: string): Promise<string> {
  mkdirSync(join(directory, 'curl'), { recursive: true })
  ensureProgram('pip3', 'python3-pip')
  ensureProgram('curl', 'curl')
  // Nothing compiled: which Python this machine has does not matter, but pip asks it what else is needed (async-timeout before 3.11.3).
  const target = ['--only-binary=:all:', '--implementation', 'py', '--platform', 'any', '--python-version', '3.11', '--no-compile', '--target', directory]
  await install(
    'pip3',
    ['install', '--quiet', '--disable-pip-version-check', '--no-input', ...target, 'requests', 'httpx', 'redis', 'async-timeout', 'pg8000'],
    directory,
  )
  const curl = spawnSync('sh', ['-c', 'command -v curl'], { encoding: 'utf8' }).stdout.trim()
  const linked = spawnSync('ldd', [curl], { encoding: 'utf8' }).stdout
  for (const [, path] of linked.matchAll(/(\/\S+)/g)) copyFileSync(path!, join(directory, 'curl', /ld-linux/.test(path!) ? 'ld.so' : path!.split('/').at(-1)!))
  copyFileSync(curl, join(directory, 'curl', 'curl'))
  writeFileSync(join(directory, 'main.py'), pythonClients)
  copyFileSync(ca, join(directory, 'ca.pem'))
  return directory
}

async function install(program: string, args: string[], cwd: string): Promise<void> {
  try {
    // npm would leave a cache of its compiled modules in the temporary directory.
    await execute(program, args, { cwd, timeout: INSTALL_TIMEOUT_MS, env: { ...process.env, NODE_DISABLE_COMPILE_CACHE: '1' } })
  } catch (error) {
    throw new Error(
      `the packages of the test could not be installed; is the registry of ${program} reachable? ${(error as { stderr?: string }).stderr ?? ''}`,
      { cause: error },
    )
  }
}
