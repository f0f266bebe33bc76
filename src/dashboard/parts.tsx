/** Small parts that everything else is made of. */
import type { ComponentChildren, JSX } from 'preact'
import { useEffect, useId, useRef } from 'preact/hooks'
import type { Job } from '../http/typed-client.ts'
import { linkTo } from './api.ts'
import { now } from './clock.ts'
import { isGone, isReady, knownAt } from './contact.ts'
import type { Pages } from './pages.ts'
import { ago, clock, duration, durationRange, fullTime, stageInWords } from './words.ts'

export type Tone = 'good' | 'warn' | 'bad' | 'busy' | 'plain'

/** A state in a word; the dot is for the eye alone. */
export const Badge = ({ tone, children }: { tone: Tone; children: ComponentChildren }) => (
  <span class={`badge ${tone}`}>
    <span class="dot" aria-hidden="true" />
    {children}
  </span>
)

/** Prompts come from anybody, in any script: each keeps its own direction, and is text alone. */
export const Prompt = ({ children, lines = 2 }: { children: string; lines?: 1 | 2 }) => (
  <bdi class={`prompt clamp-${lines}`} dir="auto" title={children.slice(0, 600)}>
    {children.length > 600 ? `${children.slice(0, 600)}…` : children}
  </bdi>
)

export const Ago = ({ at }: { at: string }) => {
  const time = Date.parse(at)
  return (
    <time dateTime={at} title={fullTime(time)}>
      {ago(time, now.value)}
    </time>
  )
}

export const Clock = ({ at }: { at: string }) => {
  const time = Date.parse(at)
  return (
    <time dateTime={at} title={fullTime(time)}>
      {clock(time, now.value)}
    </time>
  )
}

type Expected = Pick<
  Job,
  'status' | 'eta_seconds' | 'eta_p10_seconds' | 'eta_p90_seconds' | 'eta_at'
>

/** How long it still takes, between what and what, and when that is. */
export function Eta({ job, short = false }: { job: Expected; short?: boolean }) {
  const { status, eta_at, eta_seconds, eta_p10_seconds, eta_p90_seconds } = job
  if (status === 'queued' && !isReady.value) {
    return <span class="muted">no estimate while the service is not ready</span>
  }
  if (eta_at === null || eta_seconds === null) return <span class="muted">no estimate yet</span>
  const left = (Date.parse(eta_at) - knownAt.value) / 1000
  const gone = eta_seconds - left
  const range =
    eta_p10_seconds === null || eta_p90_seconds === null
      ? undefined
      : durationRange(Math.max(1, eta_p10_seconds - gone), Math.max(1, eta_p90_seconds - gone))
  return (
    <span class="eta">
      <strong>
        {left < 1 ? 'any moment' : `about ${duration(left)}`}
        {isGone.value && ', as of then'}
      </strong>
      {range !== undefined && left >= 1 && (
        <span class="muted" title="Four of five videos are there within this time">
          {' '}
          ({range})
        </span>
      )}
      {!short && (
        <span class="muted">
          , at <Clock at={eta_at} />
        </span>
      )}
    </span>
  )
}

/** For what the service has to do: not to be pressed while there is none. */
export const ActionButton = ({ disabled, ...rest }: JSX.IntrinsicElements['button']) => (
  <button {...rest} type={rest.type ?? 'button'} disabled={disabled === true || isGone.value} />
)

export const DownloadLink = ({
  url,
  filename,
  look,
  title,
  children,
}: {
  url: string
  filename: string
  look: string
  title?: string
  children: ComponentChildren
}) =>
  isGone.value ? (
    <button type="button" class={`button ${look}`} disabled>
      {children}
    </button>
  ) : (
    <a
      class={`button ${look}`}
      href={linkTo(url)}
      download={filename}
      {...(title !== undefined && { title })}
    >
      {children}
    </a>
  )

/** Where a running job is, in words. */
export function stageOf(job: Pick<Job, 'stage' | 'step' | 'total_steps' | 'cancel_requested'>) {
  if (job.cancel_requested) return 'Stopping'
  if (job.stage === null) return 'Starting'
  const words = stageInWords[job.stage]
  if (job.stage !== 'denoising' || job.step === null) return words
  return `${words} · step ${job.step} of ${job.total_steps}`
}

export const Progress = ({ job, label }: { job: Job; label: string }) => (
  <progress class="progress" max={1} value={job.progress} aria-label={label}>
    {Math.round(job.progress * 100)} %
  </progress>
)

export const Empty = ({ title, children }: { title: string; children?: ComponentChildren }) => (
  <div class="empty">
    <p class="empty-title">{title}</p>
    {children && <p class="muted">{children}</p>}
  </div>
)

export const Skeleton = ({ rows, kind }: { rows: number; kind: 'row' | 'card' | 'tile' }) => (
  <div class={`skeletons ${kind}`} aria-hidden="true">
    {Array.from({ length: rows }, (_, index) => (
      <div key={index} class="skeleton" />
    ))}
  </div>
)

export const ErrorNote = ({ id, children }: { id?: string; children: ComponentChildren }) => (
  <p class="error-note" role="alert" {...(id !== undefined && { id })}>
    {children}
  </p>
)

export function Section({
  title,
  aside,
  children,
}: {
  title: string
  aside?: ComponentChildren
  children: ComponentChildren
}) {
  const id = useId()
  return (
    <section class="section" aria-labelledby={id}>
      <header class="section-head">
        <h2 id={id}>{title}</h2>
        {aside && <div class="section-aside">{aside}</div>}
      </header>
      {children}
    </section>
  )
}

/** Nothing where all fits on one page. */
export function Pager<Item>({ pages, what }: { pages: Pages<Item>; what: string }) {
  const number = pages.number.value
  const hasNext = pages.page.value?.nextAfter != null
  if (number === 1 && !hasNext) return null
  return (
    <nav class="pager" aria-label={`Pages of ${what}`}>
      <ActionButton
        class="button"
        disabled={number === 1}
        onClick={() => void pages.previous().catch(() => {})}
      >
        Previous
      </ActionButton>
      <span class="muted" aria-live="polite">
        Page {number}
      </span>
      <ActionButton
        class="button"
        disabled={!hasNext}
        onClick={() => void pages.next().catch(() => {})}
      >
        Next
      </ActionButton>
    </nav>
  )
}

/** Modal, with the keyboard kept inside and Escape to leave: that is the browser's own. */
export function Dialog({
  title,
  onClose,
  children,
}: {
  title: string
  onClose(): void
  children: ComponentChildren
}) {
  const element = useRef<HTMLDialogElement>(null)
  const id = useId()
  useEffect(() => {
    const dialog = element.current
    dialog?.showModal()
    return () => dialog?.close()
  }, [])
  return (
    <dialog ref={element} class="dialog" aria-labelledby={id} onClose={onClose}>
      <h2 id={id}>{title}</h2>
      {children}
    </dialog>
  )
}
