import pLimit from 'p-limit'
import { type LogLine, launchService } from '../../service.ts'
import { submit } from '../client.ts'
import { type Contender, submittedAtOnce } from './contender.ts'
import { environmentOf, requestOf } from './work.ts'

export const service: Contender = {
  name: 'wan-supervisor, over HTTP',
  async open(directory) {
    const running = launchService(directory, environmentOf(directory))
    const url = await running.listening()
    return {
      what: 'SQLite with synchronous=FULL',
      async run(jobs) {
        const limit = pLimit(submittedAtOnce)
        const submitted = jobs.map((n) => limit(() => submit(url, requestOf(n))))
        const open = new Set(await Promise.all(submitted))
        await running.logged((line) => {
          if (hasSucceeded(line)) open.delete(line.jobId ?? '')
          return open.size === 0
        })
      },
      cpu: running.cpu,
      close: running.stop,
    }
  },
}

/** Said when it is on disk. */
function hasSucceeded({ msg, status, jobId }: LogLine): boolean {
  if (msg !== 'job status') return false
  if (status === 'error') throw new Error(`job ${jobId} failed`)
  return status === 'success'
}
