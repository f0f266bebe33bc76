/** What the page knows of the service, and how it keeps up with it. All of it is bounded. */
import { computed, effect, signal } from '@preact/signals'
import type { Gpu, InferResponseType, Job, Node, Task } from '../http/typed-client.ts'
import { answerTo, api, client, type Fault, faultOf, isLockedOut } from './api.ts'
import { hasNodes, isGone } from './contact.ts'
import { connection, listen } from './live.ts'
import { notify } from './notices.ts'
import { createPages } from './pages.ts'
import { createRefresher } from './refresher.ts'

/** More than that run nowhere; jobs that are over are dropped. */
const maxRunning = 200

/** Running jobs by their ids, in the order of their beginning. */
export const running = signal<ReadonlyMap<string, Job>>(new Map())

export const isAdmin = computed(() => client.value?.is_admin === true)

/** Admins' alone. */
export const gpus = signal<readonly Gpu[] | undefined>(undefined)
export const tasks = signal<readonly Task[] | undefined>(undefined)
export const nodes = signal<readonly Node[] | undefined>(undefined)

export type Load = InferResponseType<typeof api.stats.$get, 200>
export const load = signal<Load | undefined>(undefined)

export type Outcome = InferResponseType<typeof api.eta.outcomes.$get, 200>['outcomes'][number]
export const outcomes = signal<readonly Outcome[] | undefined>(undefined)

/** How many jobs wait, everybody's, and when the last of them that we may see is expected. */
export const lastWaiting = signal<Job | null | undefined>(undefined)

/** What a job would get that were submitted now; the jobs of all clients count. */
export type NextJob = InferResponseType<typeof api.eta.next.$get, 200>
export const nextJob = signal<NextJob | undefined>(undefined)

export const waiting = createPages<Job>(25, async (query) => {
  const page = await answerTo(
    api.jobs.$get({ query: { ...query, status: 'queued', order: 'asc' } }),
  )
  return { items: page.jobs, nextAfter: page.has_more ? page.next_after : null }
})

export type Video = InferResponseType<typeof api.videos.$get, 200>['videos'][number]

export const videos = createPages<Video>(12, async (query) => {
  const page = await answerTo(api.videos.$get({ query }))
  return { items: page.videos, nextAfter: page.has_more ? page.next_after : null }
})

export const unsuccessful = createPages<Job>(12, async (query) => {
  const page = await answerTo(api.jobs.$get({ query: { ...query, status: 'error,canceled' } }))
  return { items: page.jobs, nextAfter: page.has_more ? page.next_after : null }
})

/** Of the job that is looked at, told to its page. */
export type JobEvent = Readonly<{ kind: 'status' | 'stage' | 'progress'; job: Job }>
const watchers = new Set<(event: JobEvent) => void>()

/** Until the function that it gives is called. */
export function watchJobs(watcher: (event: JobEvent) => void): () => void {
  watchers.add(watcher)
  return () => watchers.delete(watcher)
}

/** What the service cannot tell us now; the page goes on with what it knows. */
export const trouble = signal<Fault | undefined>(undefined)

const loading = (work: () => Promise<void>) => async () => {
  try {
    await work()
    trouble.value = undefined
  } catch (error) {
    const fault = faultOf(error)
    // That the connection is lost is said already, and that a token is needed is asked.
    if (fault.status !== 0 && fault.status !== 401) trouble.value = fault
    throw fault
  }
}

export const gpuRefresher = createRefresher(
  loading(async () => {
    if (isAdmin.value) gpus.value = (await answerTo(api.gpus.$get())).gpus
  }),
  1_000,
)

export const nodeRefresher = createRefresher(
  loading(async () => {
    if (isAdmin.value && hasNodes.value) nodes.value = (await answerTo(api.nodes.$get())).nodes
  }),
  1_000,
)

export const taskRefresher = createRefresher(
  loading(async () => {
    if (isAdmin.value) tasks.value = (await answerTo(api.tasks.$get())).tasks
  }),
  1_000,
)

export const queueRefresher = createRefresher(
  loading(async () => {
    const query = { status: 'queued', order: 'desc', limit: '1' } as const
    const [last] = await Promise.all([answerTo(api.jobs.$get({ query })), waiting.refresh()])
    lastWaiting.value = last.jobs[0] ?? null
  }),
  1_000,
)

export const nextJobRefresher = createRefresher(
  loading(async () => {
    nextJob.value = await answerTo(api.eta.next.$get())
  }),
  1_000,
)

export const videoRefresher = createRefresher(
  loading(async () => {
    await videos.refresh()
  }),
  1_000,
)

export const unsuccessfulRefresher = createRefresher(
  loading(async () => {
    await unsuccessful.refresh()
  }),
  1_000,
)

export const statsRefresher = createRefresher(
  loading(async () => {
    const told = await answerTo(api.eta.outcomes.$get({ query: {} }))
    outcomes.value = told.outcomes
    if (isAdmin.value) load.value = await answerTo(api.stats.$get({ query: {} }))
  }),
  5_000,
)

function refreshAll(): void {
  void gpuRefresher.now()
  void taskRefresher.now()
  void nodeRefresher.now()
  statsRefresher.soon()
  void queueRefresher.now()
  void nextJobRefresher.now()
  void videoRefresher.now()
  void unsuccessfulRefresher.now()
}

/** Of what no event tells: places and estimates of waiting jobs, instruments; and the load, and links. */
const pollMs = 5_000
const slowMs = 60_000

/** Begins to keep up; until the function that it gives is called. */
export function keepUp(): () => void {
  refreshAll()
  const listening = listen({ onSnapshot, onJob })
  const poll = setInterval(() => {
    if (document.hidden) return
    gpuRefresher.soon()
    taskRefresher.soon()
    nodeRefresher.soon()
    nextJobRefresher.soon() // Others' jobs send this client no event.
    if (waiting.page.value?.items.length !== 0) queueRefresher.soon()
  }, pollMs)
  const slow = setInterval(() => {
    if (document.hidden) return
    statsRefresher.soon()
    videoRefresher.soon() // Links to files end.
  }, slowMs)
  const onSight = () => {
    if (!document.hidden) refreshAll()
  }
  document.addEventListener('visibilitychange', onSight)
  let wasGone = isGone.peek()
  const unwatch = effect(() => {
    const isBack = wasGone && !isGone.value
    wasGone = isGone.value
    // A connection that was cut without a word would stay silent for ever.
    if (isBack) listening.again()
  })
  // A node has joined: its name is not known yet.
  const unwatchNodes = effect(() => {
    if (hasNodes.value) nodeRefresher.soon()
  })
  return () => {
    unwatch()
    unwatchNodes()
    listening.stop()
    clearInterval(poll)
    clearInterval(slow)
    document.removeEventListener('visibilitychange', onSight)
  }
}

function onSnapshot(openJobs: readonly Job[]): void {
  const present = openJobs.filter(({ status }) => status === 'running').slice(0, maxRunning)
  running.value = new Map(present.map((job) => [job.id, job]))
  refreshAll()
}

function onJob(kind: JobEvent['kind'], job: Job): void {
  const before = running.value
  const was = before.get(job.id)
  if (job.status === 'running') {
    if (was || before.size < maxRunning) running.value = new Map(before).set(job.id, job)
  } else if (was) {
    const after = new Map(before)
    after.delete(job.id)
    running.value = after
  }
  for (const watcher of watchers) watcher({ kind, job })
  if (kind === 'progress') return
  gpuRefresher.soon()
  if (kind !== 'status') return
  queueRefresher.soon()
  nextJobRefresher.soon()
  if (job.status === 'success') {
    videoRefresher.soon()
    statsRefresher.soon()
    notify({ tone: 'good', text: 'A video is ready', job })
  } else if (job.status === 'error' || job.status === 'canceled') {
    unsuccessfulRefresher.soon()
    if (job.status === 'error') notify({ tone: 'bad', text: 'A job has failed', job })
  }
}

/** A page that shows nothing because nobody is let in learns nothing either. */
effect(() => {
  if (!isLockedOut.value) return
  running.value = new Map()
  gpus.value = undefined
  tasks.value = undefined
  nodes.value = undefined
  load.value = undefined
  outcomes.value = undefined
  lastWaiting.value = undefined
  nextJob.value = undefined
  connection.value = 'connecting'
  for (const pages of [waiting, videos, unsuccessful]) pages.forget()
})
