import { expect, it } from 'vitest'
import { openDashboard } from '../support/dashboard/dashboard.ts'
import { aDataDirectory, quick, startService } from '../support/service.ts'

it('shows warm starts, what they save, and the template, which a button loads again', async () => {
  const dataDir = aDataDirectory()
  const env = { GPU_IDS: '0', WARM_START: 'on', SIM_LOAD: '2' }
  const cold = await startService({ dataDir, env: { ...env, WARM_START: 'off' } })
  await cold.until(await cold.submit({ prompt: 'an early fox', ...quick }))
  await cold.stop()
  const { page, service, button, faults } = await openDashboard({ dataDir, env })
  await page.getByText(/Template of ti2v-5B( on local)?: ready, 0 jobs started from it/).waitFor()
  const id = await service.submit({ prompt: 'a fox [sim:step=1.5]', ...quick })
  const card = page.getByRole('listitem').filter({ hasText: 'GPU 0' }).first()
  await card.getByText('warm start').waitFor()
  await page.getByText(/Template of ti2v-5B( on local)?: ready, 1 job started from it/).waitFor()

  await button('Reload the template of ti2v-5B').click()
  await page.getByText('The template of ti2v-5B is loaded again').waitFor()
  await page.getByText(/Template of ti2v-5B( on local)?: ready, 0 jobs started from it/).waitFor()
  expect(await service.until(id)).toMatchObject({ status: 'success', attempt: 1 })

  await page.reload()
  const figure = page.getByRole('figure').filter({ hasText: 'Importing and loading' })
  await figure.getByText('of GPU time, in 2 generations').waitFor()
  await figure
    .getByText(/^Cold, the warm starts would have taken .* by 1 cold run of this/)
    .waitFor()
  expect(faults()).toEqual([])
}, 240_000)

it('says why there is no template, without a button, where the settings allow none', async () => {
  const { page, button } = await openDashboard({ env: { WARM_START: 'off' } })
  await page.getByText(/Template of ti2v-5B( on local)?: off, WARM_START is off/).waitFor()
  expect(await button('Reload the template of ti2v-5B').count()).toBe(0)
})
