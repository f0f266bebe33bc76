/** The document of the API as people see it: the real service's page in a real browser. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Document } from '../../../bench/fuzz/contract.ts'
import { needsBrowser, openBrowser, watchedPage } from '../../support/dashboard/browser.ts'
import { createShared, type Service, startService } from '../../support/service.ts'

const shared = createShared()
let service: Service
beforeAll(async () => {
  service = await startService({ atEnd: shared.atEnd })
})
afterAll(shared.clearAway)

describe('the page of the document', () => {
  needsBrowser()

  it.each([
    ['light', 'rgba(0, 0, 0, 0)'],
    ['dark', 'rgb(28, 32, 34)'],
  ] as const)('shows every operation, in %s', async (colorScheme, background) => {
    const { page, complaints } = await openPage(colorScheme)
    const { paths } = await service.json<Document>('/openapi.json')
    const operations = Object.values(paths).flatMap((methods) => Object.values(methods))
    const shown = await page.locator('.opblock').evaluateAll((all) => all.map(({ id }) => id))
    const names = operations.map(({ operationId }) => operationId)
    expect(shown.map((id) => id.split('-').at(-1)).toSorted()).toEqual(names.toSorted())

    // What it cannot read of a document it says within the page, in a box.
    expect(await page.getByText(/^(Warning|Errors?)$/).allTextContents()).toEqual([])
    const color = 'getComputedStyle(document.body).backgroundColor'
    expect(await page.evaluate(color)).toBe(background)
    expect(complaints()).toEqual([])
  })

  it('opens one of them, and tries it out', async () => {
    const { page, complaints } = await openPage()
    const submit = page.locator('#operations-jobs-submitJob')
    await submit.locator('.opblock-summary-control').click()
    await submit.getByRole('button', { name: 'Try it out' }).click()
    await submit.locator('textarea').fill('{"prompt": "a fox", "size": "1280x720", "frames": 5}')
    await submit.getByRole('button', { name: 'Execute' }).click()
    await submit.locator('.live-responses-table .response-col_status').getByText('202').waitFor()
    expect(complaints()).toEqual([])
    expect(await service.json('/jobs')).toMatchObject({ jobs: [{ prompt: 'a fox' }] })
  })
})

async function openPage(colorScheme: 'light' | 'dark' = 'light') {
  const browser = await openBrowser()
  const watched = await watchedPage(browser, { origin: service.url, colorScheme })
  await watched.page.goto(`${service.url}/docs`)
  await watched.page.locator('.opblock').first().waitFor()
  return watched
}
