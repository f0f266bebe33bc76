/** Contract of a store of jobs: the command of an attempt, and how it was started. */
import { describe, expect, it } from 'vitest'
import { aRequest, gpu1, gpu2, jobId } from '../jobs.ts'
import { began, claim, finish, generated, minute, release, submit, success } from './operations.ts'
import { commit, type StoreOperation, type StoresOfTest } from './stores.ts'

export function describeCommands(stores: StoresOfTest): void {
  describe('an attempt', () => {
    it('has its command from its start until the job is deleted', async () => {
      const command = ['python3', 'generate.py', `--prompt=${aRequest().prompt}`]
      const latest = async () => (await stores.jobs.attempts(jobId(1))).at(-1)
      await commit(stores, [submit(1), claim(1)])
      expect(await latest()).not.toHaveProperty('command')
      await commit(stores, [{ ...began(1), command } as StoreOperation])
      expect(await latest()).toMatchObject({ command })
      await commit(stores, [generated(1), finish(1, success)])
      expect(await latest()).toMatchObject({ command })
      await commit(stores, [{ op: 'remove', jobId: jobId(1), at: minute(5) }])
      expect(await latest()).not.toHaveProperty('command')
    })

    it('keeps how it was started, and nothing where that is unknown', async () => {
      await commit(stores, [submit(1), claim(1), submit(2), claim(2, 1, { gpu: gpu1 })])
      await commit(stores, [submit(3), claim(3, 1, { gpu: gpu2 })])
      await commit(stores, [
        { ...began(1), start: 'warm' } as StoreOperation,
        { ...began(2), start: 'cold' } as StoreOperation,
        began(3),
      ])
      await commit(stores, [generated(1), finish(1, success), release(2)])
      const starts = async (n: number) =>
        (await stores.jobs.attempts(jobId(n))).map(({ start }) => start)
      expect(await starts(1)).toEqual(['warm'])
      expect(await starts(2)).toEqual(['cold'])
      expect(await starts(3)).toEqual([undefined])
    })
  })
}
