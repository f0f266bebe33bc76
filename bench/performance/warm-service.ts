/** A service whose generations are forked from its template, and its jobs on the simulator. */
import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import type { AttemptJson } from '../../src/http/views/attempt-view.ts'
import { type BenchService, launchService } from '../service.ts'
import { send } from './client.ts'
import type { Run } from './gaps.ts'
import { python } from './noop.ts'

/** All but `off` have a template, which is there when this resolves. */
export async function launchWith(
  start: 'on' | 'off',
  directory: string,
  env: NodeJS.ProcessEnv = {},
): Promise<Readonly<{ service: BenchService; url: string }>> {
  const service = launchService(directory, { WARM_START: start, WAN_PYTHON: python, ...env })
  const url = await service.listening()
  if (start === 'on') {
    await service.logged(({ msg }) => msg === 'generations are forked from the template')
  }
  return { service, url }
}

export const shortVideo = { size: '1280x704', frames: 5, steps: 4, seed: 7 } as const

type Job = Readonly<{ status: string; stage: string | null; attempts: readonly AttemptJson[] }>

export const detailOf = async (url: string, id: string): Promise<Job> =>
  (await send(`${url}/jobs/${id}`)).json() as Promise<Job>

/** All of them take steps at the same time. */
export async function allSample(url: string, ids: readonly string[]): Promise<void> {
  for (const id of ids) {
    while ((await detailOf(url, id)).stage !== 'denoising') await delay(50)
  }
}

/** Number of generations that were forked from the template. */
export async function warmStarts(url: string): Promise<number> {
  const metrics = await (await send(`${url}/metrics`)).text()
  return Number(/^wan_generation_starts_total\{start="warm"\} (\d+)/m.exec(metrics)?.[1])
}

/** Milliseconds since 1970 at which each run of the simulator had accepted its arguments, and had ended. */
export function runsIn(journal: string): Run[] {
  const began = new Map<number, number>()
  const runs = []
  for (const line of readFileSync(journal, 'utf8').trimEnd().split('\n')) {
    const { event, pid, at } = JSON.parse(line) as { event: string; pid: number; at: number }
    if (event === 'start') began.set(pid, at * 1000)
    else runs.push({ began: began.get(pid) ?? Number.NaN, ended: at * 1000 })
  }
  return runs
}
