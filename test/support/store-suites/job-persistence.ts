/** Contract of a store of jobs: what the next process finds. */
import { describe, expect, it } from 'vitest'
import type { NodeName } from '../../../src/domain/node.ts'
import { jobId } from '../jobs.ts'
import { claim, made, submit } from './operations.ts'
import { commit, type StoreOperation, type StoresOfTest } from './stores.ts'

export function describePersistence(stores: StoresOfTest): void {
  describe('a database', () => {
    it('has everything when it is opened again, however often it is migrated', async () => {
      await commit(stores, [...made(1), submit(2, { filename: 'b.mp4' }), submit(3)])
      await commit(stores, [claim(2, 1, { filename: 'b.mp4' })])
      const was = await stores.contents()

      await stores.reopen()
      await stores.reopen()
      expect(await stores.contents()).toEqual(was)
      expect(await stores.jobs.load(0)).toMatchObject({
        nextSeq: 4,
        waiting: [{ id: jobId(3) }],
        running: [{ id: jobId(2) }],
      })
    })

    it('knows which nodes are drained when it is opened again', async () => {
      const drain = (node: NodeName, drained: boolean): StoreOperation => ({
        ...{ op: 'setNodeDrained', node, drained },
      })
      const [one, other] = ['one', 'other'] as [NodeName, NodeName]
      await commit(stores, [drain(one, true), drain(one, true), drain(other, true)])
      await commit(stores, [drain(other, false), drain(other, false)])
      await stores.reopen()
      expect((await stores.jobs.load(0)).drainedNodes).toEqual(new Set([one]))
    })
  })
}
