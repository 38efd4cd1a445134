/** "Did you mean …?" */

/** The candidate with the fewest edits from `word`, if they are few for its length. */
export function closest(word: string, candidates: string[]): string | undefined {
  const most = Math.max(1, Math.floor(word.length / 3))
  const ranked = candidates.map((candidate) => ({ candidate, edits: editDistance(word, candidate) })).sort((a, b) => a.edits - b.edits)
  return ranked[0] && ranked[0].edits <= most ? ranked[0].candidate : undefined
}

/** Insertions, deletions, substitutions and swaps of neighbours that make one word the other. */
function editDistance(from: string, to: string): number {
  const rows: number[][] = [Array.from({ length: to.length + 1 }, (_, index) => index)]
  for (let i = 1; i <= from.length; i++) {
    const row = [i]
    for (let j = 1; j <= to.length; j++) {
      const swapped = i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1] ? rows[i - 2]![j - 2]! + 1 : Infinity
      row.push(Math.min(rows[i - 1]![j]! + 1, row[j - 1]! + 1, rows[i - 1]![j - 1]! + (from[i - 1] === to[j - 1] ? 0 : 1), swapped))
    }
    rows.push(row)
  }
  return rows[from.length]![to.length]!
}
