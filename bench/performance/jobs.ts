/** Many jobs at once. */
import type { BenchService } from '../service.ts'
import { submit } from './client.ts'

export const submitAll = (url: string, bodies: readonly object[]): Promise<string[]> =>
  Promise.all(bodies.map((body) => submit(url, body)))

/** Throws if one fails. */
export async function allSucceed({ logged }: BenchService, ids: readonly string[]): Promise<void> {
  for (const id of ids) {
    await logged(({ msg, jobId, status }) => {
      if (jobId === id && status === 'error') throw new Error(`job ${id} failed`)
      return msg === 'job status' && jobId === id && status === 'success'
    })
  }
}
