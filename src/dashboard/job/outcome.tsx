import type { Job } from '../../http/typed-client.ts'
import { isReady } from '../contact.ts'
import { Eta, Progress, stageOf } from '../parts.tsx'
import { Player } from '../player.tsx'
import { percent } from '../words.ts'
import type { Detail } from './use-job.ts'

/** What has become of a job, or is to. */
export function Outcome({ job }: { job: Detail }) {
  if (job.file_url !== null) {
    return (
      <div class="stage">
        <Player key={job.id} id={job.id} url={job.file_url} label={job.prompt.slice(0, 80)} />
      </div>
    )
  }
  if (job.status === 'running') {
    return (
      <div class="panel outcome">
        <p class="spread">
          <strong>{stageOf(job)}</strong>
          <span class="number">{percent(job.progress)}</span>
        </p>
        <Progress job={job} label="Progress" />
        <p>
          <Eta job={job} />
        </p>
        {job.eta_source !== null && <p class="small muted">{restsOn[job.eta_source]}</p>}
      </div>
    )
  }
  if (job.status === 'queued') {
    const hasEstimate = job.eta_at !== null && isReady.value
    return (
      <div class="panel outcome">
        <p>
          <strong>
            {job.queue_position === 1
              ? 'Next in the queue'
              : `Place ${job.queue_position ?? '–'} in the queue`}
          </strong>
        </p>
        <p>
          {hasEstimate && 'Ready in '}
          <Eta job={job} />
        </p>
        {hasEstimate && job.eta_source !== null && (
          <p class="small muted">{restsOn[job.eta_source]}</p>
        )}
      </div>
    )
  }
  if (job.error) {
    return (
      <div class="panel outcome failed">
        <p>
          <strong>{job.error.code.replaceAll('_', ' ')}</strong>
        </p>
        <p class="prompt">{job.error.message}</p>
        <p class="small muted">
          {job.error.exit_code !== null && `Exit status ${job.error.exit_code}. `}
          {job.error.signal !== null && `Ended by ${job.error.signal}. `}
          The log below says more.
        </p>
      </div>
    )
  }
  return (
    <div class="panel outcome">
      <p class="muted">
        {job.status === 'canceled'
          ? 'It was canceled: there is no video.'
          : withoutFile[job.file_lost ?? 'deleted']}
      </p>
    </div>
  )
}

const withoutFile: Readonly<Record<NonNullable<Job['file_lost']> | 'deleted', string>> = {
  deleted: 'The video has been deleted; its record is what is left.',
  missing: 'The file of this video was removed by hand; its record is what is left.',
  replaced: 'Another file has the name of this video now; its record is what is left.',
}

const restsOn: Readonly<Record<NonNullable<Job['eta_source']>, string>> = {
  events: 'Estimated from the steps of this run.',
  log: 'Estimated from the output of this run.',
  history: 'Estimated from earlier runs on these GPUs.',
  default: 'Estimated from published figures: nothing has run here yet.',
}
