import { afterAll, describe, expect, it } from 'vitest'
import type { ClusterRowName } from '../../bench/chaos/cluster/cluster-rows.ts'
import { runClusterRow } from '../../bench/chaos/cluster/run-cluster-row.ts'
import { columns } from '../../bench/chaos/oracle.ts'
import { clearAway } from '../../bench/chaos/run-row.ts'
import { postgresMissing } from '../../bench/postgres.ts'

/** The short form of `npm run chaos -- --cluster`: rows that differ most in what dies. */
const rows: readonly ClusterRowName[] = ['leader-service', 'leader-machine', 'partition-postgres']
const options = {
  nodes: 3,
  kills: 2,
  jobs: 6,
  pauseMs: 500,
  seed: 17,
  gpus: 1,
  cancels: 0.15,
  onPostgres: true,
  keep: false,
  say: () => {},
}
const killingMs = 15_000

const nothing = Object.fromEntries(columns.map((column) => [column, []]))

afterAll(clearAway)

describe.skipIf(postgresMissing() !== undefined)('a cluster whose parts die', () => {
  it.each(rows)('loses, repeats and mixes up nothing: %s', { timeout: 180_000 }, async (row) => {
    const until = Date.now() + killingMs
    const { kills, jobs, findings } = await runClusterRow(row, { ...options, until })
    expect(kills).toBeGreaterThan(0)
    expect(jobs).toBeGreaterThan(0)
    expect(findings).toEqual(nothing)
  })
})
