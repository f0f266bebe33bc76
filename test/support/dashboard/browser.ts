/** A real browser, as people open our pages in one; it is driven from here, and shows nothing. */
import { type Browser, chromium, type Page } from 'playwright-core'
import { beforeEach, onTestFinished } from 'vitest'
import { browserNames, findBrowser } from '../../../bench/dashboard/chromium.ts'
import type { AtEnd } from '../service.ts'

const installed = findBrowser()

/** Passes over the tests around it where there is no browser, and says why. */
export const needsBrowser = (): void =>
  beforeEach(({ skip }) => skip(!installed, `none of ${browserNames.join(', ')} is on the PATH`))

/** A browser nobody has used before: what it has kept is removed when it is closed. */
export async function openBrowser(atEnd: AtEnd = onTestFinished): Promise<Browser> {
  const browser = await chromium.launch({
    executablePath: installed ?? '',
    headless: true,
    // It refuses to be anybody's own prisoner under root.
    chromiumSandbox: process.getuid?.() !== 0,
    args: [
      ...['--disable-gpu', '--disable-quic', '--disable-sync', '--no-first-run'],
      ...['--disable-background-networking', '--disable-component-update'],
    ],
  })
  atEnd(() => browser.close())
  return browser
}

export type WatchedPage = Readonly<{
  page: Page
  /** What it asked for elsewhere, failed to do, or was not allowed to; empty: nothing is wrong. */
  complaints(): readonly string[]
}>

/** A page of which it is known whatever goes wrong on it, from before it is opened. */
export async function watchedPage(
  browser: Browser,
  { origin, ...options }: Parameters<Browser['newPage']>[0] & Readonly<{ origin: string }>,
): Promise<WatchedPage> {
  const page = await browser.newPage(options)
  const complaints: string[] = []
  page.on('request', (request) => {
    const { protocol, origin: asked } = new URL(request.url())
    const isInside = protocol === 'data:' || protocol === 'blob:' || asked === origin
    if (!isInside) complaints.push(`asks elsewhere: ${request.url()}`)
  })
  page.on('requestfailed', (request) => {
    complaints.push(`is not given: ${request.url()} ${request.failure()?.errorText}`)
  })
  page.on('pageerror', (error) => complaints.push(`throws: ${error.stack ?? error.message}`))
  // What the page's own policy forbids is an error here too.
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(`says: ${message.text()}`)
  })
  return { page, complaints: () => complaints }
}
