/** What is said in passing: read out by screen readers, and gone after a while. */
import { signal } from '@preact/signals'
import type { Job } from '../http/typed-client.ts'

export type Notice = Readonly<{
  key: number
  tone: 'good' | 'bad' | 'plain'
  text: string
  /** What it is about. */
  job?: Pick<Job, 'id' | 'prompt'>
}>

const shownMs = 8_000
const most = 3

export const notices = signal<readonly Notice[]>([])

let nextKey = 0

export function notify(notice: Omit<Notice, 'key'>): void {
  const key = nextKey++
  const { job, ...said } = notice
  const about = job && { job: { id: job.id, prompt: job.prompt.slice(0, 200) } }
  notices.value = [...notices.value, { ...said, ...about, key }].slice(-most)
  setTimeout(() => dismiss(key), shownMs)
}

export function dismiss(key: number): void {
  notices.value = notices.value.filter((notice) => notice.key !== key)
}
