/** Medians, percentiles and tables. */
export const quantile = (values: readonly number[], share: number): number => {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN
}

export const median = (values: readonly number[]): number => quantile(values, 0.5)

/** What a benchmark found, and how often it looked. */
export type Report = Readonly<{ how: string; tables: readonly Table[] }>

export type Table = Readonly<{ head: readonly string[]; rows: readonly (readonly string[])[] }>

/** As Markdown: the first column is text, the others are figures. */
export function toMarkdown({ head, rows }: Table): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |\n`
  const rule = head.map((_, index) => (index === 0 ? '---' : '---:'))
  return [head, rule, ...rows].map(line).join('')
}

export const ms = (value: number): string =>
  value < 10 ? `${value.toFixed(2)} ms` : `${value.toFixed(1)} ms`

export const times = (value: number): string => value.toFixed(2)
