/** A job until its end, with its progress on stderr, and then its video. */
import { type Client, type Job, parseResponse } from '../../http/typed-client.ts'
import { CommandError, exitCodes } from '../terminal/failure.ts'
import {
  type Interruption,
  listenForInterruption,
  unlessInterrupted,
} from '../terminal/interruption.ts'
import { type OutputOptions, showEvent } from '../terminal/output.ts'
import { plain } from '../terminal/text.ts'
import { download, type Target } from './download.ts'
import { follow, isOver } from './follow.ts'
import { shortId } from './job-reference.ts'
import { createProgress } from './progress.ts'
import { answerOf, type ServiceOptions } from './service.ts'

export type WaitOptions = ServiceOptions & Readonly<{ output?: string; force?: boolean }>

export async function waitForVideo(
  api: Client,
  id: string,
  target: Target | undefined,
  options: OutputOptions,
): Promise<void> {
  const again = target ? ` -o ${plain(target.path)}` : ''
  using interruption = listenForInterruption(
    () =>
      `Job ${shortId(id)} goes on without this terminal. ` +
      `Wait for it again: wanctl wait ${shortId(id)}${again}   Cancel it: wanctl cancel ${shortId(id)}`,
  )
  const job = await lastSightOf(api, id, options, interruption)
  if (job.status !== 'success') throw failedJob(job)
  const saved =
    target &&
    (await unlessInterrupted(interruption, () => download(api, job, target, interruption.signal)))
  if (options.json) {
    if (saved !== undefined) showEvent({ event: 'saved', job, path: saved })
  } else process.stdout.write(`${plain(saved ?? job.file_url ?? id)}\n`)
}

async function lastSightOf(
  api: Client,
  id: string,
  { json }: OutputOptions,
  interruption: Interruption,
): Promise<Job> {
  const progress = createProgress()
  try {
    return await unlessInterrupted(interruption, async () => {
      for await (const sighting of follow(api, id, interruption.signal)) {
        progress.see(sighting)
        if (sighting.event === 'lost') continue
        if (json) showEvent(sighting)
        if (isOver(sighting.job)) return sighting.job
      }
      return answerOf(parseResponse(api.status[':id'].$get({ param: { id } })))
    })
  } finally {
    progress.end()
  }
}

function failedJob({ id, status, error }: Job): CommandError {
  const why = error ? `${plain(error.message)} (${error.code})` : 'It was canceled.'
  const log = `wanctl logs ${shortId(id)} has more.`
  const text = status === 'canceled' ? why : `The job failed: ${why} ${log}`
  return new CommandError(exitCodes.failed, text)
}
