import { expect, it } from 'vitest'
import { createCutLog } from '../../../src/http/connections/cut-log.ts'

it('reports the first connection at once, and the others of a minute together', () => {
  const lines: object[] = []
  const log = createCutLog({ warn: (fields: object) => void lines.push(fields) })
  log.note('evicted', '192.0.2.1', 0)
  for (let n = 0; n < 1_000; n += 1) log.note('evicted', `192.0.2.${n % 10}`, 1_000)
  log.note('stalled', '192.0.2.7', 2_000)
  expect(lines).toEqual([
    { reason: 'evicted', count: 1, addresses: { '192.0.2.1': 1 } },
    { reason: 'stalled', count: 1, addresses: { '192.0.2.7': 1 } },
  ])
  log.report(59_999)
  expect(lines).toHaveLength(2)
  log.report(60_000)
  expect(lines[2]).toMatchObject({ reason: 'evicted', count: 1_000 })
  expect(Object.keys((lines[2] as { addresses: object }).addresses)).toHaveLength(5)
  log.report(600_000)
  expect(lines).toHaveLength(3)
})
