import { existsSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { writePast } from '../../bench/dashboard/past.ts'
import type { PastJob } from '../../bench/dashboard/record-past.ts'
import { root } from '../../src/config/root.ts'
import type { JobJson } from '../../src/http/views/job-view.ts'
import { needsBrowser } from '../support/dashboard/browser.ts'
import {
  barriersOf,
  type Dashboard,
  expectToPlay,
  openDashboard,
  unhurried,
  untilOnPage,
} from '../support/dashboard/dashboard.ts'
import { aDataDirectory, quick, startService } from '../support/service.ts'
import { isOnPostgres } from '../support/store/shared-postgres.ts'

/** A film of 121 frames is converted on a machine that has other things to do. */
const patient = 240_000

const hostilePrompts = [
  '<script>globalThis.pwned = true</script>',
  '<img src=x onerror="globalThis.pwned = true">',
  '"><svg onload=globalThis.pwned=true>',
  'javascript:globalThis.pwned=true//',
  "{{constructor.constructor('globalThis.pwned=true')()}}",
  '\u202eevil txt.exe\u202c غروب الشمس שלום',
  '🦊👩‍👩‍👧‍👦🏳️‍🌈 a fox',
  `long ${'w'.repeat(10_000)}`,
]

beforeAll(() => {
  const built = join(root, 'dist', 'dashboard', 'index.html')
  if (!existsSync(built)) throw new Error('the dashboard has not been built: make dashboard')
})

const jobsOf = async ({ service }: Pick<Dashboard, 'service'>): Promise<JobJson[]> =>
  (await service.json<{ jobs: JobJson[] }>('/jobs?order=asc')).jobs

describe('the dashboard', () => {
  needsBrowser()

  it('takes a prompt, shows how it becomes a video, plays it, cancels another, restarts a GPU, and knows it all after a reload', {
    timeout: patient,
  }, async () => {
    const dashboard = await openDashboard({ env: { ...unhurried, GPU_IDS: '0' } })
    const { page, service, button, submit } = dashboard
    await page.getByText('No videos yet').waitFor()
    await page.getByText('Nothing waits', { exact: true }).waitFor()

    await page.getByText('More options').click()
    await page.getByRole('spinbutton', { name: 'Steps' }).fill('12')
    await page.getByRole('spinbutton', { name: 'Seed' }).fill('4711')
    await page.getByRole('textbox', { name: 'Negative prompt' }).fill('owls\nat night')
    await submit('a red fox in the snow')
    await submit('another fox')
    const card = page.getByRole('listitem').filter({ hasText: 'GPU 0' }).first()
    await card.getByText('a red fox in the snow').waitFor()
    await card.getByText(/Denoising · step \d+ of 12/).waitFor()
    await card.getByText(/^about/).waitFor()
    const before = await card.getByRole('progressbar').getAttribute('value')
    await expect.poll(() => card.getByRole('progressbar').getAttribute('value')).not.toBe(before)

    const waiting = page.getByRole('list', { name: 'Waiting jobs' }).getByRole('listitem')
    await waiting.filter({ hasText: 'another fox' }).waitFor()
    await button(/^Cancel “another fox”/).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Cancel the job' }).click()
    await page.getByText('Canceled', { exact: true }).waitFor()
    await expect.poll(() => waiting.count()).toBe(0)

    await button('Restart GPU 0').click()
    await page.getByRole('dialog').getByText('Keep it running').waitFor()
    await page.getByRole('dialog').getByRole('button', { name: 'Restart' }).click()
    await page.getByText('GPU 0: is being started again').waitFor()
    const incarnation = async () =>
      (await service.json<{ gpus: { actor: { incarnation: number } }[] }>('/gpus')).gpus[0]?.actor
        .incarnation
    await expect.poll(incarnation).toBe(2)

    await button(/^Play “a red fox/).click({ timeout: 200_000 })
    await expectToPlay(page)

    await page.reload()
    await button(/^Play “a red fox/).waitFor()
    await page.getByText('Seed 4711').waitFor()
    expect((await jobsOf(dashboard))[0]?.negative_prompt).toBe('owls at night')
    await page.getByText('Failed and canceled').click()
    await page.getByRole('link', { name: 'another fox' }).waitFor()
    expect(await jobsOf(dashboard)).toMatchObject([
      { status: 'success', seed: 4711, steps: 12, attempt: 1, size: '1280x720' },
      { status: 'canceled', prompt: 'another fox' },
    ])
    expect(dashboard.faults()).toEqual([])
  })

  it('makes a video again, and with another seed', { timeout: patient }, async () => {
    const dashboard = await openDashboard({ env: { GPU_IDS: '0' } })
    const { page, service, button } = dashboard
    await service.until(await service.submit({ prompt: 'a fox', seed: 7, ...quick }))
    await button(/^Again “a fox”/).click()
    await page.getByText('Queued once more').waitFor()
    await button(/^Vary seed of “a fox”/)
      .first()
      .click()
    await page.getByText('Queued with another seed').waitFor()
    const [first, again, varied] = await jobsOf(dashboard)
    expect(again).toMatchObject({ prompt: 'a fox', seed: 7, steps: first?.steps, frames: 5 })
    expect(varied).toMatchObject({ prompt: 'a fox', steps: first?.steps, frames: 5 })
    expect(varied?.seed).not.toBe(7)
    await expect.poll(() => page.getByRole('button', { name: /^Play/ }).count()).toBe(3)
    expect(dashboard.faults()).toEqual([])
  })

  it('shows of a job where its time went, its log, its attempts and its command line', async () => {
    const dashboard = await openDashboard({ env: { GPU_IDS: '0' } })
    const { page, service } = dashboard
    const prompt = 'a fox killed once [sim:once=kill-self]'
    const id = await service.submit({ prompt, ...quick })
    await service.until(id)
    await page.goto(`${service.url}/#/jobs/${id}`)
    await page.getByRole('heading', { name: prompt, level: 1 }).waitFor()
    const attempts = page.getByRole('article')
    expect(await attempts.nth(0).textContent()).toContain('Failed')
    expect(await attempts.nth(1).textContent()).toMatch(/Denoising.*Saving.*Converting/)
    await page
      .getByRole('region', { name: 'Log of generate.py' })
      .getByText(/attempt 2/)
      .waitFor()
    const command = page.getByRole('region', { name: 'Command line' }).first()
    expect(await command.textContent()).toContain('generate.py')
    expect(await command.textContent()).toContain(`'--prompt=${prompt}'`)
    await page.getByText('1280 × 720').waitFor()
    await page.locator('video').waitFor()
    expect(dashboard.faults()).toEqual([])
  })

  it('follows a log while it grows, and says why a job has failed', async () => {
    const dashboard = await openDashboard({
      env: { ...unhurried, GPU_IDS: '0', MAX_ATTEMPTS: '1' },
    })
    const { page, service } = dashboard
    const id = await service.submit({ prompt: 'a fox [sim:oom]', steps: 20, frames: 5 })
    await page.goto(`${service.url}/#/jobs/${id}`)
    const log = page.getByRole('region', { name: 'Log of generate.py' })
    await log.getByText(/Generating video/).waitFor()
    await page
      .getByText('Out of memory', { exact: true })
      .or(page.getByText('out of memory', { exact: true }))
      .first()
      .waitFor({ timeout: 45_000 })
    await log
      .getByText(/OutOfMemoryError/)
      .first()
      .waitFor()
    expect(dashboard.faults()).toEqual([])
  })

  it('lets an operator drain a GPU and resume it, after asking', async () => {
    const dashboard = await openDashboard()
    const { page, service, button } = dashboard
    const state = async () =>
      (await service.json<{ gpus: { state: string }[] }>('/gpus')).gpus.map((gpu) => gpu.state)
    await button('Drain GPU 1').click()
    await page.getByRole('dialog').getByRole('button', { name: 'Leave it' }).click()
    expect(await state()).toEqual(['idle', 'idle'])
    await button('Drain GPU 1').click()
    await page.getByRole('dialog').getByRole('button', { name: 'Drain' }).click()
    await expect.poll(state).toEqual(['idle', 'drained'])
    await page.getByText('Drained').waitFor()
    await button('Resume GPU 1').click()
    await page.getByRole('dialog').getByRole('button', { name: 'Resume' }).click()
    await expect.poll(state).toEqual(['idle', 'idle'])
    expect(dashboard.faults()).toEqual([])
  })

  it('begins a video with an image', { timeout: patient }, async () => {
    const dashboard = await openDashboard({ env: { GPU_IDS: '0' } })
    const { page } = dashboard
    await page.getByText('More options').click()
    const png =
      'iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAIAAAD8GO2jAAAAKElEQVR4nO3NsQ0AAAzCMP5/un0CNkuZ41wybXsHAAAAAAAAAAAAxR4yw/wuPL6QkAAAAABJRU5ErkJggg=='
    await page.getByLabel(/First image/).setInputFiles({
      ...{ name: '<b>fox</b>.png', mimeType: 'image/png', buffer: Buffer.from(png, 'base64') },
    })
    await page.getByText('<b>fox</b>.png').waitFor()
    await dashboard.submit('a fox wakes up')
    expect(await jobsOf(dashboard)).toMatchObject([
      { prompt: 'a fox wakes up', image: { type: 'png', width: 32, height: 32 } },
    ])
    expect(dashboard.faults()).toEqual([])
  })

  it('says what is wrong with a request, at the form', async () => {
    const { page } = await openDashboard()
    await page.getByRole('textbox', { name: 'Prompt', exact: true }).fill('--size 1*1')
    await page.getByRole('button', { name: 'Generate', exact: true }).click()
    await page.getByRole('alert').getByText('prompt: must not begin with "--"').waitFor()
    expect(
      await page.getByRole('textbox', { name: 'Prompt', exact: true }).getAttribute('aria-invalid'),
    ).toBe('true')
  })

  it('can be used with the keyboard alone', async () => {
    const dashboard = await openDashboard()
    const { page } = dashboard
    await page.getByText('No videos yet').waitFor()
    const focused = () =>
      page.evaluate('document.activeElement.name || document.activeElement.textContent.trim()')
    await page.keyboard.press('Tab')
    expect(await focused()).toBe('Skip to the content')
    await page.keyboard.press('Enter')
    await page.keyboard.press('Tab')
    expect(await focused()).toBe('prompt')
    await page.keyboard.type('a fox by keyboard')
    await page.keyboard.press('Tab')
    expect(await focused()).toBe('size')
    await page.keyboard.press('ArrowRight')
    await page.keyboard.press('Tab')
    await page.keyboard.press('Tab')
    expect(await focused()).toBe('Generate')
    await page.keyboard.press('Enter')
    await page.getByText(/^Queued at place/).waitFor()
    expect(await jobsOf(dashboard)).toMatchObject([
      { prompt: 'a fox by keyboard', size: '720x1280' },
    ])

    await page.getByRole('button', { name: 'Drain GPU 0' }).focus()
    await page.keyboard.press('Enter')
    await page.getByRole('dialog').waitFor()
    await page.keyboard.press('Escape')
    await page.getByRole('dialog').waitFor({ state: 'detached' })
    expect(await focused()).toBe('Drain GPU 0')
  })

  it('shows prompts as what they are: text', { timeout: patient }, async () => {
    const { service, page, faults } = await openDashboard({ env: { GPU_IDS: '0' } })
    const ids: string[] = []
    for (const prompt of hostilePrompts) ids.push(await service.submit({ prompt, ...quick }))
    for (const id of ids) await service.until(id)
    await expect.poll(() => page.getByRole('button', { name: /^Play/ }).count()).toBe(ids.length)
    const shown = await page.locator('.gallery .prompt').allTextContents()
    for (const prompt of hostilePrompts) {
      expect(shown.some((text) => prompt.startsWith(text.replace(/…$/, '')))).toBe(true)
    }
    for (const [index, id] of ids.entries()) {
      await page.goto(`${service.url}/#/jobs/${id}`)
      await page.locator('h1 .prompt').waitFor()
      await expect.poll(() => page.locator('h1 .prompt').textContent()).toBe(hostilePrompts[index])
      expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true)
    }
    expect(await page.evaluate('globalThis.pwned')).toBeUndefined()
    expect(
      await page.evaluate('document.querySelectorAll("main script, main img[onerror]").length'),
    ).toBe(0)
    expect(faults()).toEqual([])
  })

  it.each([320, 390, 768, 1280, 1920])('fits a screen %i px wide', async (width) => {
    const dashboard = await openDashboard({ view: { viewport: { width, height: 800 } } })
    const { page, service } = dashboard
    const id = await service.submit({ prompt: `a fox ${'without a break '.repeat(20)}`, ...quick })
    await service.until(id)
    await page.getByRole('button', { name: /^Play/ }).waitFor()
    const fits = 'document.documentElement.scrollWidth <= innerWidth'
    expect(await page.evaluate(fits)).toBe(true)
    await page.goto(`${service.url}/#/jobs/${id}`)
    await page.getByText('Where the time went').waitFor()
    expect(await page.evaluate(fits)).toBe(true)
  })

  it.each(['light', 'dark'] as const)(
    'bars nobody, in %s',
    { timeout: patient },
    async (colorScheme) => {
      const { page, service, button } = await openDashboard({
        env: { ...unhurried, SIM_STEP: '1', GPU_IDS: '0' },
        view: { colorScheme },
      })
      const failed = await service.submit({ prompt: 'a fox [sim:exit-1] [sim:step=0]', ...quick })
      await service.until(failed)
      const finished = await service.submit({ prompt: 'a fox [sim:step=0]', ...quick })
      await service.until(finished)
      const running = await service.submit({ prompt: 'a slow fox', steps: 50, frames: 5 })
      await service.submit({ prompt: 'a fox that waits', ...quick })
      await service.until(running, ({ stage }) => stage === 'denoising')
      await button(/^Play/).waitFor()
      await page.getByText(/step \d+ of 50/).waitFor()
      await page.getByRole('heading', { name: 'Queue depth' }).waitFor()
      expect(await barriersOf(page)).toEqual([])
      await page.getByText('More options').click()
      await button('Restart GPU 0').click()
      expect(await barriersOf(page)).toEqual([])
      await page.keyboard.press('Escape')
      await page.getByText('Failed and canceled').click()
      await page
        .locator('.row')
        .getByRole('link', { name: /exit-1/ })
        .waitFor()
      expect(await barriersOf(page)).toEqual([])
      for (const id of [failed, finished, running]) {
        await page.goto(`${service.url}/#/jobs/${id}`)
        await page.getByRole('article').first().waitFor()
        expect(await barriersOf(page)).toEqual([])
      }
    },
  )
})

describe('the dashboard of a service with tokens', () => {
  needsBrowser()

  const tokens = { ada: `ada-${crypto.randomUUID()}`, ops: `ops-${crypto.randomUUID()}` }
  const env = { API_TOKENS: `ada:${tokens.ada},ops:${tokens.ops}:admin`, GPU_IDS: '0' }

  const signIn = async ({ page }: Dashboard, token: string) => {
    await page.getByLabel('Token').fill(token)
    await page.getByRole('button', { name: 'Sign in' }).click()
  }

  it('asks for one, and shows a client what is its own', { timeout: patient }, async () => {
    const service = await startService({ env })
    const [ada, ops] = [service.as(tokens.ada), service.as(tokens.ops)]
    await ops.until(await ops.submit({ prompt: 'a fox of others', ...quick }))
    await ada.until(await ada.submit({ prompt: 'a fox of mine', frames: 25, steps: 4 }))
    const dashboard = await openDashboard({ service })
    const { page } = dashboard
    await page.getByRole('heading', { name: 'Sign in' }).waitFor()
    expect(await barriersOf(page)).toEqual([])
    await signIn(dashboard, 'not-a-token-of-ours')
    await page
      .getByRole('alert')
      .getByText(/not known/)
      .waitFor()
    await signIn(dashboard, tokens.ada)
    await page.getByRole('button', { name: 'Play “a fox of mine”' }).click()
    await expectToPlay(page)
    await untilOnPage(page, 'document.querySelector(".connection").textContent === "Live"')
    expect(await page.getByText('a fox of others').count()).toBe(0)
    expect(await page.getByRole('heading', { name: 'GPUs' }).count()).toBe(0)
    await page.reload()
    await page.getByRole('button', { name: 'Play “a fox of mine”' }).waitFor()
    // Pictures come by links, as no header goes with them.
    await untilOnPage(page, 'document.querySelector(".gallery img").naturalWidth > 0')
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.getByRole('heading', { name: 'Sign in' }).waitFor()
    expect(await page.content()).not.toContain('a fox of mine')
    // Of the wrong token, and of what was under way when the right one was put away.
    expect(dashboard.faults().filter((text) => !/status of 401/.test(text))).toEqual([])
  })

  it.each(['ada', 'ops'] as const)('asks for nothing in vain that %s may not see', async (who) => {
    const service = await startService({ env })
    const dashboard = await openDashboard({ service })
    const { page } = dashboard
    await signIn(dashboard, tokens[who])
    const isUpToDate = async () => {
      await page.locator('.connection').getByText('Live').waitFor()
      await page.getByText('No videos yet').waitFor()
      await page.getByText('Nothing waits', { exact: true }).waitFor()
      await page.locator('.charts').waitFor()
    }
    await isUpToDate()
    await page.reload()
    await isUpToDate()
    const id = await service.as(tokens[who]).submit({ prompt: 'a fox', ...quick })
    await page.getByRole('button', { name: /^Play/ }).waitFor()
    await page.goto(`${service.url}/#/jobs/${id}`)
    await page.getByRole('region', { name: 'Log of generate.py' }).waitFor()
    expect(dashboard.faults()).toEqual([])
  })

  it('shows an admin everything', async () => {
    const service = await startService({ env })
    const ada = service.as(tokens.ada)
    await ada.until(await ada.submit({ prompt: 'a fox of ada', ...quick }))
    const dashboard = await openDashboard({ service })
    await signIn(dashboard, tokens.ops)
    const { page } = dashboard
    await page.getByRole('button', { name: 'Play “a fox of ada”' }).waitFor()
    await page.getByRole('heading', { name: 'GPU 0' }).waitFor()
    await page.getByRole('heading', { name: 'GPU busy share' }).waitFor()
  })
})

describe('a dashboard whose service dies', () => {
  needsBrowser()

  it('says so, and is up to date again when the service is back', async () => {
    const dataDir = aDataDirectory()
    const env = { PORT: String(await aFreePort()), GPU_IDS: '0' }
    const first = await startService({ env, dataDir })
    const { page, faults } = await openDashboard({ service: first })
    const connection = page.locator('.connection')
    await connection.getByText('Live').waitFor()
    await first.stop('SIGKILL')
    await connection.getByText('Reconnecting').waitFor()

    const again = await startService({ env, dataDir })
    await connection.getByText('Live').waitFor()
    await again.until(await again.submit({ prompt: 'a fox after all', ...quick }))
    await page.getByRole('button', { name: 'Play “a fox after all”' }).waitFor()
    expect(faults().filter((text) => /throws|Content Security Policy/.test(text))).toEqual([])
  })
})

describe('a dashboard of very much', () => {
  needsBrowser()

  // The records are written to a file of SQLite.
  it.skipIf(isOnPostgres)('has a page of it at a time', { timeout: patient }, async () => {
    const dataDir = aDataDirectory()
    await writePast(dataDir, much(5_000, 1_000), { drained: [0] })
    const { page, service } = await openDashboard({ dataDir, env: { GPU_IDS: '0' } })
    const nodes = () => page.evaluate('document.querySelectorAll("*").length') as Promise<number>
    const tiles = page.getByRole('button', { name: /^Play/ })
    await expect.poll(() => tiles.count()).toBe(12)
    await page.getByText('1,000 jobs waiting').waitFor()
    expect(await nodes()).toBeLessThan(2_000)

    const queue = page.getByRole('navigation', { name: 'Pages of the queue' })
    const first = page.getByRole('list', { name: 'Waiting jobs' }).getByRole('listitem').first()
    expect(await first.textContent()).toContain('Place 1')
    await queue.getByRole('button', { name: 'Next' }).click()
    await expect.poll(() => first.textContent()).toContain('Place 26')
    await service.request(`/jobs?ids=${(await jobsOf({ service }))[0]?.id}`, { method: 'DELETE' })
    await queue.getByRole('button', { name: 'Previous' }).click()
    await expect.poll(() => first.textContent()).toContain('Place 1')

    const videos = page.getByRole('navigation', { name: 'Pages of videos' })
    await tiles.first().getByText(/4999/).waitFor()
    for (const newest of [4_987, 4_975]) {
      await videos.getByRole('button', { name: 'Next' }).click()
      await tiles
        .first()
        .getByText(new RegExp(`${newest}`))
        .waitFor()
    }
    expect(await nodes()).toBeLessThan(2_000)
  })
})

/** Videos of the last weeks, numbered, and jobs that wait. */
function much(finished: number, waiting: number): PastJob[] {
  const start = Date.now() - 20_000 * 1000
  return [
    ...Array.from({ length: finished }, (_, index): PastJob => {
      const at = start + index * 1_000
      const filename = `v${index}.mp4`
      const prompt = `a fox, number ${index}`
      return { prompt, submittedAt: at, run: { gpu: 0, claimedAt: at, seconds: 1, filename } }
    }),
    ...Array.from({ length: waiting }, (_, index): PastJob => {
      return { prompt: `a waiting fox, number ${index}`, submittedAt: Date.now() - 60_000 }
    }),
  ]
}

/** That nobody had a moment ago: a service that comes back is where it was. */
function aFreePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo
      server.close(() => resolve(port))
    })
  })
}
