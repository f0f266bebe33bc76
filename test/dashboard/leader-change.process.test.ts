import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import { describe, expect, it, vi } from 'vitest'
import { type ClusterNode, startCluster } from '../support/cluster/service-cluster.ts'
import { aSilentProxy } from '../support/cluster/silent-proxy.ts'
import { needsBrowser } from '../support/dashboard/browser.ts'
import { openDashboard, untilOnPage } from '../support/dashboard/dashboard.ts'
import { quick } from '../support/service.ts'
import { missing, usePostgresServer } from '../support/store/postgres-stores.ts'

vi.setConfig({ testTimeout: 120_000 })

describe.skipIf(missing)('a page of a node whose leader dies', () => {
  needsBrowser()
  const server = usePostgresServer()

  /** A page of the second node. The first one leads, until it dies while PostgreSQL does not respond. */
  async function aPage() {
    const proxy = await aSilentProxy(await server().createDatabase())
    const [leader, node] = (await startCluster(proxy.url, 2)) as [ClusterNode, ClusterNode]
    const dashboard = await openDashboard({ service: node })
    const refused = refusalsOf(dashboard.page)
    return {
      ...{ ...dashboard, leader, node },
      /** Resolves when requests for this path were refused for want of a leader, and another node can lead. */
      async changeLeader(path: string) {
        proxy.fallSilent()
        await leader.powerOff()
        await expect.poll(refused, { timeout: 40_000 }).toContain(path)
        proxy.heal()
      },
    }
  }

  it('shows the events of the next leader, though they are refused while there is none', async () => {
    const { node, page, changeLeader, faults } = await aPage()
    const connection = page.locator('.connection')
    await connection.getByText('Live').waitFor()
    await changeLeader('/events')
    await connection.getByText('Live').waitFor()
    await node.until(await node.submit({ prompt: 'a fox after all', ...quick }))
    await page.getByRole('button', { name: 'Play “a fox after all”' }).waitFor()
    expect(faults().filter((text) => /throws|Content Security Policy/.test(text))).toEqual([])
  })

  it('follows a job to its end with the code in the documentation of the API', async () => {
    const { leader, node, page, changeLeader } = await aPage()
    await leader.request(`/nodes/${leader.name}/drain`, { method: 'POST' })
    const id = await node.submit({ prompt: 'a fox', steps: 50, frames: 81 })
    await page.evaluate(`
      window.seen = []
      const show = ({ status }) => seen.push(status)
      ${exampleOfEvents()}
      follow(${JSON.stringify(id)})
    `)
    await untilOnPage(page, 'seen.length > 0')
    await changeLeader(`/jobs/${id}/events`)
    await untilOnPage(page, 'seen.at(-1) === "success"', 60_000)
  })
})

/** Paths of requests that the node has refused for want of a leader. */
function refusalsOf(page: Page): () => readonly string[] {
  const paths: string[] = []
  page.on('response', (response) => {
    if (response.status() === 503) paths.push(new URL(response.url()).pathname)
  })
  return () => paths
}

function exampleOfEvents(): string {
  const api = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'api.md'), 'utf8')
  const [example] = /(?<=```js\n)function follow[^`]*(?:`[^`]+`[^`]*)*?(?=```)/.exec(api) ?? []
  return example ?? expect.fail('docs/api.md has no example of events')
}
