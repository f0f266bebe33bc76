import type { Page } from 'playwright-core'
import { describe, expect, it } from 'vitest'
import { needsBrowser } from '../support/dashboard/browser.ts'
import { barriersOf, openDashboard, unhurried } from '../support/dashboard/dashboard.ts'
import { quick, startService } from '../support/service.ts'
import { isFollower } from '../support/store/shared-postgres.ts'

type Answer = Record<string, unknown>

/** Changes what the page reads at a path. */
const change = (page: Page, path: RegExp, changed: (answer: Answer) => Answer) =>
  page.route(path, async (route) => {
    if (route.request().method() !== 'GET') return route.continue()
    const response = await route.fetch()
    await route.fulfill({ response, json: changed((await response.json()) as Answer) })
  })

const lostNode = {
  ...{ name: 'gpu-8', url: 'http://gpu-8:8080', role: 'follower', state: 'lost', version: '1.2.3' },
  ...{ drained: false, has_room: true, hold: null, max_concurrent_loads: 1, gpus: [2, 3] },
}

const withoutGpus = {
  ...lostNode,
  ...{ name: 'no-gpu', url: 'http://no-gpu:8080', state: 'present', gpus: [] },
}

describe('the nodes of the dashboard', () => {
  needsBrowser()

  it.skipIf(isFollower)('are not mentioned where there is one', async () => {
    const { page, service, faults } = await openDashboard({ env: { GPU_IDS: '0' } })
    const id = await service.submit({ prompt: 'a fox', ...quick })
    await service.until(id)
    await page.getByRole('listitem').filter({ hasText: 'GPU 0' }).first().waitFor()
    expect(await page.getByRole('region', { name: 'Nodes' }).count()).toBe(0)
    expect(await page.locator('body').innerText()).not.toMatch(/\blocal\b/)
    await page.goto(`${service.url}/#/jobs/${id}`)
    await page.getByText('on GPU 0', { exact: true }).waitFor()
    expect(await page.locator('body').innerText()).not.toMatch(/\blocal\b/)
    expect(faults()).toEqual([])
  })

  // The second node is made up.
  it.skipIf(isFollower)(
    'are listed with their states where there are several, and drained and resumed',
    async () => {
      const service = await startService({ env: { ...unhurried, GPU_IDS: '0,1' } })
      const { page, button, faults } = await openDashboard({ service })
      await change(page, /\/ready$/, (answer) => ({
        ...answer,
        nodes: { present: 2, left: 0, lost: 1, leader: 'local' },
      }))
      await change(page, /\/nodes$/, ({ nodes }) => ({
        nodes: [...(nodes as unknown[]), lostNode, withoutGpus],
      }))
      const list = page.getByRole('region', { name: 'Nodes' })
      await list.getByText('2 of 3 present').waitFor()
      const row = (name: string) => list.getByRole('listitem').filter({ hasText: name })
      expect(await row('local').innerText()).toMatch(/leads.*2 GPUs.*Present/s)
      expect(await row('gpu-8').innerText()).toMatch(/2 GPUs · version 1\.2\.3.*Lost/s)
      // A drain also holds for GPUs that are added later.
      await button('Drain node no-gpu').click({ trial: true })
      expect(await barriersOf(page)).toEqual([])

      await button('Drain node local').click()
      await page.getByRole('dialog').getByRole('button', { name: 'Drain' }).click()
      await page.getByText('Node local: takes no new jobs').waitFor()
      await row('local').getByText('Drained').waitFor()
      const { gpus } = await service.json<{ gpus: { state: string }[] }>('/gpus')
      expect(gpus.map(({ state }) => state)).toEqual(['drained', 'drained'])
      await button('Resume node local').click()
      await page.getByRole('dialog').getByRole('button', { name: 'Resume' }).click()
      await row('local').getByText('Present').waitFor()

      const id = await service.submit({ prompt: 'a fox [sim:step=0.3]', ...quick })
      const card = page.getByRole('listitem').filter({ hasText: 'a fox' }).first()
      await card.getByText('local').waitFor()
      await row('local').getByText('1 busy').waitFor()
      await page.goto(`${service.url}/#/jobs/${id}`)
      await page.getByText(/on GPU \d of local/).waitFor()
      await page.getByRole('definition').getByText('local', { exact: true }).waitFor()
      // Nothing is ready while every GPU is drained.
      expect(faults().filter((text) => !text.includes('status of 503'))).toEqual([])
    },
  )
})
