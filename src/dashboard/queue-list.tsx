import { signal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { useState } from 'preact/hooks'
import type { Job } from '../http/typed-client.ts'
import { answerTo, api, faultOf } from './api.ts'
import { hasNodes, isReady } from './contact.ts'
import { notify } from './notices.ts'
import { isFirst, outlookInWords } from './outlook.ts'
import {
  ActionButton,
  Ago,
  Dialog,
  Empty,
  ErrorNote,
  Eta,
  Pager,
  Progress,
  Prompt,
  Section,
  Skeleton,
  stageOf,
} from './parts.tsx'
import { jobHref } from './route.ts'
import { gpus, isAdmin, lastWaiting, nextJob, queueRefresher, running, waiting } from './state.ts'
import { plural, sizeInWords } from './words.ts'

/** What somebody wants to cancel, before it is done. */
export const toCancel = signal<Pick<Job, 'id' | 'prompt' | 'status'> | undefined>(undefined)

export function QueueList() {
  const page = waiting.page.value
  const under = underWay()
  const isEmpty = page?.items.length === 0 && under.length === 0
  return (
    <Section title="Queue" aside={<QueueLength />}>
      {!page && <Skeleton rows={3} kind="row" />}
      {isEmpty && <NothingWaits />}
      {under.length > 0 && (
        <ul class="rows" aria-label="Under way">
          {under.map((job) => (
            <UnderWay key={job.id} job={job} />
          ))}
        </ul>
      )}
      {page && page.items.length > 0 && (
        <ol class="rows" aria-label="Waiting jobs in their order">
          {page.items.map((job) => (
            <Waiting key={job.id} job={job} />
          ))}
        </ol>
      )}
      <Pager pages={waiting} what="the queue" />
    </Section>
  )
}

/** The jobs of others wait in the same queue, though only an admin sees them. */
function NothingWaits() {
  const next = nextJob.value
  const isAll = isAdmin.value || (next !== undefined && isFirst(next))
  return (
    <Empty title={isAll ? 'Nothing waits' : 'Nothing of yours waits'}>
      {next && outlookInWords(next)}
      {isReady.value && ' Write a prompt and press Enter.'}
    </Empty>
  )
}

/** What runs and is on no card: ffmpeg’s work, and all of it where there are no cards. */
function underWay(): Job[] {
  const cards = gpus.value
  if (isAdmin.value && !cards) return []
  const shown = new Set(cards?.map(({ job_id }) => job_id))
  return [...running.value.values()].filter(({ id }) => !shown.has(id))
}

function QueueLength() {
  const last = lastWaiting.value
  if (!last) return null
  const { queue_position: position } = last
  if (position === null) return null
  return (
    <span class="muted">
      {isAdmin.value ? `${plural(position, 'job')} waiting` : `your last is at place ${position}`}
    </span>
  )
}

const UnderWay = ({ job }: { job: Job }) => (
  <li class="row">
    <span class="place busy" aria-hidden="true" />
    <div class="row-main">
      <a class="job-link" href={jobHref(job.id)}>
        <Prompt lines={1}>{job.prompt}</Prompt>
      </a>
      <Progress job={job} label="Progress" />
    </div>
    <div class="row-side small">
      <span>
        {stageOf(job)}
        {hasNodes.value && job.node !== null && <span class="muted"> · {job.node}</span>}
      </span>
      <Eta job={job} short />
    </div>
    <CancelInRow job={job} />
  </li>
)

const Waiting = ({ job }: { job: Job }) => (
  <li class="row">
    <span class="place">
      <span class="hidden">Place </span>
      {job.queue_position ?? '–'}
    </span>
    <div class="row-main">
      <a class="job-link" href={jobHref(job.id)}>
        <Prompt>{job.prompt}</Prompt>
      </a>
      <p class="small muted">
        {sizeInWords(job.size)} · {job.steps} steps
        {job.image && ' · from an image'}
        {job.owner !== null && isAdmin.value && ` · ${job.owner}`} · submitted{' '}
        <Ago at={job.submitted_at} />
        {job.attempt > 0 && ' · tried before'}
      </p>
    </div>
    <div class="row-side small">
      <Eta job={job} />
    </div>
    <CancelInRow job={job} />
  </li>
)

/** Among many: whoever only hears it is told which. */
const CancelInRow = ({ job }: { job: Job }) => (
  <CancelButton job={job} look="small quiet">
    <span class="hidden"> “{job.prompt.slice(0, 80)}”</span>
  </CancelButton>
)

export const CancelButton = ({
  job,
  look,
  children,
}: {
  job: Job
  look: string
  children?: ComponentChildren
}) => (
  <ActionButton
    class={`button ${look}`}
    disabled={job.cancel_requested}
    onClick={() => {
      toCancel.value = job
    }}
  >
    {job.cancel_requested ? 'Stopping…' : 'Cancel'}
    {children}
  </ActionButton>
)

/** Once, for wherever there is something to cancel. */
export function CancelDialog() {
  const job = toCancel.value
  return job ? <ConfirmCancel key={job.id} job={job} /> : null
}

function ConfirmCancel({ job }: { job: Pick<Job, 'id' | 'prompt' | 'status'> }) {
  const [fault, setFault] = useState<string>()
  const [isBusy, setBusy] = useState(false)
  const close = () => {
    toCancel.value = undefined
  }

  async function carryOut(): Promise<void> {
    setBusy(true)
    try {
      const { canceled, canceling } = await answerTo(api.jobs.$delete({ query: { ids: job.id } }))
      const text =
        canceled.length > 0
          ? 'Canceled'
          : canceling.length > 0
            ? 'Being stopped: its process takes its time'
            : 'It was over before'
      notify({ tone: 'plain', text, job })
      close()
      queueRefresher.soon()
    } catch (error) {
      setFault(faultOf(error).text)
      setBusy(false)
    }
  }

  return (
    <Dialog title="Cancel this job?" onClose={close}>
      <blockquote class="quote">
        <Prompt>{job.prompt}</Prompt>
      </blockquote>
      <p>
        {job.status === 'running'
          ? 'Its generation is stopped, and what it has done is lost.'
          : 'It loses its place in the queue.'}
      </p>
      {fault !== undefined && <ErrorNote>{fault}</ErrorNote>}
      <footer class="dialog-foot">
        <button type="button" class="button" onClick={close}>
          Keep it
        </button>
        <ActionButton class="button danger" disabled={isBusy} onClick={() => void carryOut()}>
          {isBusy ? 'Canceling…' : 'Cancel the job'}
        </ActionButton>
      </footer>
    </Dialog>
  )
}
