import { rank } from './final-error.ts'
import type { RecordEnd } from './records.ts'

/**
 * Folds redraws as a screen would: of a line drawn again and again only the last state is passed on.
 * A redraw has the words of the one before up to its first number, and is a bar if that was one.
 * Blank lines are left out.
 */
export function createFold(pass: (line: string) => void) {
  let drawn = ''
  let drawnLabel = ''

  return (text: string, end: RecordEnd): void => {
    const label = text && (drawn || end === 'return') ? labelOf(text) : ''
    if (drawn && (text ? label !== drawnLabel : end === 'newline')) {
      pass(drawn)
      drawn = ''
    }
    if (!text) return
    if (end === 'newline') {
      pass(text)
      drawn = ''
    } else {
      drawn = text
      drawnLabel = label
    }
  }
}

function labelOf(text: string): string {
  const line = text.startsWith('[') ? text.replace(rank, '') : text
  const number = line.search(/\d/)
  const words = (number < 0 ? line : line.slice(0, number)).trim()
  return line.includes('%|') ? `${words}|` : words
}
