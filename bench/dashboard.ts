/** `npm run bench:dashboard`: how soon the dashboard of very much is there, and what an hour costs it. */
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Browser, type CDPSession, chromium, type Page } from 'playwright-core'
import type { JobJson } from '../src/http/views/job-view.ts'
import { findBrowser } from './dashboard/chromium.ts'
import { writePast } from './dashboard/past.ts'
import type { PastJob } from './dashboard/record-past.ts'
import { aDirectory, launchService, removeDirectory } from './service.ts'

const finished = 5_000
const waiting = 1_000
const loads = 7
/** An hour of eight GPUs that tell their progress once a second, and a job of six minutes each. */
const gpus = 8
const seconds = 3_600
const jobSeconds = 360

const dataDir = aDirectory()
await writePast(dataDir, much(), { drained: [0] })
const service = launchService(dataDir, { GPU_IDS: '0' })
const url = await service.listening()
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? findBrowser() ?? 'chromium',
  chromiumSandbox: process.getuid?.() !== 0,
  args: ['--disable-gpu', '--no-first-run', '--disable-background-networking'],
})
try {
  console.log(`${finished} videos, ${waiting} waiting jobs; ${loads} loads in a new profile each`)
  await measureLoads(browser)
  await measureScrolling(browser)
  await measureAnHour(browser)
} finally {
  await browser.close()
  await service.stop()
  removeDirectory(dataDir)
}

async function measureLoads(browser: Browser): Promise<void> {
  const paints: number[] = []
  const lists: number[] = []
  for (let load = 0; load < loads; load++) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 } })
    const page = await context.newPage()
    await page.goto(url)
    await page.locator('.gallery .tile').first().waitFor()
    await page.locator('ol.rows .row').first().waitFor()
    const [paint, list] = (await page.evaluate(`[
      performance.getEntriesByName('first-contentful-paint')[0].startTime,
      performance.now(),
    ]`)) as [number, number]
    paints.push(paint)
    lists.push(list)
    await context.close()
  }
  report('first contentful paint', paints)
  report('queue and gallery shown', lists)
}

/** From top to bottom and back, by the wheel: how long each frame took. */
async function measureScrolling(browser: Browser): Promise<void> {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } })
  await page.goto(url)
  await page.locator('.gallery .tile').first().waitFor()
  await page.evaluate(`{
    globalThis.frames_ = []
    let last = performance.now()
    const frame = (at) => { frames_.push(at - last); last = at; requestAnimationFrame(frame) }
    requestAnimationFrame(frame)
  }`)
  for (let turn = 0; turn < 60; turn++) await page.mouse.wheel(0, turn < 30 ? 120 : -120)
  const frames = (await page.evaluate('frames_')) as number[]
  const nodes = await page.evaluate('document.querySelectorAll("*").length')
  report('frame while scrolling', frames.slice(1))
  console.log(`elements on the page: ${nodes}`)
  await page.close()
}

async function measureAnHour(browser: Browser): Promise<void> {
  const proxy = await startEventSource()
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } })
  await page.goto(proxy.url)
  await page.locator('.gallery .tile').first().waitFor()
  const devtools = await page.context().newCDPSession(page)
  // What is made once, on the first jobs, is no growth.
  await proxy.send(0, 120)
  const before = await memoryOf(page, devtools)
  const sent = await proxy.send(120, seconds)
  const after = await memoryOf(page, devtools)
  const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`
  console.log(
    `an hour of events (${sent}): JS heap ${mib(before.heap)} before, ${mib(after.heap)} after; ` +
      `DOM nodes ${before.nodes} before, ${after.nodes} after; listeners ${before.listeners}, ${after.listeners}`,
  )
  await page.close()
  proxy.close()
}

async function memoryOf(page: Page, devtools: CDPSession) {
  await page.waitForTimeout(12_000) // Until the last notice is gone.
  for (let turn = 0; turn < 3; turn++) await devtools.send('HeapProfiler.collectGarbage')
  const { usedSize } = await devtools.send('Runtime.getHeapUsage')
  const { nodes, jsEventListeners } = await devtools.send('Memory.getDOMCounters')
  return { heap: usedSize, nodes, listeners: jsEventListeners }
}

/** The service, but for its events, which are ours and as fast as they are read. */
async function startEventSource() {
  let stream: http.ServerResponse | undefined
  const server = http.createServer((request, response) => {
    if (request.url === '/events') {
      response.writeHead(200, { 'Content-Type': 'text/event-stream' })
      response.write(
        'retry: 2000\n\nevent: snapshot\nid: 1\ndata: {"jobs":[],"has_more":false}\n\n',
      )
      stream = response
      return
    }
    const { method, headers } = request
    const onward = http.request(`${url}${request.url}`, { method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(response)
    })
    onward.on('error', () => response.destroy())
    request.pipe(onward)
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { jobs } = (await (await fetch(`${url}/jobs?limit=1`)).json()) as {
    jobs: JobJson[]
  }
  const [model] = jobs
  if (!model) throw new Error('there is no job')

  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close() {
      server.close()
      server.closeAllConnections()
    },
    /** Gives how many events there were. */
    async send(from: number, to: number): Promise<number> {
      let count = 0
      for (let second = from; second < to; second++) {
        for (let gpu = 0; gpu < gpus; gpu++) {
          const at = (second + gpu * 40) % jobSeconds
          const id = idOf(gpu, Math.floor((second + gpu * 40) / jobSeconds))
          const event = at === 0 || at === jobSeconds - 1 ? 'status' : 'progress'
          const status = at === jobSeconds - 1 ? 'success' : 'running'
          const job: JobJson = {
            ...model,
            ...{ id, status, stage: 'denoising', gpu_id: gpu, step: Math.floor(at / 7.2) },
            ...{ progress: at / jobSeconds, eta_seconds: jobSeconds - at, queue_position: null },
          }
          const isTaken = stream?.write(
            `event: ${event}\nid: ${second}\ndata: ${JSON.stringify(job)}\n\n`,
          )
          count += 1
          if (isTaken === false && stream) await once(stream, 'drain')
        }
        await new Promise((resolve) => setTimeout(resolve, 15))
      }
      return count
    },
  }
}

function idOf(gpu: number, number: number): string {
  return `00000000-0000-4000-8000-${String(gpu * 1_000 + number).padStart(12, '0')}`
}

function report(what: string, values: readonly number[]): void {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (share: number) => Math.round(sorted[Math.floor(share * (sorted.length - 1))] ?? 0)
  console.log(`${what}: median ${at(0.5)} ms, 95 % within ${at(0.95)} ms, at most ${at(1)} ms`)
}

function much(): PastJob[] {
  const start = Date.now() - finished * 60_000
  return [
    ...Array.from({ length: finished }, (_, index): PastJob => {
      const at = start + index * 60_000
      const run = { gpu: 0, claimedAt: at, seconds: 50, filename: `v${index}.mp4` }
      const told = { p10: 45, p50: 50, p90: 60 }
      return {
        prompt: `A red fox walks through fresh snow, take ${index}`,
        submittedAt: at,
        run: { ...run, told },
      }
    }),
    ...Array.from({ length: waiting }, (_, index): PastJob => {
      return { prompt: `A red fox that waits, take ${index}`, submittedAt: Date.now() - 60_000 }
    }),
  ]
}
