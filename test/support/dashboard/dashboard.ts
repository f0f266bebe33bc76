/** The dashboard of a real service, open in a real browser. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { Page } from 'playwright-core'
import { expect, onTestFinished, vi } from 'vitest'
import { type Service, startService } from '../service.ts'
import { openBrowser, watchedPage } from './browser.ts'

/** Generations of some seconds, with every stage in them. */
export const unhurried = {
  ...{ SIM_SPEED: '1', SIM_LOAD: '2', SIM_ENCODE: '0.2', SIM_STEP: '0.25', SIM_DECODE: '0.2' },
}

export type Dashboard = Awaited<ReturnType<typeof openDashboard>>

type Options = Readonly<{
  service?: Service
  env?: NodeJS.ProcessEnv
  dataDir?: string
  view?: Parameters<typeof watchedPage>[1] extends infer Given ? Omit<Given, 'origin'> : never
}>

export async function openDashboard({ service, env = {}, dataDir, view = {} }: Options = {}) {
  const behind = service ?? (await startService({ env, ...(dataDir && { dataDir }) }))
  const browser = await openBrowser(onTestFinished)
  const { page, complaints } = await watchedPage(browser, { origin: behind.url, ...view })
  await page.goto(behind.url)
  return {
    service: behind,
    page,

    /** What went wrong on it. A film of which the rest is no longer wanted did not go wrong. */
    faults: () => complaints().filter((text) => !/^is not given: .*ERR_ABORTED$/.test(text)),

    button: (name: string | RegExp) => page.getByRole('button', { name }),

    /** Writes a prompt and has it made. */
    async submit(prompt: string): Promise<void> {
      await page.getByRole('textbox', { name: 'Prompt', exact: true }).fill(prompt)
      await page.getByRole('button', { name: 'Generate', exact: true }).click()
      await page
        .getByText(/^Queued at place/)
        .first()
        .waitFor()
    },
  }
}

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

type Violation = Readonly<{ id: string; impact: string; nodes: readonly { html: string }[] }>

/** What keeps people with a screen reader, a keyboard or poor sight from using the page. */
export async function barriersOf(page: Page): Promise<string[]> {
  // By the debugger: the page's own policy would let nothing in.
  await page.evaluate(axe)
  const violations = (await page.evaluate(
    'axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) => violations)',
  )) as Violation[]
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 200)).join(' | ')}`)
}

/** Waits until the page has come so far that something in it is so. */
export async function untilOnPage(page: Page, condition: string, timeout = 20_000): Promise<void> {
  const isSo = async () => Boolean(await page.evaluate(condition))
  await vi.waitUntil(isSo, { timeout, interval: 100 }).catch(() => {
    throw new Error(`it never was so on the page: ${condition}`)
  })
}

export async function expectToPlay(page: Page): Promise<void> {
  const video = page.locator('video').first()
  await video.waitFor()
  await untilOnPage(page, 'document.querySelector("video").currentTime > 0.2')
  expect(await page.evaluate('document.querySelector("video").error')).toBeNull()
}
