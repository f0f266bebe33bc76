/** What happens in the service, as it happens. */
import { signal } from '@preact/signals'
import { EventSource } from 'eventsource'
import type { Job } from '../http/typed-client.ts'
import { authorization, lockOut, urlOf } from './api.ts'

export const connection = signal<'connecting' | 'live' | 'lost'>('connecting')

/** When a connection that was refused is tried again; one that was lost comes back by itself. */
const againMs = 5_000

export type Listener = Readonly<{
  /** How things are: at first, and after whatever may have been missed. */
  onSnapshot(openJobs: readonly Job[]): void
  onJob(kind: 'status' | 'stage' | 'progress', job: Job): void
}>

export type Listening = Readonly<{
  stop(): void
  /** Opens the connection again: one that was cut without a word stays silent. */
  again(): void
}>

export function listen({ onSnapshot, onJob }: Listener): Listening {
  let timer: ReturnType<typeof setTimeout> | undefined
  let source = open()

  function open(): EventSource {
    // The browser's own sends no header, and so no token.
    const opened = new EventSource(urlOf('events'), {
      async fetch(url, init) {
        const response = await fetch(url, {
          ...init,
          headers: { ...init.headers, ...authorization() },
        })
        if (response.status === 401) lockOut()
        return response
      },
    })
    opened.addEventListener('open', () => {
      connection.value = 'live'
    })
    opened.addEventListener('error', () => {
      connection.value = 'lost'
      if (opened.readyState !== opened.CLOSED) return
      timer = setTimeout(() => {
        source = open()
      }, againMs)
    })
    opened.addEventListener('snapshot', ({ data }) => {
      onSnapshot((JSON.parse(data) as { jobs: Job[] }).jobs)
    })
    for (const kind of ['status', 'stage', 'progress'] as const) {
      opened.addEventListener(kind, ({ data }) => onJob(kind, JSON.parse(data) as Job))
    }
    return opened
  }

  function close(): void {
    clearTimeout(timer)
    source.close()
  }

  return {
    stop: close,
    again() {
      close()
      source = open()
    },
  }
}
