/** Sends what was made of the document to the real service, and judges what comes back. */
import { once } from 'node:events'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import http from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import fc from 'fast-check'
import { launchService } from '../service.ts'
import { createContract, type Document } from './contract.ts'
import { type FuzzRequest, requestsOf } from './requests.ts'

export type FuzzOptions = Readonly<{
  requests: number
  seed: number
  say(progress: string): void
}>

export type FuzzResult = Readonly<{
  /** By what the requests were about: how often each status came. */
  answers: ReadonlyMap<string, ReadonlyMap<number, number>>
  /** Each with the request that it was the answer to. */
  findings: readonly string[]
  rssBeforeMb: number
  rssAfterMb: number
}>

/** So many are under way at once. */
const atOnce = 8

/** What a service reads and keeps at its first requests is not what later ones cost. */
const warmUp = 400

const tokens = { admin: 'token-of-the-admin-of-the-fuzz', client: 'token-of-a-client-of-the-fuzz' }

/** Lies where no request has any business. */
const secret = `canary-${crypto.randomUUID()}`

export async function runFuzz({ requests, seed, say }: FuzzOptions): Promise<FuzzResult> {
  const directory = mkdtempSync(join(tmpdir(), 'wan-fuzz-'))
  const dataDir = join(directory, 'data')
  mkdirSync(join(dataDir, 'results'), { recursive: true })
  writeFileSync(join(directory, 'canary.txt'), secret)
  symlinkSync(join(directory, 'canary.txt'), join(dataDir, 'results', 'link.mp4'))
  const before = namesIn(directory)
  const service = await start(dataDir)
  try {
    const document = (await (await fetch(`${service.url}/openapi.json`)).json()) as Document
    const fuzz = createFuzz(document, service.url)
    const batches = batchesOf(document, { requests: warmUp, seed: seed - 1 })
    for (const batch of batches) await fuzz.send(batch)
    const rssBeforeMb = await service.settledRssMb()
    let sent = 0
    for (const batch of batchesOf(document, { requests, seed })) {
      await fuzz.send(batch)
      sent += batch.length
      if (sent % 5_000 === 0) say(`${sent} requests, ${fuzz.findings.length} findings`)
      if (service.ended()) break
    }
    const rssAfterMb = await service.settledRssMb()
    const more = [
      ...(service.ended() ? [`the service ended: ${service.stderr()}`] : []),
      ...service.bugs().map((bug) => `logged as a bug: ${bug}`),
      ...changesIn(directory, before),
    ]
    return { answers: fuzz.answers, findings: [...fuzz.findings, ...more], rssBeforeMb, rssAfterMb }
  } finally {
    await service.stop()
    rmSync(directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 })
  }
}

/** The same for the same seed. */
function* batchesOf(
  document: Document,
  { requests, seed }: { requests: number; seed: number },
): Generator<FuzzRequest[]> {
  const size = 500
  const arbitrary = requestsOf(document)
  for (let made = 0; made < requests; made += size) {
    const numRuns = Math.min(size, requests - made)
    yield fc.sample(arbitrary, { numRuns, seed: seed + made })
  }
}

function createFuzz(document: Document, url: string) {
  const contract = createContract(document)
  const agent = new http.Agent({ keepAlive: true, maxSockets: atOnce })
  const answers = new Map<string, Map<number, number>>()
  const findings: string[] = []
  // What answers told of, for requests to come; some of it is there from the beginning.
  const ids = [crypto.randomUUID() as string]
  const files = ['link.mp4', 'nothing.mp4']

  return {
    answers,
    findings,
    async send(requests: readonly FuzzRequest[]): Promise<void> {
      const waiting = requests.values()
      await Promise.all(Array.from({ length: atOnce }, () => work(waiting)))
    },
  }

  async function work(waiting: Iterator<FuzzRequest>): Promise<void> {
    for (let next = waiting.next(); !next.done; next = waiting.next()) {
      const request = withKnown(next.value)
      const faults = await exchange(request).catch((error: Error) => [
        `no answer: ${error.message}`,
      ])
      for (const fault of faults) findings.push(`${fault} <- ${inWords(request)}`)
    }
  }

  async function exchange(request: FuzzRequest): Promise<string[]> {
    const { status, contentType, body } = await sendTo(url, agent, request)
    const counts = answers.get(request.about) ?? new Map<number, number>()
    answers.set(request.about, counts.set(status, (counts.get(status) ?? 0) + 1))
    const { method, path } = request
    if (contentType.startsWith('application/json')) learn(body)
    return [
      ...contract.faultsOf({ method, path, status, contentType, body }),
      ...(/root:.*:0:0:/.test(body) || body.includes(secret) ? ['it gives away a file'] : []),
    ]
  }

  function learn(body: string): void {
    const [id] = /(?<="id":"(?:video_)?)[0-9a-f-]{36}(?=")/.exec(body) ?? []
    const [file] = /(?<="filename":")[^"]+\.mp4(?=")/.exec(body) ?? []
    if (id && !ids.includes(id)) ids.push(id)
    if (file && !files.includes(file)) files.push(file)
  }

  function withKnown(request: FuzzRequest): FuzzRequest {
    const fill = (text: string, encode: (value: string) => string) =>
      text
        .replaceAll(/§id(\d+)§/g, (_, n) => encode(ids.at(-1 - (n % ids.length)) ?? ''))
        .replaceAll(/§file(\d+)§/g, (_, n) => encode(files.at(-1 - (n % files.length)) ?? ''))
    const { body } = request
    const text = body && Buffer.from(body).toString('latin1')
    const marked = text?.includes(Buffer.from('§').toString('latin1'))
    return {
      ...request,
      path: fill(request.path, encodeURIComponent),
      ...(body && marked && { body: Buffer.from(fill(Buffer.from(body).toString(), String)) }),
    }
  }
}

type Received = Readonly<{ status: number; contentType: string; body: string }>

async function sendTo(url: string, agent: http.Agent, request: FuzzRequest): Promise<Received> {
  const { as, body } = request
  const headers = {
    ...request.headers,
    ...(as !== 'nobody' && { Authorization: `Bearer ${tokens[as]}` }),
    ...(body && { 'Content-Length': String(body.length) }),
  }
  const { hostname, port } = new URL(url)
  const { method, path } = request
  const outgoing = http.request({ hostname, port, method, path, headers, agent, timeout: 60_000 })
  outgoing.on('timeout', () => outgoing.destroy(new Error('it takes longer than a minute')))
  const answered = once(outgoing, 'response') as Promise<[http.IncomingMessage]>
  outgoing.end(body)
  try {
    const [response] = await answered
    const contentType = response.headers['content-type'] ?? ''
    const chunks: Buffer[] = []
    for await (const chunk of response) {
      chunks.push(chunk as Buffer)
      // What has begun well may go on for ever.
      if (contentType.startsWith('text/event-stream')) break
    }
    return {
      status: response.statusCode ?? 0,
      contentType,
      body: Buffer.concat(chunks).toString(),
    }
  } catch (error) {
    // Its keep-alive was over just when it was used again: HTTP lets a client send it once more.
    const { code } = error as { code?: string }
    const wasOver = outgoing.reusedSocket && (code === 'ECONNRESET' || code === 'EPIPE')
    if (wasOver) return sendTo(url, agent, request)
    throw error
  }
}

function inWords({ method, path, headers, body, as }: FuzzRequest): string {
  const text = body ? JSON.stringify(Buffer.from(body).toString()).slice(0, 300) : ''
  return `${method} ${path.slice(0, 300)} ${JSON.stringify(headers)} ${text} (${as})`
}

async function start(dataDir: string) {
  let stderr = ''
  const service = launchService(
    dataDir,
    {
      // For its garbage to be collected when that is wanted.
      NODE_OPTIONS: '--inspect=127.0.0.1:0',
      GPU_IDS: '0',
      API_TOKENS: `ops:${tokens.admin}:admin,ada:${tokens.client}`,
      MAX_QUEUE: '20',
      SYNC_WAIT_S: '2',
      GRACE_MS: '500',
      SIM_DIRECTIVES: '1',
      SIM_STATE_DIR: dataDir,
    },
    {
      from: 'source',
      onStderr(text) {
        stderr = (stderr + text).slice(-4_000)
      },
    },
  )
  const { child } = service
  const url = await service.listening()
  const isOver = () => child.exitCode !== null || child.signalCode !== null

  return {
    url,
    stderr: () => stderr,
    bugs: () =>
      service.lines
        .filter(({ msg }) => /request failed|actor crashed/.test(msg))
        .map((line) => JSON.stringify(line)),
    ended: isOver,

    /** Without what is garbage already; the least of some seconds, for it is not given back at once. */
    async settledRssMb(): Promise<number> {
      if (!isOver()) await collectGarbage(/ws:\/\/\S+/.exec(stderr)?.[0] ?? '')
      let least = Number.POSITIVE_INFINITY
      for (let second = 0; second < 5 && !isOver(); second++) {
        await delay(1_000)
        least = Math.min(least, service.memory())
      }
      return least
    },

    async stop(): Promise<void> {
      if (isOver()) return
      const hasStopped = service.stop().then(() => true)
      if (!(await Promise.race([hasStopped, delay(15_000, false, { ref: false })])))
        await service.kill()
    },
  }
}

/** By the service's debugger: V8 itself is in no hurry, and that is no leak. */
async function collectGarbage(debuggerUrl: string): Promise<void> {
  const socket = new WebSocket(debuggerUrl)
  await once(socket, 'open')
  for (const id of [1, 2]) {
    socket.send(JSON.stringify({ id, method: 'HeapProfiler.collectGarbage' }))
    await once(socket, 'message')
  }
  socket.close()
}

/** Everything around the data directory. */
const namesIn = (directory: string): string[] => readdirSync(directory).toSorted()

function changesIn(directory: string, before: readonly string[]): string[] {
  const now = namesIn(directory)
  const canary = readFileSync(join(directory, 'canary.txt'), 'utf8')
  return [
    ...(now.join() === before.join() ? [] : [`beside the data directory there is now ${now}`]),
    ...(canary === secret ? [] : ['a file beside the data directory was written to']),
  ]
}
