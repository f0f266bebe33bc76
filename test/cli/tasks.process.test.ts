import { expect, it, vi } from 'vitest'
import type { TaskJson } from '../../src/http/views/task-view.ts'
import { wanctl } from '../support/cli.ts'
import { startService } from '../support/service.ts'

/** That of the tested service, whichever node answers. */
const templateOf = ({ nodes }: TaskJson) => nodes.find(({ node }) => node === 'local')?.template

it('shows tasks with their templates, and loads one again', async () => {
  const { url, log } = await startService({ env: { WARM_START: 'on', GPU_IDS: '0' } })
  const shown = async () => {
    const { stdout } = await wanctl(['tasks', '--json'], { url })
    return (JSON.parse(stdout) as { tasks: TaskJson[] }).tasks
  }
  const isReady = () =>
    vi.waitFor(
      async () => expect((await shown()).map(templateOf)).toMatchObject([{ state: 'ready' }]),
      { timeout: 30_000 },
    )
  await isReady()
  const text = await wanctl(['tasks'], { url })
  expect(text.stdout).toMatch(/^TASK +(NODE +)?TEMPLATE +JOBS +PRIVATE +SHARED +LOADED IN/)
  expect(text.stdout).toMatch(
    /^ti2v-5B +(local +)?ready +0 +[\d.]+ MiB +[\d.]+ MiB +\d+ s +\/.*checkpoint$/m,
  )

  const reloaded = await wanctl(['reload', 'ti2v-5B'], { url })
  expect(reloaded).toMatchObject({ code: 0, stderr: '' })
  expect(reloaded.stdout).toContain('ti2v-5B is loaded again')
  await isReady()
  expect(log('a template is replaced')).toHaveLength(1)
  const json = await wanctl(['reload', 'ti2v-5B', '--json'], { url })
  expect(templateOf(JSON.parse(json.stdout) as TaskJson)).toMatchObject({
    ...{ state: 'building', reason: 'a reload was requested' },
  })
})

it('loads no template where warm starts are off, and says why there is none', async () => {
  const { url } = await startService({ env: { WARM_START: 'off' } })
  const text = await wanctl(['tasks'], { url })
  expect(text.stdout).toMatch(/^ti2v-5B +(local +)?off +0 .*WARM_START is off$/m)
  expect(await wanctl(['reload', 'ti2v-5B'], { url })).toMatchObject({
    code: 1,
    stdout: '',
    stderr: expect.stringMatching(/WARM_START is off.*warm_start_off/),
  })
  expect(await wanctl(['reload', 'x'], { url })).toMatchObject({
    code: 5,
    stderr: expect.stringMatching(/only ti2v-5B.*task_not_found/),
  })
})
