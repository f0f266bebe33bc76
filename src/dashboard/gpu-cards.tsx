import { signal } from '@preact/signals'
import { useState } from 'preact/hooks'
import type { Gpu } from '../http/typed-client.ts'
import { answerTo, api, faultOf } from './api.ts'
import { hasNodes, isReady } from './contact.ts'
import { Instruments } from './instruments.tsx'
import { notify } from './notices.ts'
import {
  ActionButton,
  Ago,
  Badge,
  Dialog,
  ErrorNote,
  Eta,
  Progress,
  Prompt,
  Section,
  Skeleton,
  stageOf,
  type Tone,
} from './parts.tsx'
import { jobHref } from './route.ts'
import { gpuRefresher, gpus, isAdmin, running } from './state.ts'
import { Templates } from './templates.tsx'
import { gpuStateInWords, percent, plural, stageInWords } from './words.ts'

const tones: Readonly<Record<Gpu['state'], Tone>> = {
  idle: 'good',
  busy: 'busy',
  draining: 'warn',
  drained: 'warn',
  quarantined: 'bad',
  probing: 'warn',
  down: 'warn',
  given_up: 'bad',
}

/** What is asked before it is done. */
const asked = signal<{ gpu: Gpu; order: Order } | undefined>(undefined)

type Order = 'drain' | 'resume' | 'restart'

export function GpuCards() {
  const all = gpus.value
  if (!isAdmin.value) return null
  return (
    <Section title="GPUs" aside={all && <span class="muted">{summary(all)}</span>}>
      {all ? (
        <ul class="cards gpus">
          {all.map((gpu) => (
            <GpuCard key={gpu.id} gpu={gpu} />
          ))}
        </ul>
      ) : (
        <Skeleton rows={2} kind="card" />
      )}
      <Templates />
      {asked.value && <Confirm {...asked.value} />}
    </Section>
  )
}

function summary(all: readonly Gpu[]): string {
  const busy = all.filter(({ job_id }) => job_id !== null).length
  return `${busy} of ${all.length} busy`
}

function GpuCard({ gpu }: { gpu: Gpu }) {
  const job = gpu.job_id === null ? undefined : running.value.get(gpu.job_id)
  const tone = gpu.state === 'idle' && !isReady.value ? 'plain' : tones[gpu.state]
  const takesJobs = ['idle', 'busy', 'probing', 'down'].includes(gpu.state)
  return (
    <li class="card gpu">
      <header class="card-head">
        <h3>
          GPU {gpu.id}
          {hasNodes.value && gpu.node !== null && <span class="muted small"> {gpu.node}</span>}
          {gpu.name !== null && <span class="muted small"> {gpu.name}</span>}
        </h3>
        <Badge tone={tone}>{gpuStateInWords[gpu.state]}</Badge>
      </header>
      <div class="gpu-body">
        {gpu.job_id === null ? <AtRest gpu={gpu} /> : <AtWork gpu={gpu} job={job} />}
      </div>
      <Instruments measured={gpu.measured} />
      <footer class="card-foot">
        {takesJobs ? (
          <OrderButton gpu={gpu} order="drain" />
        ) : (
          <OrderButton gpu={gpu} order="resume" />
        )}
        <OrderButton gpu={gpu} order="restart" />
      </footer>
    </li>
  )
}

function AtWork({ gpu, job }: { gpu: Gpu; job: ReturnType<typeof running.value.get> }) {
  if (!job) {
    return (
      <p>
        <a href={jobHref(gpu.job_id ?? '')}>A job</a>
        {gpu.stage !== null && <span class="muted"> · {stageInWords[gpu.stage]}</span>}
        <Start gpu={gpu} />
      </p>
    )
  }
  return (
    <>
      <a class="job-link" href={jobHref(job.id)}>
        <Prompt lines={1}>{job.prompt}</Prompt>
      </a>
      <Progress job={job} label={`Progress on GPU ${gpu.id}`} />
      <p class="small spread">
        <span>
          {stageOf(job)}
          <Start gpu={gpu} />
        </span>
        <span class="muted">{percent(job.progress)}</span>
      </p>
      <p class="small">
        <Eta job={job} />
      </p>
    </>
  )
}

const Start = ({ gpu: { start } }: { gpu: Gpu }) =>
  start !== null && <span class="muted"> · {start} start</span>

function AtRest({ gpu }: { gpu: Gpu }) {
  const { quarantine, last_failures: failures, actor } = gpu
  const last = failures.at(-1)
  return (
    <>
      <p class="muted">
        {atRest[gpu.state] ??
          (isReady.value ? 'Ready for the next job.' : 'The service is not ready.')}
      </p>
      {quarantine && (
        <p class="small">
          Since <Ago at={quarantine.since} />
          {quarantine.reason === 'unkillable'
            ? ': a process of it could not be ended. Look at it with nvidia-smi, then resume it.'
            : ': one job after the other failed on it.'}
        </p>
      )}
      {last && (
        <p class="small muted">
          {plural(failures.length, 'failure')} in a row, the last:{' '}
          <a href={jobHref(last.job_id)}>{last.code.replaceAll('_', ' ')}</a>
        </p>
      )}
      {actor?.error && <p class="small muted">{actor.error}</p>}
    </>
  )
}

const atRest: Readonly<Partial<Record<Gpu['state'], string>>> = {
  drained: 'Takes no jobs until it is resumed.',
  quarantined: 'Takes no jobs until it has proven itself or is resumed.',
  probing: 'The next job is its probe.',
  down: 'Its part of the service is being started again.',
  given_up: 'Its part of the service failed too often. Restart it to try again.',
}

const orderInWords: Readonly<Record<Order, string>> = {
  drain: 'Drain',
  resume: 'Resume',
  restart: 'Restart',
}

const OrderButton = ({ gpu, order }: { gpu: Gpu; order: Order }) => (
  <ActionButton
    class="button small"
    onClick={() => {
      asked.value = { gpu, order }
    }}
  >
    {orderInWords[order]}
    <span class="hidden"> GPU {gpu.id}</span>
  </ActionButton>
)

const fates = [
  { job: 'adopt', name: 'Keep it running', what: 'The generation goes on; nothing is lost.' },
  { job: 'requeue', name: 'Put it back', what: 'It is stopped and waits at its old place.' },
  { job: 'fail', name: 'Fail it', what: 'It is stopped and ends as an error.' },
] as const

function Confirm({ gpu, order }: { gpu: Gpu; order: Order }) {
  const [fate, setFate] = useState<(typeof fates)[number]['job']>('adopt')
  const [fault, setFault] = useState<string>()
  const [isBusy, setBusy] = useState(false)
  const close = () => {
    asked.value = undefined
  }

  async function carryOut(): Promise<void> {
    setBusy(true)
    setFault(undefined)
    const param = { id: String(gpu.id) }
    try {
      await (order === 'restart'
        ? answerTo(api.gpus[':id'].restart.$post({ param, json: { job: fate } }))
        : order === 'drain'
          ? answerTo(api.gpus[':id'].drain.$post({ param }))
          : answerTo(api.gpus[':id'].resume.$post({ param })))
      close()
      notify({ tone: 'good', text: `GPU ${gpu.id}: ${done[order]}` })
      await gpuRefresher.now()
    } catch (error) {
      setFault(faultOf(error).text)
      setBusy(false)
    }
  }

  return (
    <Dialog title={`${orderInWords[order]} GPU ${gpu.id}?`} onClose={close}>
      <p>{meaning[order]}</p>
      {order === 'restart' && gpu.job_id !== null && (
        <fieldset class="choices">
          <legend class="label">What becomes of its job?</legend>
          {fates.map(({ job, name, what }) => (
            <label key={job} class="choice">
              <input
                type="radio"
                name="fate"
                checked={fate === job}
                onChange={() => setFate(job)}
              />
              <span>
                {name}
                <span class="muted small block">{what}</span>
              </span>
            </label>
          ))}
        </fieldset>
      )}
      {fault !== undefined && <ErrorNote>{fault}</ErrorNote>}
      <footer class="dialog-foot">
        <button type="button" class="button" onClick={close}>
          Leave it
        </button>
        <ActionButton
          class={`button ${fate === 'adopt' ? 'primary' : 'danger'}`}
          disabled={isBusy}
          onClick={() => void carryOut()}
        >
          {orderInWords[order]}
        </ActionButton>
      </footer>
    </Dialog>
  )
}

const meaning: Readonly<Record<Order, string>> = {
  drain: 'It ends what it runs and takes nothing new, also after a restart of the service.',
  resume: 'It takes jobs again.',
  restart: 'The part of the service that looks after this GPU is started anew.',
}

const done: Readonly<Record<Order, string>> = {
  drain: 'takes no new jobs',
  resume: 'takes jobs again',
  restart: 'is being started again',
}
