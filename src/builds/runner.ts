/** The gateway's part of a build: calls the builder as anyone's function is called, and passes its answer to control at control's pace. */
import { SYSTEM_TENANT } from '../functions/names.ts'
import type { EgressRecord, InvocationRecord, RoutedVersion } from '../functions/types.ts'
import { newInvocationId } from '../invocations/ids.ts'
import { invoke } from '../invocations/invocation.ts'
import type { Caller, Invocation, InvocationServices } from '../invocations/invocation.ts'
import type { Link } from '../link/link.ts'
import type { LinkCalls } from '../link/messages.ts'

export interface BuildRunner {
  /** Ends the build when the link goes: nobody waits for it any more then. */
  run(call: LinkCalls['build']['params'], link: Pick<Link, 'call' | 'emit' | 'closed'>): Promise<LinkCalls['build']['result']>
  /** To be told of every attempt at a door. */
  egress(record: EgressRecord): void
}

/** What is told of a build's attempts to go elsewhere. */
const NOTES_MAX = 50
/** Control writes it to a disk. */
const OUTPUT_TIMEOUT_MS = 30_000

export function createBuildRunner(services: InvocationServices): BuildRunner {
  const running = new Map<string, (text: string) => void>()

  return {
    async run({ build, version, source }, link) {
      const { promise: over, resolve } = Promise.withResolvers<InvocationRecord>()
      const body = Buffer.from(source, 'base64')
      let notes = 0
      running.set(version.function, (text) => {
        if (notes++ < NOTES_MAX) link.emit('buildNote', { build, text })
      })
      const record = (one: InvocationRecord): void => {
        // Under one name: each is a function of its own, and what counts by function would never end.
        services.record({ ...one, function: 'build' })
        resolve(one)
      }
      try {
        let answered = false
        const caller = builderCaller(body, async (chunk) => {
          await link.call('buildOutput', { build, data: chunk.toString('base64') }, { timeoutMs: OUTPUT_TIMEOUT_MS })
        })
        invoke({ ...services, record }, callOf(version, body.length), caller)
        void link.closed.then(() => {
          if (!answered) caller.gone()
        })
        const { status, outcome, detail } = await over
        answered = true
        return { status, outcome, detail }
      } finally {
        running.delete(version.function)
        // Strangers' install scripts have run in it: it ends with its build.
        services.scheduler.retire(version.tenant, version.function, [])
      }
    },

    egress(record) {
      if (record.tenant !== SYSTEM_TENANT || record.verdict === 'allowed') return
      running.get(record.function)?.(`egress: ${record.target} ${record.verdict}${record.reason === null ? '' : `: ${record.reason}`}`)
    },
  }
}

function callOf(version: RoutedVersion, bytes: number): Parameters<typeof invoke>[1] {
  const headers = ['host', 'build', 'content-type', 'application/octet-stream', 'content-length', String(bytes)]
  return { id: newInvocationId(), version, method: 'POST', url: 'http://build/', path: '/', headers, isEvent: false, hasBody: true }
}

/** Passes chunk after chunk on; the builder may send more once the one before has been taken. */
function builderCaller(body: Buffer, output: (chunk: Buffer) => Promise<void>): Caller & { gone(): void } {
  let invocation: Invocation
  let status = 0
  let passing: Promise<void> = Promise.resolve()
  const inTurn = (work: () => Promise<void> | void): void => {
    passing = passing.then(work).catch(() => invocation.gone())
  }
  return {
    begun(one) {
      invocation = one
    },
    answerHead(given) {
      status = given
    },
    answerBody(chunk) {
      inTurn(async () => {
        await output(chunk)
        invocation.taken(chunk.length)
      })
    },
    answerEnd: () => inTurn(() => invocation.delivered(status)),
    answerFailed: (error) => inTurn(() => invocation.delivered(error.status)),
    sendBody() {
      invocation.write(body)
      invocation.endBody()
    },
    resumeBody() {},
    gone: () => invocation.gone(),
  }
}
