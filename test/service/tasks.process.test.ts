import { describe, expect, it, vi } from 'vitest'
import type { TaskJson } from '../../src/http/views/task-view.ts'
import { type Service, startService } from '../support/service.ts'

const warm = { WARM_START: 'on', GPU_IDS: '0' }

/** That of the tested service, whichever node answers. */
async function template(service: Service): Promise<TaskJson['template']> {
  const { tasks } = await service.json<{ tasks: TaskJson[] }>('/tasks')
  expect(tasks.map(({ task }) => task)).toEqual(['ti2v-5B'])
  return templateOf(tasks[0])
}

const templateOf = (task: TaskJson | undefined) =>
  task?.nodes.find(({ node }) => node === 'local')?.template ?? expect.fail('it has no template')

/** Polls until the template is as the test wants it. */
async function templateIs(service: Service, wanted: Partial<TaskJson['template']>) {
  await vi.waitFor(async () => expect(await template(service)).toMatchObject(wanted), {
    timeout: 30_000,
    interval: 20,
  })
  return template(service)
}

const reload = (service: Service, task = 'ti2v-5B') =>
  service.request(`/tasks/${task}/reload`, { method: 'POST' })

describe('the template of a task', () => {
  it('is shown from its start on, with what it takes and what was started from it', async () => {
    const service = await startService({ env: { ...warm, SIM_LOAD: '4' } })
    expect(await template(service)).toEqual({
      state: 'building',
      reason: 'the service has started',
      private_bytes: null,
      shared_bytes: null,
      load_seconds: null,
      jobs_started: 0,
      can_reload: true,
    })
    const ready = await templateIs(service, { state: 'ready', reason: null, jobs_started: 0 })
    expect(ready.load_seconds).toBeGreaterThan(0)
    expect(ready.private_bytes).toBeGreaterThan(0)
    expect(ready.shared_bytes).toBeGreaterThan(0)
    await service.until(await service.submit({ prompt: 'a fox' }))
    expect(await template(service)).toEqual({ ...ready, jobs_started: 1 })
  })

  it('is loaded again on request, while jobs that were forked from it go on', async () => {
    const service = await startService({ env: warm })
    await templateIs(service, { state: 'ready' })
    const id = await service.submit({ prompt: 'a fox [sim:step=0.5]' })
    await service.until(id, ({ stage }) => stage === 'denoising')
    const answer = await reload(service)
    expect(answer.status).toBe(202)
    const task = (await answer.json()) as TaskJson
    expect(task.task).toBe('ti2v-5B')
    expect(templateOf(task)).toMatchObject({
      ...{ state: 'building', reason: 'a reload was requested', jobs_started: 0 },
    })
    await templateIs(service, { state: 'ready', jobs_started: 0 })
    expect(await service.until(id)).toMatchObject({ status: 'success', attempt: 1 })
    await service.until(await service.submit({ prompt: 'an owl' }))
    expect(await template(service)).toMatchObject({ state: 'ready', jobs_started: 1 })
    const [line] = service.log('a template is being built').slice(-1)
    expect(line).toMatchObject({
      why: 'a reload was requested',
      requestId: answer.headers.get('X-Request-Id'),
    })
  })

  it('is off with the reason after a fork has failed, and can be loaded again', async () => {
    const service = await startService({ env: { ...warm, SIM_FORK_FAULT: 'cuda' } })
    await templateIs(service, { state: 'ready' })
    await service.until(await service.submit({ prompt: 'a fox' }))
    const off = await templateIs(service, { state: 'off', private_bytes: null })
    expect(off.reason).toContain('Cannot re-initialize CUDA')
    expect((await reload(service)).status).toBe(202)
    await templateIs(service, { state: 'ready', reason: null })
  })

  it('cannot be loaded without warm starts, and the refusal says what to change', async () => {
    const service = await startService({ env: { ...warm, WARM_START: 'off' } })
    expect(await template(service)).toMatchObject({ state: 'off', reason: 'WARM_START is off' })
    const refused = await reload(service)
    expect(refused.status).toBe(409)
    expect(await refused.json()).toMatchObject({
      code: 'warm_start_off',
      detail: expect.stringContaining('WARM_START is off'),
    })
    const unknown = await reload(service, 's2v-14B')
    expect(unknown.status).toBe(404)
    expect(await unknown.json()).toMatchObject({
      code: 'task_not_found',
      detail: expect.stringContaining('ti2v-5B'),
    })
  })
})
