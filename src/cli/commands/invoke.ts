import { open } from 'node:fs/promises'
import { Readable } from 'node:stream'

import type { FunctionDetail } from '../../client/control.ts'
import { ConnectionError, problemOf } from '../../client/errors.ts'
import { CALL_TIMEOUT_MS, callFunction, EVENT_CONTENT_TYPE, INVOCATION_HEADER } from '../../client/gateway.ts'
import { readBody } from '../../client/transport.ts'
import type { Answer } from '../../client/transport.ts'
import { TOKEN_PREFIX } from '../../functions/names.ts'
import { limits } from '../../limits.ts'
import { exitKindOf, problemFailure } from '../api-failure.ts'
import { apiOption, collect, examples, jsonOption, newCommand, tenantOption, tokenOption } from '../command.ts'
import { connect } from '../connect.ts'
import { CliFailure, usageFailure } from '../failure.ts'
import { formatMs, note, printJson, styledError } from '../output.ts'
import { explanationOf } from '../recorded.ts'
import { withSuggestion } from '../suggest.ts'

/** Of a problem document, and of an answer that --json keeps in memory. */
const PROBLEM_LIMITS = { maxBytes: 64 * 1024, timeoutMs: 10_000 }
const JSON_ANSWER_LIMITS = { maxBytes: 64 * 1024 * 1024, timeoutMs: CALL_TIMEOUT_MS }

export const command = () =>
  newCommand('invoke')
    .description(
      "Call a function through the gateway. The answer's body goes to standard output as it comes; status, invocation and times go to\n" +
        'standard error. An event handler gets the data as its event, unless --method, --path or a content type asks for plain HTTP.',
    )
    .argument('<function>', 'the function, or function:alias-or-version')
    .option('-d, --data <text>', 'body to send')
    .option('--file <file>', 'file to send as the body; - is standard input')
    .option('-X, --method <method>', 'HTTP method (default: GET, or POST with a body)')
    .option('--path <path>', 'path and query that the function sees (default: /)')
    .option('-H, --header <name:value>', 'header to send; may be repeated', collect)
    .addOption(tenantOption())
    .addOption(apiOption())
    .addOption(tokenOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples("invoke hello --path '/?name=Ada'", `invoke event --data '{"items": []}'`, 'invoke thumbnail --method POST --file photo.jpg > small.jpg'),
    )
    .action(async (name, options) => {
      if (options.data !== undefined && options.file !== undefined) throw usageFailure('--data and --file cannot both be the body', 'Give one of them.')
      const headers = readHeaders(options.header ?? [])
      const method = readMethod(options.method)
      const path = readPath(options.path)
      const connection = connect(options)
      const plain = method !== undefined || path !== undefined || headers['content-type'] !== undefined
      const [functionName] = name.split(':') as [string]
      const detail = plain
        ? undefined
        : await withSuggestion(connection.client, options.tenant, functionName, () => connection.client.function(options.tenant, functionName))
      const asEvent = detail !== undefined && contractOf(detail, name) === 'event'
      const { body, type, length } = await readInput(options, asEvent)
      if (type && headers['content-type'] === undefined) headers['content-type'] = type
      if (length !== undefined) headers['content-length'] = String(length)

      // Only a token of ours, which the gateway keeps from functions.
      if (headers['authorization'] === undefined && connection.token.startsWith(TOKEN_PREFIX)) headers['authorization'] = `Bearer ${connection.token}`

      const startedAt = performance.now()
      const gateway = await connection.gateway()
      const answer = await callFunction(gateway, {
        tenant: options.tenant,
        function: name,
        path: path ?? '/',
        method: method ?? (body === undefined ? 'GET' : 'POST'),
        headers,
        body,
      })
      const firstByteMs = performance.now() - startedAt
      try {
        await settle(answer, {
          gateway,
          startedAt,
          firstByteMs,
          json: options.json === true,
          explain: (id) => explanationOf(connection.client, options.tenant, id),
        })
      } finally {
        // An answer may come before all input was read; nobody reads the rest.
        if (body instanceof Readable) body.destroy()
      }
    })

interface Call {
  gateway: string
  startedAt: number
  firstByteMs: number
  json: boolean
  /** Why an invocation ended as it did, as far as it can be had. */
  explain: (invocation: string) => Promise<string | undefined>
}

/** Brings the answer to standard output, and throws when it means that the function failed. */
async function settle(answer: Answer, call: Call): Promise<void> {
  const invocation = String(answer.headers[INVOCATION_HEADER] ?? '')
  if (answer.status >= 400 && answer.headers['content-type']?.startsWith('application/problem+json')) {
    const body = await readBody(answer, call.gateway, PROBLEM_LIMITS)
    const problem = problemOf(answer.status, body.toString())
    // A function may answer problem documents of its own; those are answers like others.
    if (problem.type.startsWith('urn:hostel:error:')) {
      const id = problem.invocation ?? invocation
      const why = id && exitKindOf(problem.code) === 'functionFailed' ? await call.explain(id) : undefined
      throw problemFailure({ ...problem, ...(id && { invocation: id }) }, { why })
    }
    answer = { ...answer, body: Readable.from([body]) as Answer['body'] }
  }
  try {
    if (call.json) await printAnswer(answer, call, invocation)
    else await streamAnswer(answer, call, invocation)
  } catch (error) {
    throw new CliFailure('functionFailed', 'the answer broke off before its end', {
      why: (invocation && (await call.explain(invocation))) || (error instanceof ConnectionError ? error.reason : (error as Error).message),
      fix: invocation ? `\`hostel invocations show ${invocation}\` tells the whole story.` : 'Try again; the server log may tell more.',
      cause: error,
    })
  }
  if (answer.status >= 500) {
    throw new CliFailure('functionFailed', `the function itself answered ${answer.status}`, {
      fix: invocation ? `\`hostel invocations show ${invocation}\` shows what is known about it.` : undefined,
    })
  }
}

async function streamAnswer(answer: Answer, call: Call, invocation: string): Promise<void> {
  let lastByte = 0x0a
  for await (const chunk of answer.body as AsyncIterable<Buffer>) {
    lastByte = chunk.at(-1) ?? lastByte
    if (!process.stdout.write(chunk)) await new Promise((resolve) => process.stdout.once('drain', resolve))
  }
  // On a terminal, an answer without a line break at its end would run into what follows.
  if (process.stdout.isTTY && lastByte !== 0x0a) process.stdout.write('\n')
  const status = styledError(answer.status < 400 ? 'green' : answer.status < 500 ? 'yellow' : 'red', String(answer.status))
  const times = `${formatMs(performance.now() - call.startedAt)}, first byte after ${formatMs(call.firstByteMs)}`
  note(`${status}  ${invocation ? `invocation ${invocation}  ` : ''}${styledError('dim', times)}`)
}

async function printAnswer(answer: Answer, call: Call, invocation: string): Promise<void> {
  const body = await readBody(answer, call.gateway, JSON_ANSWER_LIMITS)
  const text = body.toString()
  const isText = Buffer.from(text).equals(body)
  printJson({
    status: answer.status,
    invocation: invocation || null,
    totalMs: Math.round((performance.now() - call.startedAt) * 1_000) / 1_000,
    headers: answer.headers,
    ...(isText ? { body: text } : { bodyBase64: body.toString('base64') }),
  })
}

/** Contract of the version that a name means; undefined when the name's second part is unknown, which the gateway will say. */
function contractOf(detail: FunctionDetail, name: string): string | undefined {
  const [, qualifier = 'live'] = name.split(':')
  const number = detail.aliases[qualifier] ?? Number(qualifier)
  return detail.versions.find((version) => version.version === number)?.contract
}

interface Input {
  body?: Uint8Array | Readable
  type?: string
  length?: number
}

async function readInput(options: { data?: string; file?: string }, asEvent: boolean): Promise<Input> {
  if (options.file === '-') return { body: process.stdin, type: asEvent ? EVENT_CONTENT_TYPE : 'application/octet-stream' }
  if (options.file !== undefined) {
    const file = await open(options.file)
    const stat = await file.stat()
    if (stat.isDirectory()) throw usageFailure(`--file takes a file; ${options.file} is a directory`)
    const type = asEvent ? EVENT_CONTENT_TYPE : options.file.endsWith('.json') ? 'application/json' : 'application/octet-stream'
    return { body: file.createReadStream(), type, ...(stat.isFile() && { length: stat.size }) }
  }
  const text = options.data ?? (asEvent ? '{}' : undefined)
  if (text === undefined) return {}
  const json = isJson(text)
  if (asEvent && !json)
    throw usageFailure(
      'an event handler takes JSON, and --data is none',
      `Text needs quotes of its own: --data '${JSON.stringify(text.slice(0, 40))}'. To send it as an HTTP body: --method POST.`,
    )
  const body = Buffer.from(text)
  if (asEvent && body.length > limits.eventMaxBytes) throw usageFailure(`an event takes at most ${limits.eventMaxBytes} bytes; --data has ${body.length}`)
  return { body, type: asEvent ? EVENT_CONTENT_TYPE : json ? 'application/json' : 'text/plain; charset=utf-8' }
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** Names in lower case; a repeated name keeps all its values. */
function readHeaders(lines: string[]): Record<string, string | string[]> {
  const headers: Record<string, string | string[]> = {}
  for (const line of lines) {
    const match = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)$/.exec(line)
    if (!match) throw usageFailure(`--header takes NAME:VALUE; got "${line}"`, "Example: --header 'accept: text/html'")
    const name = match[1]!.toLowerCase()
    const before = headers[name]
    headers[name] = before === undefined ? match[2]! : [...(Array.isArray(before) ? before : [before]), match[2]!]
  }
  return headers
}

function readMethod(text: string | undefined): string | undefined {
  if (text !== undefined && !/^[A-Za-z]{1,20}$/.test(text)) throw usageFailure(`--method takes an HTTP method such as POST; got "${text}"`)
  return text?.toUpperCase()
}

/** Sent as it is but for characters that a URL can't hold. */
function readPath(text: string | undefined): string | undefined {
  if (text === undefined) return undefined
  if (!text.startsWith('/')) throw usageFailure(`--path takes a path that begins with a slash; got "${text}"`, `Use --path '/${text}'.`)
  return text.replace(/[^\x21-\x7e]|#/gu, encodeURIComponent)
}
