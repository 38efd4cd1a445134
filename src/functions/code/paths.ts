/** Which paths an uploaded archive may hold. The archive is hostile; what passes here is safe to create below a directory that only we write to. */
import { HostelError } from '../../errors.ts'
import { limits } from '../../limits.ts'

/** The kernel's bound on one name (NAME_MAX). */
const SEGMENT_MAX_BYTES = 255

/** Directories deep: more than any real tree, and far from what recursion could mind. */
const DEPTH_MAX = 64

/** A path for error messages: short, and nothing in it that a terminal would act on. */
export function shown(path: string): string {
  const text = JSON.stringify(path.length > 200 ? `${path.slice(0, 200)}…` : path)
  return text.replace(
    /[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

/**
 * The names that a path in an archive is made of; none for the archive's root itself. A leading `./` and a directory's closing `/` are usual and harmless.
 * @throws HostelError `invalid_input` saying what is wrong with it.
 */
export function pathSegments(path: string): string[] {
  const refuse = (why: string): never => {
    throw new HostelError('invalid_input', `the archive holds ${shown(path)}, ${why}`)
  }
  if (path === '') refuse('an entry without a name')
  // eslint-disable-next-line no-control-regex
  if (/[\u0000-\u001f\u007f-\u009f]/.test(path)) refuse('a name with control characters')
  // What the decoder puts in place of bytes that are no UTF-8.
  if (path.includes('\ufffd')) refuse('a name that is not UTF-8')
  if (path.startsWith('/')) refuse("an absolute path; make the archive with paths relative to the code's root")
  if (Buffer.byteLength(path) > limits.codePathMaxBytes) refuse(`a path of more than ${limits.codePathMaxBytes} bytes`)
  const segments = path
    .replace(/^(\.\/)+/, '')
    .replace(/\/$/, '')
    .split('/')
  if (segments.length === 1 && (segments[0] === '.' || segments[0] === '')) return []
  if (segments.length > DEPTH_MAX) refuse(`a path more than ${DEPTH_MAX} directories deep`)
  for (const segment of segments) {
    if (segment === '..') refuse('a path that leads out of it')
    if (segment === '' || segment === '.') refuse('a path with an empty or `.` part')
    if (Buffer.byteLength(segment) > SEGMENT_MAX_BYTES) refuse(`a name of more than ${SEGMENT_MAX_BYTES} bytes`)
  }
  return segments
}

/** Equal for paths that some file system takes for the same: they differ at most by case or Unicode normalisation. */
export function foldedPath(path: string): string {
  return path.normalize('NFKC').toUpperCase().toLowerCase().normalize('NFC')
}
