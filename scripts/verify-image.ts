/**
 * `npm run verify-image [directory]`, as root: carries out the Dockerfile without Docker, as far as
 * that goes, and runs what came of it as compose.yaml says. docs/docker.md has what that shows.
 * A directory that is named is kept, with the systems and packages that were fetched.
 */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parse } from 'yaml'
import { $ } from 'zx'
import type { JobJson } from '../src/http/views/job-view.ts'
import { simulateCheckpoint } from '../src/infra/installation/simulation.ts'
import { build, type Image } from './image/build.ts'
import { type Container, type Run, start } from './image/container.ts'
import { assertUsable, packageSettings, systemsIn } from './image/host.ts'

const source = join(import.meta.dirname, '..')

/** Commands that want gigabytes from PyPI, or what those bring. */
const leftOut = [/^pip (install|check)/, /python3 -c "import/]

await assertUsable()
const named = process.argv[2]
const directory = named ? resolve(named) : mkdtempSync('/var/tmp/wan-image-')
mkdirSync(directory, { recursive: true })
const log = join(directory, 'service.log')
let container: Container | undefined
try {
  console.log('--- the steps of the Dockerfile')
  const image = await build({
    source,
    directory,
    base: systemsIn(directory),
    isLeftOut: (command) => leftOut.some((pattern) => pattern.test(command)),
    host: await packageSettings(),
  })
  console.log('--- what is in it')
  await contents(image)
  console.log('--- a container of it, as in compose.yaml')
  await life(image)
  console.log('\nAll of this holds.')
} catch (error) {
  console.error(`\n${error instanceof Error ? error.message : error}`)
  process.exitCode = 1
} finally {
  container?.kill('SIGKILL')
  await container?.ended
  if (!named) rmSync(directory, { recursive: true })
}

async function contents({ root }: Image): Promise<void> {
  const { packages } = JSON.parse(readFileSync(join(source, 'package-lock.json'), 'utf8'))
  const development = Object.keys(packages).filter(
    (path) => packages[path].dev || packages[path].devOptional,
  )
  const strays = development.filter((path) => existsSync(join(root, 'app', path)))
  says('packages for development', strays, [])
  for (const path of ['app/node_modules', 'app/dist', 'usr/local/bin/node']) {
    const [size] = (await $`du -sh ${join(root, path)}`).stdout.split('\t')
    console.log(`  /${path}: ${size}`)
  }
}

async function life(image: Image): Promise<void> {
  const compose = parse(readFileSync(join(source, 'compose.yaml'), 'utf8'))
  const { environment, tmpfs, stop_grace_period, ...rest } = compose.services.supervisor
  const { cap_drop, security_opt, read_only, init } = rest
  const least = { cap_drop: ['ALL'], security_opt: ['no-new-privileges:true'], read_only: true }
  says('privileges', { cap_drop, security_opt, read_only, init }, { ...least, init: false })

  const [data, models] = [join(directory, 'data'), join(directory, 'models')]
  for (const path of [data, models, log]) rmSync(path, { recursive: true, force: true })
  await $`install --directory --owner=10001 --group=10001 ${data}`
  simulateCheckpoint(join(models, 'Wan2.2-TI2V-5B'))
  const run: Run = {
    volumes: {
      '/data': { source: data, readOnly: false },
      '/models': { source: models, readOnly: true },
    },
    tmpfs: Object.fromEntries(tmpfs.map((entry: string) => entry.split(/:(.*)/, 2))),
    // With neither a GPU nor the Python packages, the simulator stands in for Wan2.2.
    env: { ...environment, WAN_DIR: '/app/sim', GPU_IDS: '0,1' },
    log,
  }
  const up = async (env: Record<string, string> = {}) => {
    const begun = await start(image, { ...run, env: { ...run.env, ...env } })
    container = begun
    await until('a healthy container', async () => (await begun.exec(...image.health)).ok)
    return begun
  }
  const graceMs = 1000 * Number.parseInt(stop_grace_period, 10)

  const first = await up()
  await confinement(first)
  await tools(first)
  const made = await video(first, data)
  process.kill(first.service(), 'SIGSTOP')
  says('the health of one that hangs', (await first.exec(...image.health)).exitCode, 1)
  process.kill(first.service(), 'SIGCONT')
  await stop(first, graceMs)

  const second = await up({ SIM_STEP: '2' })
  says('the video, after a restart', (await status(second, made)).status, 'success')
  const id = await submit(second)
  await until('a job that runs', async () => (await status(second, id)).stage === 'denoising')
  process.kill(second.service(), 'SIGKILL')
  says('the exit code after the service was killed', await second.ended, 137)

  const third = await up()
  const { status: end, attempt } = await over(third, id)
  says('the job that was lost with it', [end, attempt], ['success', 2])
  await stop(third, graceMs)
  const refusals = 'EROFS|EACCES|EPERM|Read-only file system|Permission denied|not permitted'
  const told = await $`grep -rIE ${refusals} ${data} ${log}`.nothrow()
  says('refusals that anybody complained of', told.stdout, '')
}

async function confinement(running: Container): Promise<void> {
  const told = readFileSync(`/proc/${running.service()}/status`, 'utf8')
  const of = (name: string) =>
    new RegExp(`^${name}:\\s+(.*)$`, 'm').exec(told)?.[1]?.replace(/\t/g, ' ')
  says('the user', [of('Uid'), of('Gid')], Array(2).fill('10001 10001 10001 10001'))
  const none = '0'.repeat(16)
  says('capabilities', [of('CapEff'), of('CapBnd'), of('NoNewPrivs')], [none, none, '1'])
  const attempts = ['touch /app/x', 'touch /models/x', 'cp /bin/true /tmp/x && /tmp/x']
  const codes = await Promise.all(attempts.map((it) => running.exec('sh', '-c', it)))
  const allowed = attempts.filter((_, index) => codes[index]?.exitCode === 0)
  says('what is allowed though it should not be', allowed, [])
}

async function tools(running: Container): Promise<void> {
  const help = await running.exec('wanctl', '--help')
  says('wanctl --help', [help.exitCode, help.stdout.includes('generate [options]')], [0, true])
  const list = await running.exec('wanctl', 'list', '--json')
  says('wanctl list', JSON.parse(list.stdout), { jobs: [] })
  // As in earnest; the GPU and the Python packages are what is not here.
  const doctor = await running.exec('env', 'WAN_DIR=/opt/Wan2.2', 'wanctl', 'doctor', '--json')
  const { checks } = JSON.parse(doctor.stdout) as { checks: { name: string; verdict: string }[] }
  const faults = checks.filter(({ verdict }) => verdict === 'fault').map(({ name }) => name)
  says('faults that wanctl doctor finds', [...new Set(faults)], ['driver', 'packages'])
  for (const path of ['/openapi.json', '/docs', '/docs/page.css', '/'])
    says(path, (await running.curl(path)).exitCode, 0)
  const script = /src="([^"]+\.js)"/.exec((await running.curl('/')).stdout)?.[1]
  const { pathname } = new URL(String(script), 'http://x/')
  says('the script of /', (await running.curl(pathname)).exitCode, 0)
}

/** From the request to the file, which is looked at with the image's own ffprobe. */
async function video(running: Container, data: string): Promise<string> {
  const id = await submit(running)
  const { status: end, file_url, error } = await over(running, id)
  says('a job', [end, error], ['success', null])
  const got = await running.curl(String(file_url), '--output', join(data, 'got.mp4'))
  says('the download', got.exitCode, 0)
  const probe =
    'ffprobe -v error -of csv=p=0 -show_entries stream=codec_name,width,height,nb_frames'
  const seen = await running.exec(...probe.split(' '), '/data/got.mp4')
  says('the video', seen.stdout.trim(), 'h264,1280,720,121')
  return id
}

async function stop(running: Container, graceMs: number): Promise<void> {
  const began = Date.now()
  running.kill('SIGTERM')
  const code = await running.ended
  says('the exit code after SIGTERM', code, 0)
  assert.ok(Date.now() - began < graceMs, 'it took longer than stop_grace_period')
}

async function submit(running: Container): Promise<string> {
  const body = JSON.stringify({ prompt: 'A red fox', size: '1280x720' })
  const { stdout } = await running.curl('/generate', '--json', body)
  return (JSON.parse(stdout) as JobJson).id
}

async function status(running: Container, id: string): Promise<JobJson> {
  return JSON.parse((await running.curl(`/status/${id}`)).stdout)
}

async function over(running: Container, id: string): Promise<JobJson> {
  const isOver = async () => !['queued', 'running'].includes((await status(running, id)).status)
  await until('the end of a job', isOver)
  return status(running, id)
}

async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const latest = Date.now() + 120_000
  while (!(await isSo())) {
    if (Date.now() > latest) throw new Error(`There is not ${what}: ${readFileSync(log, 'utf8')}`)
    await delay(200)
  }
}

/** A line of the output, or the end of the run. */
function says(what: string, is: unknown, expected: unknown): void {
  assert.deepEqual(is, expected, `${what}: ${JSON.stringify(is)}`)
  console.log(`  ok  ${what}: ${JSON.stringify(is)}`)
}
