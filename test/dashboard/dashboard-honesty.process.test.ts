/** A page that says no more than is so: of a service that is not ready, busy with others, or gone. */
import type { Page } from 'playwright-core'
import { describe, expect, it } from 'vitest'
import { freePort } from '../../bench/performance/free-port.ts'
import { needsBrowser } from '../support/dashboard/browser.ts'
import {
  barriersOf,
  type Dashboard,
  openDashboard,
  unhurried,
} from '../support/dashboard/dashboard.ts'
import { aDataDirectory, quick, type ServiceClient, startService } from '../support/service.ts'

const bannerOf = (page: Page) => page.locator('.banner')

const textOf = (page: Page): Promise<string> => page.locator('body').innerText()

/** What the page may claim of a service that is ready only. */
const promises = /at once|would be next|would be at place|ready in about|ready for the next job/i

/** Has the page get this answer for its question whether the service is ready. */
const answerReady = (page: Page, status: number, body: string, contentType = 'application/json') =>
  page.route('**/ready', (route) => route.fulfill({ status, body, contentType }))

const json = (answer: unknown) => JSON.stringify(answer)

describe('the dashboard of a service that is not ready', () => {
  needsBrowser()

  it('says what is wrong and what to do, and promises nothing', async () => {
    const { page, service } = await openDashboard({
      env: { WAN_CKPT_DIR: '/no/such/checkpoint', GPU_IDS: '0' },
    })
    const banner = bannerOf(page)
    await banner.getByText('The service is not ready').waitFor()
    type Found = { checks: { name: string; ok: boolean; detail: string; node?: string }[] }
    const failedNow = async () =>
      (await service.json<Found>('/ready')).checks.filter(({ ok }) => !ok)
    await expect.poll(async () => JSON.stringify(await failedNow())).not.toContain('Not looked at')
    const failed = await failedNow()
    expect(failed.map(({ name }) => name)).toContain('checkpoint')
    for (const { name, node, detail } of failed) {
      await banner.getByText(node ? `${name} on ${node}` : name, { exact: true }).waitFor()
      await banner.getByText(detail, { exact: true }).waitFor()
    }
    await page.getByText('Nothing waits', { exact: true }).waitFor()
    await page.locator('.connection').getByText('Not ready').waitFor()
    expect(await textOf(page)).not.toMatch(promises)
    expect(await barriersOf(page)).toEqual([])
  })

  it('takes the promise back when it stops being ready, and gives it again', async () => {
    const { page, service } = await openDashboard({ env: { ...unhurried, GPU_IDS: '0' } })
    await page
      .getByText(/would be next, ready in about/)
      .first()
      .waitFor()
    expect(await bannerOf(page).count()).toBe(0)
    await service.request('/gpus/0/drain', { method: 'POST' })
    await bannerOf(page)
      .getByText(/Every GPU is down, drained or in quarantine/)
      .waitFor()
    await service.submit({ prompt: 'a fox that waits' })
    const waiting = page.getByRole('list', { name: 'Waiting jobs' })
    await waiting.getByText('no estimate while the service is not ready').waitFor()
    expect(await textOf(page)).not.toMatch(promises)
    await service.request('/gpus/0/resume', { method: 'POST' })
    await bannerOf(page).waitFor({ state: 'detached' })
    await page.locator('.connection').getByText('Live').waitFor()
  })

  it('shows whatever is named, and copes with nothing being named', async () => {
    const { page } = await openDashboard({ env: { GPU_IDS: '0' } })
    await page
      .getByText(/would be next/)
      .first()
      .waitFor()
    const detail = 'Several jobs failed in a row: <b>look</b> at the disk, then POST /resume.'
    const checks = [
      { name: 'claims_stopped', ok: false, detail, more: 1 },
      { name: 'disk', ok: true, detail: 'has room' },
    ]
    await answerReady(page, 503, json({ ready: false, checks }))
    const banner = bannerOf(page)
    await banner.getByText('claims stopped', { exact: true }).waitFor()
    await banner.getByText(detail, { exact: true }).waitFor()
    expect(await banner.innerText()).not.toContain('has room')
    for (const answer of [
      { ready: false },
      { ready: false, checks: [{ name: 'disk', ok: false }] },
    ]) {
      await page.unroute('**/ready')
      await answerReady(page, 503, json(answer))
      await banner.getByText(detail).waitFor({ state: 'detached' })
      await banner.getByText('The service is not ready').waitFor()
    }
    await banner.getByText('disk', { exact: true }).waitFor()
    // Refused, but by the service: it is there.
    await page.unroute('**/ready')
    await answerReady(page, 503, json({ code: 'service_busy', detail: 'x' }))
    await banner.waitFor({ state: 'detached' })
  })
})

describe('the dashboard of a client among others', () => {
  needsBrowser()

  it('shows the place and the time that a new video would get behind the jobs of others', {
    timeout: 120_000,
  }, async () => {
    const tokens = { ada: `ada-${crypto.randomUUID()}`, ops: `ops-${crypto.randomUUID()}` }
    const API_TOKENS = `ada:${tokens.ada},ops:${tokens.ops}`
    const env = { ...unhurried, SIM_STEP: '1', API_TOKENS, GPU_IDS: '0' }
    const service = await startService({ env })
    const [ada, ops] = [service.as(tokens.ada), service.as(tokens.ops)]
    const dashboard = await openDashboard({ service })
    const { page, submit } = dashboard
    await page.getByLabel('Token').fill(tokens.ada)
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.getByText('Nothing waits', { exact: true }).waitFor()

    const running = await ops.submit({ prompt: 'a slow fox of others', steps: 200 })
    await ops.until(running, ({ status }) => status === 'running')
    for (let n = 1; n <= 12; n++) await ops.submit({ prompt: `fox ${n} of others` })
    await page.getByText('Nothing of yours waits', { exact: true }).waitFor()
    const outlook = page.getByText(
      /^12 jobs wait: a new video would be at place 13, ready in about \d/,
    )
    await outlook.first().waitFor()
    expect(await textOf(page)).not.toContain('of others')
    expect(await textOf(page)).not.toMatch(/at once|Nothing waits/)

    expect(await nextOf(ada)).toMatchObject({
      queue_position: 13,
      eta_seconds: expect.any(Number),
      eta_source: 'default',
    })
    await submit('a fox of mine')
    await page
      .getByText(/^Queued at place 13/)
      .first()
      .waitFor()
    const mine = page.getByRole('list', { name: 'Waiting jobs' }).getByRole('listitem')
    await mine
      .filter({ hasText: 'a fox of mine' })
      .getByText(/^about/)
      .waitFor()
    expect(await mine.first().innerText()).toContain('13')
    await page
      .getByText(/^13 jobs wait: a new video would be at place 14/)
      .first()
      .waitFor()
  })
})

const nextOf = (client: ServiceClient) => client.json<object>('/eta/next')

describe('the dashboard of a service that is gone', () => {
  needsBrowser()

  /** A job that runs and one that waits, both with estimates of which much is left. */
  async function busyDashboard(port?: number): Promise<Dashboard> {
    const env = {
      ...{ ...unhurried, SIM_STEP: '1', GPU_IDS: '0' },
      ...(port !== undefined && { PORT: String(port) }),
    }
    const dashboard = await openDashboard({ env, dataDir: aDataDirectory() })
    const { page, service } = dashboard
    await page.clock.install()
    await page.reload()
    await service.until(await service.submit({ prompt: 'a finished fox [sim:step=0]', ...quick }))
    const id = await service.submit({ prompt: 'a slow fox', steps: 200, frames: 5 })
    await service.submit({ prompt: 'a waiting fox', ...quick })
    await service.until(id, ({ stage }) => stage === 'denoising')
    await page.getByRole('button', { name: /^Play/ }).waitFor()
    // Before its first step, the estimate may come from shorter jobs and be over.
    await page.getByText(/step [1-9]\d* of 200/).waitFor()
    await page
      .getByRole('list', { name: 'Waiting jobs' })
      .getByText(/^about/)
      .waitFor()
    return dashboard
  }

  const needed = ['Generate', /^Cancel “/, 'Drain GPU 0', 'Restart GPU 0', /^Again “/, /^Play “/]

  async function expectGone({ page, button }: Dashboard): Promise<void> {
    await bannerOf(page).getByText('The service cannot be reached').waitFor({ timeout: 20_000 })
    for (const name of needed) expect(await button(name).first().isDisabled()).toBe(true)
    expect(await page.getByRole('textbox', { name: 'Prompt', exact: true }).isDisabled()).toBe(
      false,
    )
    const opacity = await page.evaluate('getComputedStyle(document.querySelector("main")).opacity')
    expect(Number(opacity)).toBeLessThan(1)
    await expect.poll(() => etasOf(page)).toMatch(/as of then/)
    // An hour on the clock of the page: nothing that was an estimate has become a promise.
    const before = await etasOf(page)
    await page.clock.fastForward(3_600_000)
    await page
      .getByText(/1 h.* ago/)
      .first()
      .waitFor()
    expect(await etasOf(page)).toBe(before)
    expect(await textOf(page)).not.toMatch(/any moment/)
    expect(await textOf(page)).not.toMatch(promises)
  }

  async function expectBack({ page, button }: Dashboard): Promise<void> {
    await bannerOf(page).waitFor({ state: 'detached', timeout: 30_000 })
    await page.locator('.connection').getByText('Live').waitFor({ timeout: 30_000 })
    for (const name of needed) {
      await expect.poll(() => button(name).first().isDisabled()).toBe(false)
    }
    await expect.poll(() => etasOf(page)).not.toMatch(/as of then/)
  }

  const etasOf = async (page: Page): Promise<string> =>
    (await page.locator('.eta').allInnerTexts()).join('\n')

  it('says so, stands still, and goes on by itself when the service is back', {
    timeout: 180_000,
  }, async () => {
    const port = await freePort()
    const dashboard = await busyDashboard(port)
    const { service } = dashboard
    await service.stop('SIGKILL')
    await expectGone(dashboard)
    const env = { ...unhurried, SIM_STEP: '1', GPU_IDS: '0', PORT: String(port) }
    await startService({ env, dataDir: service.dataDir })
    await expectBack(dashboard)
  })

  it('says so too when it hangs without a word', { timeout: 180_000 }, async () => {
    const dashboard = await busyDashboard()
    const { service } = dashboard
    service.child.kill('SIGSTOP')
    await expectGone(dashboard)
    service.child.kill('SIGCONT')
    await expectBack(dashboard)
  })

  it('says so when a proxy answers in its place', async () => {
    const { page } = await openDashboard({ env: { GPU_IDS: '0' } })
    await page
      .getByText(/would be next/)
      .first()
      .waitFor()
    await answerReady(page, 502, '<h1>502 Bad Gateway</h1>', 'text/html')
    await bannerOf(page).getByText('The service cannot be reached').waitFor()
    await page.unroute('**/ready')
    await bannerOf(page).waitFor({ state: 'detached' })
  })
})
