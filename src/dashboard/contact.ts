/** Whether the service can be reached, and whether it is ready: the page claims nothing else. */
import { computed, effect, signal } from '@preact/signals'
import { authorization, unanswered, urlOf } from './api.ts'
import { now } from './clock.ts'
import { connection } from './live.ts'
import { createRefresher } from './refresher.ts'

export type Check = Readonly<{ name: string; ok: boolean; detail?: string; node?: string }>

/** `checks` is empty where the service shows them to others only. */
export type Readiness = Readonly<{ ready: boolean; checks: readonly Check[]; nodes: number }>

/** `undefined`: not known yet. */
export const readiness = signal<Readiness | undefined>(undefined)

export const isReady = computed(() => readiness.value?.ready !== false)

/** Where there is one node, the page does not mention nodes. */
export const hasNodes = computed(() => (readiness.value?.nodes ?? 0) > 1)

export const isGone = signal(false)

/** When the service has answered last. */
const heardAt = signal(Date.now())

/** The time up to which the page knows what is going on. It stands still while the service is gone. */
export const knownAt = computed(() => (isGone.value ? heardAt.value : now.value))

/** As often as one likes to look whether a service is back. */
const everyMs = 3_000

/** A service that answers this check later than that answers nobody. */
const patienceMs = 5_000

const refresher = createRefresher(check, 1_000)

/** Begins to ask; until the function that it gives is called. */
export function keepContact(): () => void {
  void refresher.now()
  const poll = setInterval(() => document.hidden || refresher.soon(), everyMs)
  const onSight = () => document.hidden || refresher.soon()
  document.addEventListener('visibilitychange', onSight)
  // A connection ends also when all is well.
  const unwatch = effect(() => {
    if (connection.value === 'lost' || unanswered.value > 0) refresher.soon()
  })
  return () => {
    unwatch()
    clearInterval(poll)
    document.removeEventListener('visibilitychange', onSight)
  }
}

async function check(): Promise<void> {
  try {
    const response = await fetch(urlOf('ready'), {
      headers: authorization(),
      cache: 'no-store',
      signal: AbortSignal.timeout(patienceMs),
    })
    readiness.value = readinessIn(await response.json())
    heardAt.value = Date.now()
    isGone.value = false
  } catch {
    // No answer, or the page of a proxy in front of a service that gives none.
    isGone.value = true
  }
}

/** A service that refuses to say is there nevertheless. */
function readinessIn(answer: unknown): Readiness | undefined {
  if (!isObject(answer) || typeof answer.ready !== 'boolean') return undefined
  const { checks, nodes } = answer
  return {
    ready: answer.ready,
    checks: Array.isArray(checks) ? checks.filter(isObject).map(checkIn) : [],
    nodes: isObject(nodes) ? countIn(nodes) : 0,
  }
}

/** In any state. Services of earlier versions name none. */
const countIn = ({ present, left, lost }: Readonly<Record<string, unknown>>): number =>
  [present, left, lost].map(Number).reduce((sum, count) => sum + count, 0)

const checkIn = ({ name, ok, detail, node }: Readonly<Record<string, unknown>>): Check => ({
  name: String(name),
  ok: ok === true,
  ...(typeof detail === 'string' && detail !== '' && { detail }),
  ...(typeof node === 'string' && { node }),
})

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null
