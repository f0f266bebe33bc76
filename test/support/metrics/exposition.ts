/** What `GET /metrics` answers, as Prometheus reads it: each series by its name and labels. */
export function seriesIn(exposition: string): ReadonlyMap<string, number> {
  const lines = exposition.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(
    lines.map((line) => {
      const at = line.lastIndexOf(' ')
      return [line.slice(0, at), Number(line.slice(at + 1))]
    }),
  )
}

/** The names of all metrics, whether they have a series or not. */
export const metricsIn = (exposition: string): string[] =>
  [...exposition.matchAll(/^# TYPE (\S+) /gm)].map(([, name = '']) => name)
