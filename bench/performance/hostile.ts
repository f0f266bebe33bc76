/** Thousands of idle, deaf and pipelining connections while two GPUs work: others must not notice, and nothing is lost. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import http from 'node:http'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { aDirectory, type BenchService, launchService, removeDirectory } from '../service.ts'
import { send, submit } from './client.ts'
import { ms, quantile, type Report } from './figures.ts'
import { crowd } from './hostile-crowd.ts'
import { until } from './wait.ts'

const quietSeconds = 15
/** Longer than the service waits for a connection that does not move, which is a minute. */
const attackedSeconds = 90
/** Waiting all the time, with prompts that make a list of them several megabytes. */
const queued = 200
const prompt = 'A heron in the rain. '.repeat(700)
const body = { size: '1280x720', frames: 5, steps: 4 }
const pollEveryMs = 20
const limitMs = 50
const limitMb = 300

type Phase = { times: number[]; failed: number; memory: number; done: number }

export async function hostile(say: (line: string) => void): Promise<Report> {
  const directory = aDirectory()
  // Fast enough for some dozens of jobs, slow enough for the queue to stay long.
  const service = launchService(directory, { SIM_SPEED: '20', MAX_CONVERSIONS: '1' })
  const attackers: ChildProcess[] = []
  try {
    const url = await service.listening()
    const ids: string[] = []
    for (let n = 0; n < queued; n += 1) ids.push(await add(url, n))
    const quiet = await watch(service, url, ids, quietSeconds)
    say(describe(quiet))
    const attack = fork(join(import.meta.dirname, 'attackers.ts'), [url], {
      stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
    })
    attackers.push(attack)
    const areOpen = once(attack.stdout ?? attack, 'data')
    const connecting = await watch(service, url, ids, 0, areOpen)
    say(describe(connecting))
    const attacked = await watch(service, url, ids, attackedSeconds)
    say(describe(attacked))
    const answer = once(attack, 'message')
    attack.send('stop')
    const [{ cut }] = (await answer) as [{ cut: number }]
    const closed = await closedBy(url)
    attack.kill('SIGKILL')
    await checkJobs(url, ids)
    return {
      how: `${crowd.idle} idle, ${crowd.deaf} deaf and ${crowd.pipelining} pipelining connections from 10 addresses for ${attackedSeconds} s; 2 GPUs, ${queued} jobs waiting with prompts of ${prompt.length} characters; a status every ${pollEveryMs} ms, every other one on a new connection; of ${ids.length} jobs none was lost; the service closed ${closed}, and ${cut} were opened again`,
      tables: [tableOf({ undisturbed: quiet, 'while they connect': connecting, attacked })],
    }
  } finally {
    for (const attack of attackers) attack.kill('SIGKILL')
    await service.kill()
    removeDirectory(directory)
  }
}

const add = (url: string, n: number) => submit(url, { ...body, prompt: `${n} ${prompt}` })

/** Polls as a client does, and keeps the queue long. At least until `isOver` resolves. */
async function watch(
  service: BenchService,
  url: string,
  ids: string[],
  seconds: number,
  isOver: Promise<unknown> = Promise.resolve(),
): Promise<Phase> {
  const phase: Phase = { times: [], failed: 0, memory: 0, done: 0 }
  const agent = new http.Agent({ keepAlive: true, maxSockets: 4 })
  let end = Infinity
  const atLeast = performance.now() + seconds * 1_000
  void isOver.finally(() => {
    end = Math.max(atLeast, performance.now())
  })
  const before = await ended(url)
  let polls = 0
  const underWay: Promise<void>[] = []
  const polling = (async () => {
    for (let next = performance.now(); next < end; next += pollEveryMs) {
      await delay(Math.max(0, next - performance.now()))
      const path = `${url}/status/${ids[polls % ids.length]}`
      const polled = poll(path, polls++ % 2 ? agent : new http.Agent()).then(
        (took) => void phase.times.push(took),
        () => {
          phase.failed += 1
        },
      )
      underWay.push(polled)
    }
  })()
  while (performance.now() < end) {
    phase.memory = Math.max(phase.memory, service.memory())
    const done = await ended(url).catch(() => before + phase.done)
    phase.done = done - before
    while (ids.length - done < queued) {
      const id = await add(url, ids.length).catch(() => undefined)
      if (id === undefined) break
      ids.push(id)
    }
    await delay(200)
  }
  await polling
  await Promise.all(underWay)
  agent.destroy()
  return phase
}

function poll(url: string, agent: http.Agent): Promise<number> {
  const begun = performance.now()
  return new Promise((resolve, reject) => {
    http
      .get(url, { agent, timeout: 10_000 }, (response) => {
        response.resume()
        response.once('end', () => resolve(performance.now() - begun))
        response.once('error', reject)
      })
      .once('error', reject)
      .once('timeout', function (this: http.ClientRequest) {
        this.destroy(new Error('no answer within 10 s'))
      })
  })
}

const figures = async (url: string) => (await send(`${url}/metrics`)).text()

const sum = (text: string, name: string): number =>
  [...text.matchAll(new RegExp(`^${name}(?:{[^}]*})? (\\S+)`, 'gm'))].reduce(
    (total, [, value]) => total + Number(value),
    0,
  )

const ended = async (url: string): Promise<number> =>
  sum(await figures(url), 'wan_jobs_ended_total')

/** By reason. */
async function closedBy(url: string): Promise<string> {
  const text = await figures(url)
  const reasons = text.matchAll(/^wan_http_connections_cut_total{reason="(\w+)"} (\d+)/gm)
  return [...reasons].map(([, reason, count]) => `${count} (${reason})`).join(', ')
}

/** Every job ends as a video. */
async function checkJobs(url: string, ids: readonly string[]): Promise<void> {
  for (const id of ids.slice(-queued)) {
    if ((await statusOf(url, id)) === 'queued') await send(`${url}/jobs?ids=${id}`, 'DELETE')
  }
  for (const [index, id] of ids.entries()) {
    await until(async () => !['queued', 'running'].includes(await statusOf(url, id)), 50)
    const status = await statusOf(url, id)
    const isRight = status === 'success' || (status === 'canceled' && index >= ids.length - queued)
    if (!isRight) throw new Error(`job ${index} is ${status}`)
  }
}

async function statusOf(url: string, id: string): Promise<string> {
  return ((await (await send(`${url}/status/${id}`)).json()) as { status: string }).status
}

function tableOf(phases: Readonly<Record<string, Phase>>) {
  const rows = Object.entries(phases).map(([name, { times, failed, memory, done }]) => [
    name,
    ms(quantile(times, 0.5)),
    ms(quantile(times, 0.99)),
    ms(Math.max(...times)),
    `${failed} of ${times.length + failed}`,
    `${memory.toFixed(0)} MB`,
    String(done),
  ])
  const limits = ['wanted', '', `≤ ${limitMs} ms`, '', '0', `≤ ${limitMb} MB`, '']
  const head = ['', 'status p50', 'p99', 'worst', 'not answered', 'resident memory', 'jobs done']
  return { head, rows: [...rows, limits] }
}

const describe = ({ times, failed, memory, done }: Phase): string =>
  `p99 ${ms(quantile(times, 0.99))}, ${failed} of ${times.length} not answered, ${memory.toFixed(0)} MB, ${done} jobs`
