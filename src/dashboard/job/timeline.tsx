import type { Attempt } from '../../http/typed-client.ts'
import { hasNodes, knownAt } from '../contact.ts'
import { Badge, Clock } from '../parts.tsx'
import { exactDuration, percent, stageInWords } from '../words.ts'
import { type Detail, isOpen } from './use-job.ts'

/** To scale, so that it shows at a glance: what was waited for, and each stage of each attempt. */
export function Timeline({ job }: { job: Detail }) {
  const { attempts } = job
  const first = attempts[0]
  const waitEnd = first
    ? Date.parse(first.claimed_at)
    : job.ended_at
      ? Date.parse(job.ended_at)
      : knownAt.value
  const waited = Math.max(0, (waitEnd - Date.parse(job.submitted_at)) / 1000)
  return (
    <div class="timelines">
      <p class="small">
        <span class="swatch wait" aria-hidden="true" />
        {first || !isOpen(job) ? 'Waited' : 'Waiting for'}{' '}
        <strong class="number">{exactDuration(waited)}</strong> for a GPU
      </p>
      {attempts.map((attempt) => (
        <AttemptLine key={attempt.epoch} attempt={attempt} />
      ))}
    </div>
  )
}

function AttemptLine({ attempt }: { attempt: Attempt }) {
  const parts = attempt.stages.map(({ stage, began_at, seconds }) => ({
    stage,
    seconds: seconds ?? Math.max(0, (knownAt.value - Date.parse(began_at)) / 1000),
    isOver: seconds !== null,
  }))
  const total = parts.reduce((sum, { seconds }) => sum + seconds, 0)
  const vram = attempt.peak_vram_bytes
  return (
    <article class="card attempt">
      <header class="spread">
        <h3>
          Attempt {attempt.attempt}{' '}
          <span class="muted">
            on GPU {attempt.gpu_id}
            {hasNodes.value && attempt.node !== null && ` of ${attempt.node}`}
          </span>
        </h3>
        <span class="small">
          {attempt.outcome === null ? (
            <Badge tone="busy">Under way</Badge>
          ) : (
            <Badge
              tone={
                attempt.outcome === 'success'
                  ? 'good'
                  : attempt.outcome === 'error'
                    ? 'bad'
                    : 'plain'
              }
            >
              {outcomeInWords[attempt.outcome]}
            </Badge>
          )}
        </span>
      </header>
      <div class="bar" aria-hidden="true">
        {parts.map(({ stage, seconds, isOver }) => (
          <span
            key={stage}
            class={`part ${stage} ${isOver ? '' : 'growing'}`}
            style={{ flexGrow: total === 0 ? 1 : seconds / total }}
          />
        ))}
      </div>
      <dl class="legend">
        {parts.map(({ stage, seconds }) => (
          <div key={stage}>
            <dt>
              <span class={`swatch ${stage}`} aria-hidden="true" />
              {stageInWords[stage]}
            </dt>
            <dd class="number">
              {exactDuration(seconds)}
              <span class="muted"> {percent(total === 0 ? 0 : seconds / total)}</span>
            </dd>
          </div>
        ))}
      </dl>
      <p class="small muted">
        Begun at <Clock at={attempt.claimed_at} />, {exactDuration(total)} in all
        {attempt.start !== null && `, ${attempt.start} start`}
        {attempt.seconds_per_step !== null && `, ${attempt.seconds_per_step.toFixed(2)} s a step`}
        {vram !== null && `, at most ${(vram / 2 ** 30).toFixed(1)} GiB of GPU memory`}
      </p>
      {attempt.error && (
        <p class="small bad">
          {attempt.error.code.replaceAll('_', ' ')}: {attempt.error.message}
        </p>
      )}
    </article>
  )
}

const outcomeInWords: Readonly<Record<NonNullable<Attempt['outcome']>, string>> = {
  success: 'Success',
  error: 'Failed',
  canceled: 'Canceled',
  released: 'Given back',
}
