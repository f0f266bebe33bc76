import { setTimeout as delay } from 'node:timers/promises'
import type { JobJson } from '../../src/http/views/job-view.ts'
import type { Random } from './random.ts'
import type { KeptService } from './service.ts'

const patienceMs = 5_000
const maxOpen = 16

/** What was asked for, and what was answered. Without an id there was no 202: it may exist or not. */
export type Order = {
  readonly number: number
  readonly prompt: string
  id?: string
  /** `asked`: no answer came. `refused`: the job had ended before. */
  cancel?: 'asked' | 'promised' | 'refused'
}

export type Client = ReturnType<typeof createClient>

/** Keeps the queue filled, cancels now and then, retries nothing unless it insists, and remembers every answer. */
export function createClient(
  service: Pick<KeptService, 'url'>,
  {
    random,
    waiting,
    cancels,
    repeats,
    insists = false,
    pollMs = 60,
  }: {
    random: Random
    waiting: number
    cancels: number
    repeats: number
    /** Sends an order with the same key until it is accepted. */
    insists?: boolean
    /** Time between two looks at the jobs. */
    pollMs?: number
  },
) {
  const orders: Order[] = []
  const endings = new Map<string, string>()
  const flips = new Set<string>()
  const doubles = new Set<string>()
  let fullDisks = 0
  const cancelling = new Set<Promise<void>>()
  let open = true
  const feeding = feed()

  return {
    orders: orders as readonly Order[],
    /** Jobs that had ended one way and then had ended another. */
    flips: flips as ReadonlySet<string>,
    /** Orders that were sent again with the same key and made another job. */
    doubles: doubles as ReadonlySet<string>,
    /** Number of orders that were refused because a disk was full. */
    fullDisks: () => fullDisks,

    /** Takes no more orders; resolves when every cancel has been answered. */
    async close(): Promise<void> {
      open = false
      await feeding
      await Promise.all(cancelling)
    },

    /** Resolves when all have ended, or with those that have not when the time is up. */
    async settled(withinMs: number): Promise<readonly JobJson[]> {
      const giveUpAt = Date.now() + withinMs
      for (;;) {
        const jobs = await list('status=queued,running&limit=200').catch(() => undefined)
        if (jobs?.length === 0) return []
        if (Date.now() > giveUpAt) return jobs ?? []
        await delay(pollMs)
      }
    },

    /** Every job there is, the oldest first. */
    async all(): Promise<JobJson[]> {
      const jobs: JobJson[] = []
      for (let after = ''; ; ) {
        const page = await list(`order=asc&limit=200${after}`)
        jobs.push(...page)
        const last = page.at(-1)
        if (!last || page.length < 200) return jobs
        after = `&after=${last.id}`
      }
    },
  }

  async function feed(): Promise<void> {
    while (open) {
      try {
        const latest = await list('limit=50')
        const unfinished = latest.filter(({ status }) => !isOver(status))
        // Conversions that are killed again and again pile up, while the GPUs want work.
        const forGpus = unfinished.filter(({ stage }) => stage !== 'converting')
        if (forGpus.length < waiting && unfinished.length < maxOpen) await submit()
        else await delay(pollMs)
        if (random.chance(repeats)) await repeat()
      } catch {
        // Down, or killed under our hands.
        await delay(pollMs)
      }
    }
  }

  async function submit(): Promise<void> {
    const number = orders.length + 1
    const order: Order = { number, prompt: `chaos ${number}` }
    orders.push(order)
    const id = insists ? await insist(order) : await send(order)
    if (id === undefined) return
    order.id = id
    if (!random.chance(cancels)) return
    const done = delay(random.between(0, 1_500)).then(() => cancel(order))
    cancelling.add(done)
    void done.then(() => cancelling.delete(done))
  }

  async function insist(order: Order): Promise<string | undefined> {
    for (;;) {
      const id = await send(order).catch(() => undefined)
      if (id !== undefined || !open) return id
      await delay(pollMs)
    }
  }

  async function send({ number, prompt }: Order): Promise<string | undefined> {
    const response = await request('/generate', {
      method: 'POST',
      headers: {
        'Content-Type': 'application/json',
        ...((repeats > 0 || insists) && { 'Idempotency-Key': `chaos-${number}` }),
      },
      body: JSON.stringify({ prompt, size: '1280x720', frames: 5, steps: 4 }),
    })
    if (response.status === 507) fullDisks++
    return response.ok ? ((await response.json()) as { id: string }).id : undefined
  }

  async function repeat(): Promise<void> {
    const order = random.pick(orders.filter(({ id }) => id !== undefined))
    const id = order && (await send(order))
    if (id !== undefined && id !== order?.id)
      doubles.add(`${order?.prompt} is ${order?.id}, and sent again it became ${id}`)
  }

  async function cancel(order: Order): Promise<void> {
    order.cancel = 'asked'
    try {
      const response = await request(`/jobs?ids=${order.id}`, { method: 'DELETE' })
      if (!response.ok) return
      const { unchanged } = (await response.json()) as { unchanged: unknown[] }
      order.cancel = unchanged.length > 0 ? 'refused' : 'promised'
    } catch {
      // No answer, so both are right: that it was canceled, and that it was not.
    }
  }

  async function list(query: string): Promise<JobJson[]> {
    const response = await request(`/jobs?${query}`)
    if (!response.ok) throw new Error(`GET /jobs?${query} answered ${response.status}`)
    const { jobs } = (await response.json()) as { jobs: JobJson[] }
    for (const { id, status } of jobs) {
      const ended = endings.get(id)
      if (ended && ended !== status) flips.add(`${id} was ${ended} and then ${status}`)
      if (isOver(status)) endings.set(id, status)
    }
    return jobs
  }

  function request(path: string, init: RequestInit = {}): Promise<Response> {
    const url = service.url()
    if (!url) return Promise.reject(new Error('down'))
    return fetch(`${url}${path}`, { ...init, signal: AbortSignal.timeout(patienceMs) })
  }
}

export const isOver = (status: string): boolean => status !== 'queued' && status !== 'running'
