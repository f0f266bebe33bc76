/** The whole service with the real code of Wan2.2 behind it, and what can be seen of a generation. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, vi } from 'vitest'
import type { WanTask } from '../../src/domain/wan-tasks.ts'
import type { JobDetailJson, JobJson } from '../../src/http/views/job-view.ts'
import { type AtEnd, type Service, startService } from '../support/service.ts'
import { prepared, pythonEnvironment } from './settings.ts'

/** The shortest videos that the service takes, of a size that the model makes itself. */
export const short = { size: '1280x704', frames: 5, steps: 4, seed: 7 } as const

/** Less than that of a test, so that a job that hangs is named. */
const patienceMs = 240_000

export type World = Awaited<ReturnType<typeof startWan>>

export async function startWan(atEnd: AtEnd, task: WanTask, env: NodeJS.ProcessEnv = {}) {
  const { python, wanDir, checkpoints } = prepared()
  const service = await startService({
    atEnd,
    env: {
      ...pythonEnvironment,
      WAN_DIR: wanDir,
      WAN_PYTHON: python,
      WAN_CKPT_DIR: checkpoints[task],
      WAN_TASK: task,
      WAN_SDPA: '1',
      MAX_ATTEMPTS: '1',
      ...env,
    },
  })
  return {
    service,
    submit: (wished: Wished) => submit(service, wished),
    until: (id: string, isSo?: (job: JobJson) => boolean) => service.until(id, isSo, patienceMs),
    details: (id: string) => service.json<JobDetailJson>(`/jobs/${id}`),
    log: async (id: string) => (await service.request(`/jobs/${id}/log`)).text(),
    fileOf: ({ filename }: JobJson) => join(service.dataDir, 'results', filename ?? ''),
    /** Jobs do not wait for it, but start cold. */
    hasTemplate: () =>
      vi.waitUntil(() => service.log('generations are forked from the template').length > 0, {
        timeout: patienceMs,
      }),
    starts: (start: 'cold' | 'warm' | 'fallback') =>
      metric(service, `wan_generation_starts_total{start="${start}"}`),
    encodings: (source: 'cache' | 'encoder') =>
      metric(service, `wan_prompt_encodings_total{source="${source}"}`),
    /** Those of the launcher, as long as the generation runs. */
    events: (id: string) => eventsIn(join(service.dataDir, 'work', id, '1', 'events.jsonl')),
  }
}

async function metric(service: Service, name: string): Promise<number> {
  const metrics = await (await service.request('/metrics')).text()
  const line = metrics.split('\n').find((text) => text.startsWith(`${name} `))
  return Number(line?.slice(name.length))
}

export type Wished = Readonly<{ prompt: string; image?: string } & Record<string, string | number>>

async function submit({ request }: Service, { image, ...wished }: Wished): Promise<string> {
  const body = new FormData()
  for (const [name, value] of Object.entries({ ...short, ...wished })) {
    body.append(name, String(value))
  }
  if (image !== undefined) body.append('image', new Blob([readFileSync(image)]))
  const response = await request('/generate', { method: 'POST', body })
  const answer = (await response.json()) as { id: string }
  expect(response.status, JSON.stringify(answer)).toBe(202)
  return answer.id
}

type LauncherEvent = Readonly<{ event: string; step?: number; why?: string }>

const eventsIn = (path: string): LauncherEvent[] =>
  readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as LauncherEvent)

/** Printed among the names of the tests. */
export const figure = (name: string, value: string): void => console.log(`    ${name}: ${value}`)
