/** Words, numbers and tables for people. What others have written is made harmless first. */
import { styleText } from 'node:util'

/** Whatever a terminal obeys or that turns text around, line breaks and tabs included. */
const obeyed = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu

/** One line that a terminal shows and does not obey. */
export const plain = (text: string): string => text.replace(obeyed, '\ufffd')

/** The same for text of several lines. */
export const plainLines = (text: string): string =>
  text.replace(obeyed, (character) => ('\n\t'.includes(character) ? character : '\ufffd'))

/** JSON says everything and escapes what a terminal would obey. */
export const plainJson = (value: unknown, indent?: number): string =>
  JSON.stringify(value, null, indent).replace(obeyed, (character) =>
    character === '\n' ? character : `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )

/** In a terminal that knows colours, and unless NO_COLOR says otherwise. */
export const colored = (
  format: Parameters<typeof styleText>[0],
  text: string,
  stream: NodeJS.WriteStream = process.stdout,
): string => styleText(format, text, { stream })

/** "45 s", "3 min 20 s", "2 h 05 min": no more precise than anybody needs. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds))
  if (whole < 60) return `${whole} s`
  const minutes = Math.floor(whole / 60)
  if (minutes < 60) return `${minutes} min ${two(whole % 60)} s`
  return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`
}

const two = (number: number): string => String(number).padStart(2, '0')

/** "2026-07-31 14:05:09", as the clock on the wall has it. */
export const localTime = (iso: string): string => new Date(iso).toLocaleString('sv-SE')

export function bytes(count: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, count)) / 10))
  return `${(count / 1024 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`
}

/** Columns as wide as their widest cell; in a terminal, lines as long as it is wide. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [head, ...rows].map((row) => row.map(plain))
  const widths = head.map((_, column) =>
    Math.max(...cells.map((row) => (row[column] ?? '').length)),
  )
  return cells
    .map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '))
    .map((line) => cut(line.trimEnd(), process.stdout.columns))
    .join('\n')
}

function cut(line: string, width = Number.POSITIVE_INFINITY): string {
  const characters = [...line]
  return characters.length <= width ? line : `${characters.slice(0, width - 1).join('')}…`
}

/** `name  value` lines. */
export function facts(pairs: readonly (readonly [name: string, value: string | null])[]): string {
  const known = pairs.filter((pair): pair is [string, string] => pair[1] !== null)
  const width = Math.max(...known.map(([name]) => name.length))
  return known.map(([name, value]) => `${name.padEnd(width)}  ${plain(value)}`).join('\n')
}
