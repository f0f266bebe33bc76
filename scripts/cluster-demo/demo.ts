/** Twelve jobs on three nodes, one of which is killed while it leads. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { JobJson } from '../../src/http/views/job-view.ts'
import { probe } from '../probe.ts'
import { createClient } from './client.ts'
import { type DemoNode, launchNode } from './node.ts'
import { type DemoJob, lossesOf, repeatsOf, tableOf } from './outcome.ts'

export type ClusterDemoOptions = Readonly<{
  program: string
  databaseUrl: string
  /** For the data directories of the nodes. */
  directory: string
  /** For the video. */
  into: string
  frames: number
  /** Receives each process that is started. */
  onLaunch(node: DemoNode): void
  say(line: string): void
}>

const names = ['a', 'b', 'c']
const jobsBefore = 9
const jobsMeanwhile = 3
const endedBeforeKill = 3
const pollMs = 200

const prompts = [
  'A red fox walks through fresh snow',
  'A lighthouse in a storm',
  'Steam over a bowl of soup',
  'A paper boat on a stream',
]
const promptOf = (index: number) => `${prompts[index % prompts.length]}, take ${index + 1}`
const shape = { size: '1280x720', steps: 40 }

/** Returns whether nothing was lost. */
export async function runClusterDemo({
  program,
  databaseUrl,
  directory,
  into,
  frames,
  onLaunch,
  say,
}: ClusterDemoOptions): Promise<boolean> {
  const urls = new Map<string, string>()
  const nodes = new Map<string, DemoNode>()
  const client = createClient(urls)
  const submitted: Readonly<{ id: string; through: string; prompt: string }>[] = []

  for (const name of names) await start(name)
  await untilAllAreThere()
  say(`${names.length} nodes share one queue, with one simulated GPU each. Node a leads.`)

  for (let index = 0; index < jobsBefore; index++) await submit()
  say(`${jobsBefore} jobs were submitted, in turns through all nodes.`)
  await untilEnded(endedBeforeKill)

  const leader = (await client.nodes()).find(({ role }) => role === 'leader')?.name ?? ''
  const killed = nodes.get(leader)
  if (!killed) throw new Error('no node leads')
  const others = [...nodes.values()].filter((node) => node !== killed)
  urls.delete(leader)
  await killed.kill()
  const killedAt = performance.now()
  say(`Node ${leader}, which leads, was killed with SIGKILL.`)
  const next = Promise.race(others.map((node) => node.leads().then(() => node))).then((node) => ({
    name: node.name,
    seconds: secondsSince(killedAt),
  }))
  next.catch(() => {})
  await submit()
  const answered = secondsSince(killedAt)
  const { name: newLeader, seconds } = await next
  say(
    `Node ${newLeader} leads after ${seconds} s. A job sent meanwhile was taken after ${answered} s.`,
  )
  for (let index = 1; index < jobsMeanwhile; index++) await submit()

  await start(leader)
  say(`Node ${leader} was started again.`)
  await untilEnded(submitted.length)

  const outcome = await Promise.all(submitted.map(judge))
  const downloads = await downloadOne(outcome)
  const losses = lossesOf(outcome)
  say(`\n${tableOf(outcome)}\n`)
  say(`No node led for ${seconds} s. ${downloads}`)
  for (const repeat of repeatsOf(outcome)) say(repeat)
  say(losses.length === 0 ? 'Lost: nothing.' : `Lost: ${losses.join('; ')}.`)
  return losses.length === 0

  async function start(name: string): Promise<void> {
    const dataDir = join(directory, name)
    mkdirSync(dataDir, { recursive: true })
    const node = launchNode({ program, name, databaseUrl, dataDir })
    nodes.set(name, node)
    onLaunch(node)
    const url = await node.listening()
    if (nodes.size === 1) await node.leads()
    urls.set(name, url)
    say(`Node ${name} listens at ${url}`)
  }

  async function untilAllAreThere(): Promise<void> {
    for (;;) {
      const listed = await client.nodes()
      if (names.every((name) => listed.some((node) => node.name === name && node.gpus.length > 0)))
        return
      await delay(pollMs)
    }
  }

  async function submit(): Promise<void> {
    const prompt = promptOf(submitted.length)
    submitted.push({ ...(await client.submit({ prompt, frames, ...shape })), prompt })
  }

  async function untilEnded(count: number): Promise<void> {
    let shown = -1
    for (;;) {
      const jobs = await Promise.all(submitted.map(({ id }) => client.status(id)))
      const ended = jobs.filter(({ status }) => status !== 'queued' && status !== 'running').length
      if (ended !== shown) say(`${ended} of ${jobs.length} jobs have ended; ${atWork(jobs)}`)
      shown = ended
      if (ended >= count) return
      await delay(pollMs)
    }
  }

  async function judge({ id, through, prompt }: (typeof submitted)[number]): Promise<DemoJob> {
    const job = await client.status(id).catch(() => undefined)
    const received = job?.file_url ? (await videoOf(job.node, job.file_url))?.length : undefined
    const journal = [...nodes.values()].flatMap((node) => node.journal())
    const ends = journal.filter((line) => line.event === 'end' && line.prompt === prompt)
    return { prompt, through, job, received, completed: ends.length }
  }

  /** Through a node that did not make the video. */
  function videoOf(maker: string | null, path: string): Promise<Buffer | undefined> {
    return client.download(otherThan(maker), path).catch((error) => {
      say(error instanceof Error ? error.message : String(error))
      return undefined
    })
  }

  function otherThan(maker: string | null): string {
    return names.find((name) => name !== maker) ?? ''
  }

  async function downloadOne(outcome: readonly DemoJob[]): Promise<string> {
    const job = outcome.find(({ job }) => job?.file_url && job.node === leader)?.job
    if (!job?.file_url || !job.filename) return `Node ${leader} made no video.`
    const bytes = await videoOf(job.node, job.file_url)
    if (!bytes) return 'The video could not be downloaded.'
    mkdirSync(into, { recursive: true })
    const file = join(into, job.filename)
    writeFileSync(file, bytes)
    const facts = (await probe(file)).split('\n').join(', ')
    const path = relative(process.cwd(), file)
    return `A video of node ${job.node}, downloaded through node ${otherThan(job.node)}: ${path}\n(${facts})`
  }
}

function atWork(jobs: readonly JobJson[]): string {
  const running = jobs.filter(({ status }) => status === 'running')
  const generating = running.filter(({ stage }) => stage !== 'converting')
  const where = generating.map(({ node }) => node).toSorted()
  const converting = running.length - generating.length
  return `generating on ${where.join(', ') || 'no node'}; ${converting} converting`
}

const secondsSince = (at: number): string => ((performance.now() - at) / 1000).toFixed(1)
