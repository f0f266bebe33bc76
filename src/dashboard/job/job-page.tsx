import { useEffect, useRef } from 'preact/hooks'
import type { Job } from '../../http/typed-client.ts'
import { Again, Back, Dice, Download, Pencil } from '../icons.tsx'
import {
  ActionButton,
  Ago,
  Badge,
  DownloadLink,
  Empty,
  ErrorNote,
  Section,
  Skeleton,
  type Tone,
} from '../parts.tsx'
import { CancelButton } from '../queue-list.tsx'
import { draftOf, repeat, wanted } from '../submission.ts'
import { statusInWords } from '../words.ts'
import { Command } from './command.tsx'
import { Facts } from './facts.tsx'
import { Log } from './log.tsx'
import { Outcome } from './outcome.tsx'
import { Timeline } from './timeline.tsx'
import { type Detail, isOpen, useJob } from './use-job.ts'

const tones: Readonly<Record<Job['status'], Tone>> = {
  queued: 'plain',
  running: 'busy',
  success: 'good',
  error: 'bad',
  canceled: 'plain',
}

export function JobPage({ id }: { id: string }) {
  const { job, fault } = useJob(id)
  const heading = useRef<HTMLHeadingElement>(null)
  useEffect(() => heading.current?.focus(), [id])

  return (
    <main class="job-page" id="main">
      <a class="back" href="#/">
        <Back /> Overview
      </a>
      {fault?.status === 404 ? (
        <Empty title="There is no such job">
          It has been deleted, or the link is not complete.
        </Empty>
      ) : fault ? (
        <ErrorNote>{fault.text}</ErrorNote>
      ) : null}
      {!job && !fault && <Skeleton rows={2} kind="card" />}
      {job && (
        <>
          <header class="job-head">
            <div class="job-title">
              <p class="job-signs">
                <Badge tone={tones[job.status]}>{statusInWords[job.status]}</Badge>
                <span class="muted small">
                  Submitted <Ago at={job.submitted_at} />
                </span>
              </p>
              <h1 ref={heading} tabIndex={-1}>
                <bdi dir="auto" class="prompt long">
                  {job.prompt}
                </bdi>
              </h1>
            </div>
            <Actions job={job} />
          </header>
          <div class="job-columns">
            <div class="job-main">
              <Outcome job={job} />
              <Section title="Where the time went">
                <Timeline job={job} />
              </Section>
              <Log job={job} />
            </div>
            <aside class="job-side" aria-label="Details">
              <Facts job={job} />
              <Command attempts={job.attempts} />
            </aside>
          </div>
        </>
      )}
    </main>
  )
}

const Actions = ({ job }: { job: Detail }) => (
  <div class="actions">
    {isOpen(job) && <CancelButton job={job} look="danger-quiet" />}
    {job.file_url !== null && (
      <DownloadLink look="primary" url={job.file_url} filename={job.filename ?? ''}>
        <Download /> Download
      </DownloadLink>
    )}
    <ActionButton class="button" onClick={() => void repeat(job.id, 'same')}>
      <Again /> Again
    </ActionButton>
    <ActionButton class="button" onClick={() => void repeat(job.id, 'new')}>
      <Dice /> Vary seed
    </ActionButton>
    <button
      type="button"
      class="button"
      onClick={() => {
        wanted.value = draftOf(job)
        location.hash = '#/'
      }}
    >
      <Pencil /> Edit
    </button>
  </div>
)
