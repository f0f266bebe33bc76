import type { ComponentChildren, RefObject } from 'preact'
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'
import { createLogReader } from '../http/log-reader.ts'
import type { Attempt, InferResponseType, Job } from '../http/typed-client.ts'
import { answerTo, api, type Fault, faultOf, linkTo } from './api.ts'
import { Again, Back, Copy, Dice, Download, Pencil } from './icons.tsx'
import { connection } from './live.ts'
import { notify } from './notices.ts'
import {
  Ago,
  Badge,
  Clock,
  Empty,
  ErrorNote,
  Eta,
  Progress,
  Section,
  Skeleton,
  stageOf,
  type Tone,
} from './parts.tsx'
import { Player } from './player.tsx'
import { CancelButton } from './queue-list.tsx'
import { createRefresher } from './refresher.ts'
import { now, watchJobs } from './state.ts'
import { draftOf, repeat, wanted } from './submission.ts'
import { bytes, exactDuration, percent, sizeInWords, stageInWords, statusInWords } from './words.ts'

type Detail = InferResponseType<(typeof api.jobs)[':id']['$get'], 200>

const tones: Readonly<Record<Job['status'], Tone>> = {
  queued: 'plain',
  running: 'busy',
  success: 'good',
  error: 'bad',
  canceled: 'plain',
}

const isOpen = ({ status }: Pick<Job, 'status'>): boolean =>
  status === 'queued' || status === 'running'

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
              <Commands attempts={job.attempts} />
            </aside>
          </div>
        </>
      )}
    </main>
  )
}

/** The job as it is, kept so by its events; places and estimates of waiting jobs are asked for. */
function useJob(id: string) {
  const [job, setJob] = useState<Detail>()
  const [fault, setFault] = useState<Fault>()
  const isLive = connection.value === 'live'
  const isWaiting = useRef(false)
  isWaiting.current = job?.status === 'queued'
  // With each new connection: what may have been missed is asked for.
  useEffect(() => {
    let isCurrent = true
    setFault(undefined)
    setJob((before) => (before?.id === id ? before : undefined))
    const refresher = createRefresher(async () => {
      try {
        const found = await answerTo(api.jobs[':id'].$get({ param: { id } }))
        if (!isCurrent) return
        setJob(found)
        setFault(undefined)
      } catch (error) {
        if (isCurrent && faultOf(error).status !== 0) setFault(faultOf(error))
      }
    }, 500)
    void refresher.now()
    const unwatch = watchJobs(({ kind, job: seen }) => {
      if (seen.id !== id) return
      setJob((before) => before && { ...before, ...seen })
      if (kind !== 'progress') refresher.soon()
    })
    const poll = setInterval(() => {
      if (isWaiting.current && !document.hidden) refresher.soon()
    }, 5_000)
    return () => {
      isCurrent = false
      unwatch()
      clearInterval(poll)
    }
  }, [id, isLive])
  return { job, fault }
}

const Actions = ({ job }: { job: Detail }) => (
  <div class="actions">
    {isOpen(job) && <CancelButton job={job} look="danger-quiet" />}
    {job.file_url !== null && (
      <a class="button primary" href={linkTo(job.file_url)} download={job.filename ?? ''}>
        <Download /> Download
      </a>
    )}
    <button type="button" class="button" onClick={() => void repeat(job.id, 'same')}>
      <Again /> Again
    </button>
    <button type="button" class="button" onClick={() => void repeat(job.id, 'new')}>
      <Dice /> Vary seed
    </button>
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

function Outcome({ job }: { job: Detail }) {
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
          Ready in <Eta job={job} />
        </p>
        {job.eta_source !== null && <p class="small muted">{restsOn[job.eta_source]}</p>}
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
          : 'The video has been deleted; its record is what is left.'}
      </p>
    </div>
  )
}

const restsOn: Readonly<Record<NonNullable<Job['eta_source']>, string>> = {
  events: 'Estimated from the steps of this run.',
  log: 'Estimated from the output of this run.',
  history: 'Estimated from earlier runs on these GPUs.',
  default: 'Estimated from published figures: nothing has run here yet.',
}

/** To scale, so that it shows at a glance: what was waited for, and each stage of each attempt. */
function Timeline({ job }: { job: Detail }) {
  const { attempts } = job
  const first = attempts[0]
  const waitEnd = first
    ? Date.parse(first.claimed_at)
    : job.ended_at
      ? Date.parse(job.ended_at)
      : now.value
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
    seconds: seconds ?? Math.max(0, (now.value - Date.parse(began_at)) / 1000),
    isOver: seconds !== null,
  }))
  const total = parts.reduce((sum, { seconds }) => sum + seconds, 0)
  const vram = attempt.peak_vram_bytes
  return (
    <article class="card attempt">
      <header class="spread">
        <h3>
          Attempt {attempt.attempt} <span class="muted">on GPU {attempt.gpu_id}</span>
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

const Facts = ({ job }: { job: Detail }) => (
  <Section title="Details">
    <dl class="facts">
      <Fact name="Size">{sizeInWords(job.size)}</Fact>
      <Fact name="Frames">{job.frames}</Fact>
      <Fact name="Steps">{job.steps}</Fact>
      <Fact name="Seed">
        <span class="number">{job.seed}</span>
      </Fact>
      <Fact name="Guidance">{job.guidance ?? 'the model’s own'}</Fact>
      <Fact name="Shift">{job.shift ?? 'the model’s own'}</Fact>
      {job.image && (
        <Fact name="First image">
          {job.image.type.toUpperCase()}, {job.image.width} × {job.image.height}
        </Fact>
      )}
      {job.gpu_id !== null && <Fact name="GPU">{job.gpu_id}</Fact>}
      {job.owner !== null && <Fact name="Client">{job.owner}</Fact>}
      <Fact name="Submitted">
        <Clock at={job.submitted_at} />
      </Fact>
      {job.started_at !== null && (
        <Fact name="Begun">
          <Clock at={job.started_at} />
        </Fact>
      )}
      {job.ended_at !== null && (
        <Fact name="Ended">
          <Clock at={job.ended_at} />
        </Fact>
      )}
      {job.file && (
        <Fact name="Video">
          {job.file.duration_seconds.toFixed(1)} s, {bytes(job.file.bytes)}
        </Fact>
      )}
      {job.filename !== null && (
        <Fact name="File">
          <bdi class="break">{job.filename}</bdi>
        </Fact>
      )}
      <Fact name="Id">
        <code class="break">{job.id}</code>
      </Fact>
    </dl>
  </Section>
)

const Fact = ({ name, children }: { name: string; children: ComponentChildren }) => (
  <div>
    <dt>{name}</dt>
    <dd>{children}</dd>
  </div>
)

function Commands({ attempts }: { attempts: readonly Attempt[] }) {
  const command = attempts.at(-1)?.command
  if (!command) return null
  const text = command.map(quoted).join(' ')
  return (
    <Section
      title="Command line"
      aside={
        navigator.clipboard && (
          <button
            type="button"
            class="button small quiet"
            onClick={() =>
              void navigator.clipboard.writeText(text).then(
                () => notify({ tone: 'plain', text: 'Copied' }),
                () => notify({ tone: 'bad', text: 'The browser does not let us copy' }),
              )
            }
          >
            <Copy /> Copy
          </button>
        )
      }
    >
      <Scrolling kind="wrap" label="Command line of the last attempt">
        {text}
      </Scrolling>
    </Section>
  )
}

/** What scrolls has to be reached by the keyboard, and so to have a name. */
const Scrolling = ({
  kind,
  label,
  box,
  children,
}: {
  kind: 'wrap' | 'log'
  label: string
  box?: RefObject<HTMLElement | null>
  children: string
}) => (
  // biome-ignore lint/a11y/noNoninteractiveTabindex: see above
  <section class={`code ${kind}`} aria-label={label} tabIndex={0} {...(box && { ref: box })}>
    <pre>{children}</pre>
  </section>
)

/** As a shell wants it. */
const quoted = (argument: string): string =>
  /^[\w@%+=:,./-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", `'\\''`)}'`

/** As much of the end of a log as a page can hold. */
const logBytes = 128_000

const lastLines = (log: string): string =>
  log.length <= logBytes ? log : log.slice(log.indexOf('\n', log.length - logBytes) + 1)

/** A log grows by lines: often enough to follow, seldom enough not to be felt. */
const logMs = 2_000

function Log({ job }: { job: Detail }) {
  const [text, setText] = useState<string>()
  const [isFollowing, setFollowing] = useState(true)
  const box = useRef<HTMLElement>(null)
  const { id } = job
  const open = isOpen(job)
  useEffect(() => {
    let isCurrent = true
    const reader = createLogReader(
      async (headers) => {
        const response = await api.jobs[':id'].log.$get({ param: { id } }, { headers })
        if (!response.ok && response.status !== 416) await answerTo(response)
        return response
      },
      { lastBytes: logBytes },
    )
    const refresher = createRefresher(async () => {
      const { text, isAnew } = await reader.read()
      if (isCurrent) setText((known = '') => (isAnew ? text : lastLines(known + text)))
    }, logMs)
    void refresher.now()
    const timer = open && setInterval(() => !document.hidden && refresher.soon(), logMs)
    return () => {
      isCurrent = false
      if (timer) clearInterval(timer)
    }
  }, [id, open])
  useLayoutEffect(() => {
    if (isFollowing && box.current) box.current.scrollTop = box.current.scrollHeight
  }, [text, isFollowing])

  return (
    <Section
      title="Log"
      aside={
        open && (
          <label class="check small">
            <input
              type="checkbox"
              checked={isFollowing}
              onChange={({ currentTarget }) => setFollowing(currentTarget.checked)}
            />{' '}
            Follow
          </label>
        )
      }
    >
      {text === '' ? (
        <Empty title={open ? 'No log yet' : 'No log'}>
          {open
            ? 'generate.py says something once the job has begun.'
            : 'It never began, or its log has been removed.'}
        </Empty>
      ) : (
        <Scrolling kind="log" label="Log of generate.py" box={box}>
          {text ?? ' '}
        </Scrolling>
      )}
    </Section>
  )
}
