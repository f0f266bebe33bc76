/** Contract of a store of jobs: the command of an attempt. */
import { describe, expect, it } from 'vitest'
import { aRequest, jobId } from '../jobs.ts'
import { began, claim, finish, generated, minute, submit, success } from './operations.ts'
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
  })
}
