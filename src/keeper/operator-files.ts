/** Files of the operator's that the gateway may not read or write itself: certificates with keys, and the access log. */
import { X509Certificate, createPrivateKey } from 'node:crypto'
import { constants, openSync, readFileSync, statSync } from 'node:fs'

import { HostelError } from '../errors.ts'
import type { Logger } from '../telemetry/logger.ts'
import type { CertificatePair } from './messages.ts'

/** A long chain has some ten thousand bytes. */
const PEM_MAX_BYTES = 256 * 1024
/** How often files are looked at: who renews certificates needs to tell nobody. */
const LOOK_EVERY_MS = 10_000

interface CertificateFiles {
  certificate: string
  key: string
}

export interface Certificates {
  /** As they were last read without a fault. */
  readonly pairs: CertificatePair[]
  /** Reads the files again. A fault is logged, and what there was stays. */
  reload(): void
  onChange(listener: (pairs: CertificatePair[]) => void): void
  close(): void
}

/** @throws HostelError `invalid_input` naming the file that can't be used. */
export function openCertificates(files: CertificateFiles[], log: Logger): Certificates {
  let pairs = files.map(readPair)
  let seen = stampOf(files)
  let changed: (pairs: CertificatePair[]) => void = () => {}
  const reload = (): void => {
    seen = stampOf(files)
    try {
      pairs = files.map(readPair)
      changed(pairs)
      log.info({ certificates: files.length }, 'certificates read again')
    } catch (error) {
      log.error({ err: error }, 'the certificates cannot be read again; those from before stay')
    }
  }
  const timer = setInterval(() => {
    if (stampOf(files) !== seen) reload()
  }, LOOK_EVERY_MS)
  timer.unref()
  return {
    get pairs() {
      return pairs
    },
    reload,
    onChange(listener) {
      changed = listener
    },
    close: () => clearInterval(timer),
  }
}

/** Opened for appending, so that whoever rotates it may truncate it. @throws HostelError `invalid_input` */
export function openAccessLog(path: string): number {
  if (path === '-') return 1
  try {
    return openSync(path, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT, 0o640)
  } catch (error) {
    throw new HostelError('invalid_input', `--access-log: cannot write ${path} (${(error as NodeJS.ErrnoException).code})`, { cause: error })
  }
}

function readPair(files: CertificateFiles): CertificatePair {
  const certificate = readPem('--tls-cert', files.certificate)
  const key = readPem('--tls-key', files.key)
  let fits: boolean
  try {
    fits = new X509Certificate(certificate).checkPrivateKey(createPrivateKey(key))
  } catch (error) {
    throw new HostelError('invalid_input', `${files.certificate} and ${files.key} are no certificate and key in PEM form`, { cause: error })
  }
  if (!fits) throw new HostelError('invalid_input', `--tls-key: ${files.key} is not the key of ${files.certificate}`)
  return { certificate, key }
}

function readPem(flag: string, path: string): string {
  try {
    if (statSync(path).size > PEM_MAX_BYTES) throw new HostelError('invalid_input', `${flag}: ${path} has more than ${PEM_MAX_BYTES} bytes`)
    return readFileSync(path, 'latin1')
  } catch (error) {
    if (error instanceof HostelError) throw error
    throw new HostelError('invalid_input', `${flag}: cannot read ${path} (${(error as NodeJS.ErrnoException).code})`, { cause: error })
  }
}

/** What tells that a file is another, also behind a symbolic link that was moved. */
function stampOf(files: CertificateFiles[]): string {
  return files
    .flatMap(({ certificate, key }) => [certificate, key])
    .map((path) => {
      const stat = statSync(path, { throwIfNoEntry: false })
      return stat ? `${stat.ino} ${stat.mtimeMs} ${stat.size}` : 'gone'
    })
    .join()
}
