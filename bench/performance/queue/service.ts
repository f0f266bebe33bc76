import pLimit from 'p-limit'
import { type LogLine, launchService } from '../../service.ts'
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
        const submitted = jobs.map((n) => limit(() => submit(url, n)))
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

async function submit(url: string, n: number): Promise<string> {
  const response = await fetch(`${url}/generate`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(requestOf(n)),
  })
  if (response.status !== 202) throw new Error(`refused: ${await response.text()}`)
  return ((await response.json()) as { id: string }).id
}

/** Said when it is on disk. */
function hasSucceeded({ msg, status, jobId }: LogLine): boolean {
  if (msg !== 'job status') return false
  if (status === 'error') throw new Error(`job ${jobId} failed`)
  return status === 'success'
}
