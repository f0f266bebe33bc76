/** Contract of a store of jobs: repeated requests, and what a starting queue loads. */
import { describe, expect, it } from 'vitest'
import { dayMs } from '../../../src/domain/time.ts'
import { aRequest, gpu1, jobId } from '../jobs.ts'
import {
  canceled,
  claim,
  finish,
  generated,
  made,
  minute,
  numbersOf,
  release,
  submit,
} from './operations.ts'
import { commit, expectConflict, type StoreOperation, type StoresOfTest } from './stores.ts'

export function describeSubmissions(stores: StoresOfTest): void {
  describe('a submission', () => {
    const remember = (n: number, key?: string, at = minute(n), caller = 'fox'): StoreOperation => ({
      op: 'remember',
      jobId: jobId(n),
      identity: { caller, fingerprint: 'same', ...(key !== undefined && { key }) },
      keepSince: at - minutes(60),
      at,
    })
    const minutes = (count: number) => minute(count) - minute(0)
    const find = (key?: string, since = minute(0), caller = 'fox') =>
      stores.jobs.findSubmission(
        { caller, fingerprint: 'same', ...(key !== undefined && { key }) },
        since,
      )
    const job = (n: number) => ({ jobId: jobId(n), fingerprint: 'same' })

    it('is found by its key or by what it asks for, and by its own caller only', async () => {
      await commit(stores, [submit(1), remember(1, 'one'), submit(2), remember(2)])
      expect(await find('one')).toEqual(job(1))
      expect(await find('two')).toBeUndefined()
      expect(await find()).toEqual(job(2))
      expect(await find(undefined, minute(2))).toBeUndefined()
      expect(await find('one', minute(0), 'owl')).toBeUndefined()
      expect(await find(undefined, minute(0), 'owl')).toBeUndefined()
    })

    it('is still found when its job is removed', async () => {
      await commit(stores, [
        ...made(1),
        remember(1, 'one'),
        { op: 'remove', jobId: jobId(1), at: minute(10) },
      ])
      expect(await find('one')).toEqual(job(1))
    })

    it('is forgotten in time, and its key is free', async () => {
      await commit(stores, [submit(1), remember(1, 'one')])
      await commit(stores, [submit(2), remember(2, 'one', minute(61))])
      expect(await find('one')).toEqual(job(2))
    })

    it('has its key for itself', async () => {
      await commit(stores, [submit(1), remember(1, 'one'), submit(2), submit(3)])
      await expectConflict(stores, [remember(2, 'one')])
      await commit(stores, [remember(3, 'one', minute(3), 'owl')])
      expect(await find('one', minute(0), 'owl')).toEqual(job(3))
    })
  })

  describe('what a starting queue takes up', () => {
    it('is nothing at first', async () => {
      expect(await stores.jobs.load(0)).toEqual({
        nextSeq: 1,
        waiting: [],
        running: [],
        gpus: new Map(),
        drainedNodes: new Set(),
        lost: [],
        submissions: [],
      })
    })

    it('is what waits and what runs, in the order of submission, and the next number', async () => {
      await commit(stores, [
        ...[submit(3), submit(1), submit(2), submit(4), submit(5), submit(6)],
        ...[claim(1), generated(1), claim(2), claim(3, 1, { gpu: gpu1 }), release(3)],
        finish(6, canceled, 0),
      ])
      const { nextSeq, waiting, running } = await stores.jobs.load(0)
      expect(nextSeq).toBe(7)
      expect(numbersOf(waiting)).toEqual([3, 4, 5])
      expect(numbersOf(running)).toEqual([1, 2])
      expect(running[0]?.state).toMatchObject({ phase: 'converting' })
    })
  })

  describe('what was submitted of late', () => {
    it('is counted by owner, else by address, however it ended, by the steady clock', async () => {
      const from = (
        n: number,
        owner: string | null,
        address: string | null,
        at: number,
      ): StoreOperation[] => [
        // The wall clock had been set forward then.
        {
          op: 'submit',
          jobId: jobId(n),
          seq: n,
          request: aRequest(),
          owner,
          address,
          at: at + dayMs,
        },
        {
          op: 'remember',
          jobId: jobId(n),
          identity: { caller: 'somebody', fingerprint: String(n) },
          keepSince: 0,
          at,
        },
      ]
      await commit(stores, [
        ...from(1, 'ada', null, minute(1)),
        ...from(2, 'ada', null, minute(2)),
        ...from(3, null, '192.0.2.7', minute(3)),
        ...from(4, null, null, minute(4)),
        ...[...from(5, 'bob', null, minute(5)), finish(5, canceled, 0)],
      ])
      expect((await stores.jobs.load(minute(1))).submissions).toEqual([
        { by: 'ada', at: minute(2) },
        { by: '192.0.2.7', at: minute(3) },
        { by: 'bob', at: minute(5) },
      ])
    })
  })
}
