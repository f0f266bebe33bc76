/** Many jobs from one template: whether anything grows. */
import { readdirSync, readFileSync } from 'node:fs'
import { messageOf } from '../../src/domain/errors.ts'
import { median } from '../performance/figures.ts'
import { type Checks, FailedError, timeIsUp } from './checks.ts'
import { size } from './machine.ts'
import { makeVideo, shortest, type Video } from './videos.ts'
import type { WanService } from './wan-service.ts'

export const manyName = (jobs: number): string =>
  `warm: ${jobs} ${jobs === 1 ? 'job' : 'jobs'} in a row`

/** Growth of the template's private memory over all jobs that is put down to chance. */
const maxGrowth = (bytes: number): number => bytes * 0.01 + 16 * 1024 ** 2

export async function makeMany(
  checks: Checks,
  service: WanService,
  gpu: number,
  { jobs, cold }: Readonly<{ jobs: number; cold: Video }>,
): Promise<void> {
  await checks.check(manyName(jobs), async () => {
    const videos: Video[] = []
    const privateBytes: number[] = []
    const figures = () => ({ videos, privateBytes })
    for (let number = 1; number <= jobs; number++) {
      const wished = { prompt: `Fox ${number}`, seed: number, ...shortest }
      try {
        videos.push(await makeVideo(service, gpu, wished, 'warm'))
      } catch (error) {
        const message = `after ${videos.length} of ${jobs} jobs: ${messageOf(error)}`
        if (checks.clock.leftMs() <= 0) throw timeIsUp()
        throw new FailedError(message, figures())
      }
      privateBytes.push(privateBytesOfTemplate(service.pid))
    }
    const [first = 0, last = 0] = [privateBytes[0], privateBytes.at(-1)]
    const memory = `private memory of the template ${size(first)} after the first, ${size(last)} after the last`
    if (last > first + maxGrowth(first)) throw new FailedError(memory, figures())
    const used = videos.map(({ usedMiB }) => usedMiB)
    const loading = median(videos.map(({ seconds }) => seconds.loading ?? Number.NaN))
    return {
      detail: [
        `all succeeded; loading ${loading.toFixed(2)} s (median; cold: ${cold.seconds.loading?.toFixed(2)} s)`,
        `GPU memory after each ${Math.min(...used)} to ${Math.max(...used)} MiB`,
        memory,
      ].join('; '),
      figures: figures(),
      value: undefined,
    }
  })
}

/** Memory that only the template has, without weights that are mapped from files. */
function privateBytesOfTemplate(service: number): number {
  const pid = templateOf(service)
  if (pid === undefined) throw new FailedError('there is no template any more')
  const line = /^RssAnon:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Number(line?.[1] ?? 0) * 1024
}

/** A child of the fork server, which is a child of the service. */
function templateOf(service: number): number | undefined {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .find((pid) => {
      const { name, parent } = statOf(pid)
      return name === 'wan-template' && statOf(parent).parent === service
    })
}

function statOf(pid: number): { name: string; parent: number } {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const [, name = '', parent] = /^\d+ \((.*)\) \S (\d+)/s.exec(stat) ?? []
    return { name, parent: Number(parent) }
  } catch {
    return { name: '', parent: 0 }
  }
}
