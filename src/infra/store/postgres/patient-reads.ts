import { setTimeout as delay } from 'node:timers/promises'
import { DatabaseUnreachableError } from '../../../domain/errors.ts'
import type { JobStore } from '../job-store.ts'

const retryMs = 500

/**
 * The store of the queue. Reads that the queue cannot do without wait for a server that does not answer:
 * their failure would end the queue, and a new one would need the same reads.
 */
export const withPatientReads = (store: JobStore): JobStore => ({
  ...store,
  load: (submittedSince) => untilReachable(() => store.load(submittedSince)),
  find: (jobId, scope) => untilReachable(() => store.find(jobId, scope)),
})

async function untilReachable<Result>(read: () => Promise<Result>): Promise<Result> {
  for (;;) {
    try {
      return await read()
    } catch (error) {
      if (!(error instanceof DatabaseUnreachableError)) throw error
      await delay(retryMs)
    }
  }
}
