import { setTimeout as delay } from 'node:timers/promises'
import { DatabaseUnreachableError } from '../../../domain/errors.ts'
import type { JobStore } from '../job-store.ts'

const retryMs = 500

/**
 * Reads that an actor cannot do without wait for a server that does not respond: their failure would end
 * the actor, and its next incarnation would need the same reads.
 */
export const forQueue = (store: JobStore): JobStore => ({
  ...store,
  load: (submittedSince) => untilReachable(() => store.load(submittedSince)),
  find: (jobId, scope) => untilReachable(() => store.find(jobId, scope)),
})

export const forArchive = (store: JobStore): JobStore => ({
  ...store,
  announcedRemovals: () => untilReachable(store.announcedRemovals),
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
