/** Contract of a store of jobs: the command of an attempt. */
import { describe, expect, it } from 'vitest'
import { aRequest, jobId } from '../jobs.ts'
import { began, claim, submit } from './operations.ts'
import { commit, type StoresOfTest } from './stores.ts'

export function describeCommands(stores: StoresOfTest): void {
  describe('an attempt', () => {
    it('has the command that it was started with', async () => {
      const jobs = stores.jobsWith({
        task: 'ti2v-5B',
        gpuModels: new Map(),
        commandOf: ({ request }) => ['python3', `--prompt=${request.prompt}`],
      })
      await commit({ jobs }, [submit(1), claim(1), began(1)])
      const command = ['python3', `--prompt=${aRequest().prompt}`]
      expect(await jobs.attempts(jobId(1))).toMatchObject([{ command }])
    })
  })
}
