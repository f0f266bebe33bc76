/** Rows that are inserted bare, beside jobs that a service stores. */
import { randomUUID } from 'node:crypto'
import type { JobId } from '../../src/domain/job.ts'
import { toRow } from '../../src/infra/store/job-rows.ts'

export const durableJobRow = (seq: number) =>
  toRow({
    op: 'submit',
    jobId: randomUUID() as JobId,
    seq,
    request: {
      prompt: `A durable job, number ${seq}`,
      size: '1280x720',
      frames: 121,
      steps: 50,
      seed: seq,
    },
    owner: null,
    address: null,
    at: Date.now(),
  })

export const durableJobColumns: readonly string[] = Object.keys(durableJobRow(0))
