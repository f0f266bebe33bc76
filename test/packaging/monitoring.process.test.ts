/** What `docs/` and `deploy/` say of metrics, held against what the service gives out. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { root } from '../../src/config/root.ts'
import { createCatalogue } from '../../src/infra/metrics/catalogue.ts'
import { hasPromtool, promtool } from '../support/metrics/promtool.ts'

const read = (path: string) => readFileSync(join(root, path), 'utf8')
const own = (path: string) => join(root, 'deploy', 'prometheus', path)

type Known = { name: string; help: string; type: string; labelNames: string[] }
const known = createCatalogue().registry.getMetricsAsArray() as unknown as Known[]

describe('docs/metrics.md', () => {
  const text = read('docs/metrics.md')

  it('has every metric as it is given out, and no other', () => {
    const rows = [...text.matchAll(/^\| `(\w+)` \| (\w+) \|(.*?)\| (.*) \|$/gm)].map(
      ([, name, type, labels = '', help]) => ({
        name,
        type,
        labels: [...labels.matchAll(/`(\w+)`/g)].map(([, label]) => label),
        help,
      }),
    )
    const wanted = known
      .filter(({ name }) => name.startsWith('wan_'))
      .map(({ name, type, labelNames, help }) => ({ name, type, labels: labelNames, help }))
    expect(rows).toEqual(wanted)
  })

  it('names what Node tells of itself', () => {
    const named = [...text.matchAll(/`((?:process|nodejs)_\w+)`/g)].map(([, name]) => name)
    expect(named).toEqual(known.map(({ name }) => name).filter((name) => !name.startsWith('wan_')))
  })
})

describe('the alerts', () => {
  const rules = read('deploy/prometheus/rules.yml')

  it('go by metrics that there are', () => {
    expect(unknownIn([rules])).toEqual([])
  })

  it('each have a test, a summary and what to do', () => {
    const names = [...rules.matchAll(/- alert: (\w+)/g)].map(([, name]) => name)
    const tests = [...read('deploy/prometheus/rules.test.yml').matchAll(/- name: (\w+)/g)]
    expect(tests.map(([, name]) => name)).toEqual(names)
    for (const part of ['summary:', 'action:', 'severity:'])
      expect(rules.split(part)).toHaveLength(names.length + 1)
  })

  it.skipIf(!hasPromtool)('are sound, and speak when they should (Debian: prometheus)', () => {
    for (const args of [
      ['check', 'rules', own('rules.yml')],
      ['test', 'rules', own('rules.test.yml')],
      ['check', 'config', own('prometheus.yml')],
    ]) {
      const { isWell, said } = promtool(args)
      expect(isWell, said).toBe(true)
    }
  })
})

describe('the dashboard', () => {
  const dashboard = JSON.parse(read('deploy/grafana/wan-supervisor.json')) as Dashboard
  const { panels, templating, annotations } = dashboard
  const targets = panels.flatMap((panel) => panel.targets ?? [])
  const queries = [...targets, ...annotations.list].map(({ expr }) => expr)

  it('goes by metrics that there are, and has something of each part', () => {
    expect(unknownIn(queries)).toEqual([])
    const parts = ['job', 'queue', 'gpu', 'eta', 'webhook', 'http', 'database', 'disk', 'actor']
    for (const part of parts) expect(queries.join(' ')).toContain(`wan_${part}`)
  })

  it.skipIf(!hasPromtool)('asks what Prometheus understands (Debian: prometheus)', () => {
    const directory = mkdtempSync(join(tmpdir(), 'wan-'))
    onTestFinished(() => rmSync(directory, { recursive: true }))
    const file = join(directory, 'queries.yml')
    const rules = queries.map((expr, index) => ({ record: `query_${index}`, expr: filledIn(expr) }))
    writeFileSync(file, JSON.stringify({ groups: [{ name: 'queries', rules }] }))
    const { isWell, said } = promtool(['check', 'rules', '--lint=none', file])
    expect(isWell, said).toBe(true)
  })

  it('is laid out on the grid, one panel beside the other', () => {
    expect(dashboard.uid).toBe('wan-supervisor')
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length)
    const taken = new Set<string>()
    for (const { title, gridPos } of panels) {
      const { x, y, w, h } = gridPos
      expect(x + w, title).toBeLessThanOrEqual(24)
      for (let column = x; column < x + w; column++) {
        for (let line = y; line < y + h; line++) {
          expect(taken.has(`${column}/${line}`), `${title} lies on another panel`).toBe(false)
          taken.add(`${column}/${line}`)
        }
      }
    }
  })

  it('asks the data source and the service that were chosen', () => {
    const variables = templating.list.map(({ name }) => name)
    const used = [...JSON.stringify(dashboard).matchAll(/\$\{?(\w+)/g)].map(([, name = '']) => name)
    const unknown = used.filter((name) => !name.startsWith('__') && !variables.includes(name))
    expect(unknown).toEqual([])
    for (const { title, targets = [] } of panels) {
      const refs = targets.map(({ refId }) => refId)
      expect(new Set(refs).size, title).toBe(refs.length)
      for (const { datasource, expr } of targets) {
        expect(datasource.uid, title).toBe(`\${datasource}`)
        expect(expr, title).toContain('instance=~"$instance"')
      }
    }
  })
})

type Dashboard = {
  uid: string
  panels: {
    id: number
    title: string
    gridPos: { x: number; y: number; w: number; h: number }
    targets?: { refId: string; expr: string; datasource: { uid: string } }[]
  }[]
  templating: { list: { name: string }[] }
  annotations: { list: { expr: string }[] }
}

/** Metrics that are asked for and not given out; a histogram has three names. */
function unknownIn(texts: readonly string[]): string[] {
  const names = new Set(
    known.flatMap(({ name, type }) =>
      type === 'histogram' ? ['_bucket', '_sum', '_count'].map((end) => name + end) : [name],
    ),
  )
  const asked = texts.flatMap((text) => text.match(/\b(?:wan|nodejs|process)_\w+/g) ?? [])
  return [...new Set(asked)].filter((name) => !names.has(name))
}

/** With what Grafana would put in the place of its variables. */
const filledIn = (expr: string): string =>
  expr.replaceAll('$__rate_interval', '1m').replaceAll('$instance', '.*')
