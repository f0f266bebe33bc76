/** `node status-probe.ts URL`: asks for the status of one of the latest jobs, again and again. SIGTERM: prints the times. */
import { setTimeout as delay } from 'node:timers/promises'
import { quantile } from './figures.ts'

export type ProbeTimes = Readonly<{ count: number; p50: number; p99: number; worst: number }>

const everyMs = 10
/** Requests to one list of jobs. */
const perList = 200

if (import.meta.main) {
  const times: number[] = []
  process.once('SIGTERM', () => {
    const found: ProbeTimes = {
      count: times.length,
      p50: quantile(times, 0.5),
      p99: quantile(times, 0.99),
      worst: Math.max(...times),
    }
    process.stdout.write(`${JSON.stringify(found)}\n`, () => process.exit())
  })
  const [url = ''] = process.argv.slice(2)
  for (;;) {
    const page = await fetch(`${url}/jobs?limit=100`)
    const { jobs } = (await page.json()) as { jobs: { id: string }[] }
    for (let n = 0; n < perList; n++) {
      const job = jobs[Math.floor(Math.random() * jobs.length)]
      const began = performance.now()
      const response = await fetch(job ? `${url}/status/${job.id}` : `${url}/health`)
      await response.arrayBuffer()
      times.push(performance.now() - began)
      await delay(everyMs)
    }
  }
}
