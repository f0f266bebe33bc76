/** `npm run screenshots`: the pictures of the dashboard in docs/images, taken of the real service. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type Browser, chromium, type Page } from 'playwright-core'
import { findBrowser } from '../bench/dashboard/chromium.ts'
import { writePast } from '../bench/dashboard/past.ts'
import type { PastJob } from '../bench/dashboard/record-past.ts'
import { launchService } from '../bench/service.ts'
import type { JobJson } from '../src/http/views/job-view.ts'
import { installFourGpus } from './four-gpus.ts'

const root = join(import.meta.dirname, '..')
const into = process.argv[2] ?? join(root, 'docs', 'images')
/** Every width, both ways: to look at, not to keep. */
const everything = process.argv.includes('--all')

/** What was made before, and what it is shown by: any film will do for a picture of a list. */
const scenes = [
  [
    'A red fox walks through fresh snow at sunrise, slow camera pan',
    'gradients=c0=#f7b267:c1=#f25c54:c2=#2b2d42:n=3:seed=4',
  ],
  [
    'Waves of molten glass folding over each other in slow motion',
    'gradients=c0=#0b3954:c1=#087e8b:c2=#bfd7ea:n=3:type=spiral:seed=9',
  ],
  [
    'A lighthouse in a storm, seen from a small boat',
    'gradients=c0=#1b263b:c1=#778da9:c2=#e0e1dd:n=3:type=radial:seed=2',
  ],
  ['Deep inside a fractal cathedral', 'mandelbrot=start_scale=0.02:start_x=-0.7436:start_y=0.1318'],
  [
    'Northern lights above a frozen lake, wide angle',
    'gradients=c0=#03071e:c1=#2a9d8f:c2=#80ed99:n=3:seed=7',
  ],
  [
    'Autumn leaves falling on a wet street, neon signs, shallow focus',
    'gradients=c0=#3d0814:c1=#ff7b00:c2=#8338ec:n=3:type=circular:seed=3',
  ],
  ['غروب الشمس فوق الصحراء، لقطة واسعة', 'gradients=c0=#ffb703:c1=#fb8500:c2=#6a040f:n=3:seed=5'],
  [
    'A paper boat drifts down a gutter after the rain',
    'gradients=c0=#264653:c1=#e9c46a:c2=#e76f51:n=3:type=radial:seed=6',
  ],
  [
    'A chameleon changes colour on a marble statue',
    'gradients=c0=#386641:c1=#a7c957:c2=#f2e8cf:n=3:type=spiral:seed=11',
  ],
  [
    'Rain on a tin roof, black and white, film grain',
    'gradients=c0=#111111:c1=#777777:c2=#dddddd:n=3:seed=12',
  ],
  [
    'Jellyfish drift through a sunken library',
    'gradients=c0=#10002b:c1=#7b2cbf:c2=#e0aaff:n=3:type=radial:seed=14',
  ],
  [
    'A desert highway at noon, heat haze, long lens',
    'gradients=c0=#e6ccb2:c1=#b08968:c2=#90e0ef:n=3:seed=15',
  ],
] as const

const waitingPrompts = [
  'A hummingbird drinks from a glass flower, macro, 240 frames per second',
  'An orange cat runs over the roofs of Tokyo on a rainy night',
  'An astronaut waters tomatoes on the Moon, soft morning light',
  'A violin made of smoke plays itself',
]
const runningPrompts = [
  'A steam train crosses a viaduct in the fog, drone shot',
  'Ink drops bloom in water, black on gold',
  'A street musician in Lisbon, golden hour, handheld',
]

const work = mkdtempSync(join(tmpdir(), 'wan-screenshots-'))
const service = await start()
try {
  const browser = await chromium.launch({
    executablePath: findBrowser() ?? 'chromium',
    chromiumSandbox: process.getuid?.() !== 0,
    args: ['--disable-gpu', '--no-first-run', '--force-color-profile=srgb'],
  })
  try {
    await takeAll(browser)
  } finally {
    await browser.close()
  }
} finally {
  await service.stop()
  rmSync(work, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 })
}

async function takeAll(browser: Browser): Promise<void> {
  mkdirSync(into, { recursive: true })
  const open = async (width: number, height: number, colorScheme: 'light' | 'dark', hash = '') => {
    const page = await browser.newPage({
      viewport: { width, height },
      colorScheme,
      locale: 'en-GB',
    })
    await page.goto(`${service.url}/${hash}`)
    await page.locator('.gallery img, .job-page .bar').first().waitFor()
    // Pictures of films that nobody has asked for yet; those far below may never come.
    const areThere =
      '[...document.images].every((image) => image.complete && image.naturalWidth > 0)'
    for (let tries = 0; tries < 60 && !(await page.evaluate(areThere)); tries++) await delay(500)
    await delay(2_500) // For the first events of what runs.
    return page
  }
  const running = await service.jobs('running')
  const [finished] = await service.jobs('success')
  const shots: [name: string, Page][] = everything
    ? []
    : [
        ['dashboard-light', await open(1280, 1560, 'light')],
        ['dashboard-dark', await open(1280, 1560, 'dark')],
        ['dashboard-phone', await open(390, 844, 'dark')],
        ['job', await open(1280, 1000, 'light', `#/jobs/${running[0]?.id}`)],
      ]
  if (everything) {
    for (const colors of ['light', 'dark'] as const) {
      for (const width of [390, 768, 1440, 2560]) {
        shots.push([`overview-${width}-${colors}`, await open(width, 1000, colors)])
      }
      for (const width of [390, 1440]) {
        shots.push([
          `running-${width}-${colors}`,
          await open(width, 1000, colors, `#/jobs/${running[0]?.id}`),
        ])
        shots.push([
          `finished-${width}-${colors}`,
          await open(width, 1000, colors, `#/jobs/${finished?.id}`),
        ])
      }
    }
  }
  for (const [name, page] of shots) {
    const png = join(work, `${name}.png`)
    await page.screenshot({ path: png, fullPage: everything })
    await page.close()
    const args = everything
      ? ['-y', '-v', 'error', '-i', png, join(into, `${name}.png`)]
      : [
          '-y',
          '-v',
          'error',
          '-i',
          png,
          '-c:v',
          'libwebp',
          '-quality',
          '86',
          join(into, `${name}.webp`),
        ]
    execFileSync('ffmpeg', args)
    console.log(name)
  }
}

async function start() {
  const dataDir = join(work, 'data')
  const bin = join(work, 'bin')
  installFourGpus(bin)
  const past = aDay()
  mkdirSync(join(dataDir, 'results'), { recursive: true })
  for (const [index, [, source]] of scenes.entries())
    film(source, join(dataDir, 'results', `scene-${index}.mp4`))
  await writePast(dataDir, past, { drained: [3] })

  const launched = launchService(dataDir, {
    PATH: `${bin}:${process.env.PATH}`,
    // Those that nvidia-smi names.
    GPU_IDS: undefined,
    ...{ SIM_SPEED: '1', SIM_LOAD: '36', SIM_STEP: '3', MAX_CONCURRENT_LOADS: '1' },
    // Its path says where this was taken.
    WAN_LAUNCHER: '0',
    SHUTDOWN: 'kill',
  })
  const url = await launched.listening()
  for (const prompt of [...runningPrompts, ...waitingPrompts]) {
    const size = prompt.includes('violin') ? '720x1280' : '1280x720'
    await fetch(`${url}/generate`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ prompt, size }),
    })
  }
  const jobs = async (status: string) => {
    const answer = await fetch(
      `${url}/jobs?status=${status}&order=${status === 'success' ? 'desc' : 'asc'}`,
    )
    return ((await answer.json()) as { jobs: JobJson[] }).jobs
  }
  await delay(45_000) // So that all of them are under way, each at another step.
  return { url, jobs, stop: launched.stop }
}

/** Twenty-four hours on three GPUs, busier towards the evening; the latest have a film. */
function aDay(): PastJob[] {
  const now = Date.now()
  const jobs: PastJob[] = []
  const free = [0, 0, 0].map(() => now - 24 * 3_600_000)
  let random = 7
  const chance = () => {
    random = (random * 48_271) % 2_147_483_647
    return random / 2_147_483_647
  }
  for (let at = now - 24 * 3_600_000; at < now - 700_000; ) {
    const hour = (at - now) / 3_600_000 + 24
    at += (25 + 270 * chance() * (1.3 + Math.sin(hour / 3.2))) * 1000
    const gpu = free.indexOf(Math.min(...free))
    const claimedAt = Math.max(at + 400, free[gpu] ?? 0)
    const seconds = 420 + 60 * chance() + (gpu === 2 ? 90 : 0)
    if (claimedAt + seconds * 1000 > now - 60_000) break
    free[gpu] = claimedAt + seconds * 1000
    const took = (claimedAt - at) / 1000 + seconds
    const p50 = took * (0.93 + 0.14 * chance())
    jobs.push({
      prompt: 'A quiet harbour in the morning',
      submittedAt: Math.round(at),
      run: {
        gpu,
        claimedAt: Math.round(claimedAt),
        seconds,
        start: 'cold',
        filename: `earlier-${jobs.length}.mp4`,
        told: { p10: p50 * 0.94, p50, p90: p50 * 1.07 },
      },
    })
  }
  return jobs.map((job, index) => {
    const scene = scenes[jobs.length - 1 - index]
    if (!scene || !job.run) return job
    const filename = `scene-${jobs.length - 1 - index}.mp4`
    return { ...job, prompt: scene[0], run: { ...job.run, filename } }
  })
}

function film(source: string, to: string): void {
  const sized = source.replace('=', '=size=640x360:rate=24:')
  execFileSync('ffmpeg', [
    ...['-y', '-v', 'error', '-f', 'lavfi', '-i', sized, '-t', '5.04', '-pix_fmt', 'yuv420p'],
    ...['-preset', 'ultrafast', '-movflags', '+faststart', to],
  ])
}
