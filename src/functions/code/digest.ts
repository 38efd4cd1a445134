/** The identity of a code tree: SHA-256 over a canonical listing of what is in it. */
import { createHash } from 'node:crypto'

export type TreeEntry = { path: string; kind: 'directory' } | { path: string; kind: 'file'; executable: boolean; digest: string; bytes: number }

/** Names the listing's form, so that another form can never give the same digest. */
const FORM = 'hostel code tree 1\n'

/** Lower-case hex. Neither the order of the entries nor owners, times or how the archive was packed make a difference. */
export function treeDigest(entries: readonly TreeEntry[]): string {
  const sorted = entries.map((entry) => ({ entry, key: Buffer.from(entry.path) })).sort((a, b) => Buffer.compare(a.key, b.key))
  const hash = createHash('sha256').update(FORM)
  for (const { entry } of sorted) {
    // Paths hold no NUL, so that no path can look like two fields.
    hash.update(entry.kind === 'directory' ? `directory\0${entry.path}\0` : `${entry.executable ? 'executable' : 'file'}\0${entry.path}\0${entry.digest}\0`)
  }
  return hash.digest('hex')
}
