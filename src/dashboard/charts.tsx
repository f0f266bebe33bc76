/** Pictures of the past, drawn by hand: three shapes are less than any library. */
import { useId, useState } from 'preact/hooks'
import { now } from './clock.ts'
import { LoadingCost } from './loading-cost.tsx'
import { Empty, Section, Skeleton } from './parts.tsx'
import { isAdmin, type Load, load, type Outcome, outcomes } from './state.ts'
import { clock, duration, percent, plural } from './words.ts'

export function Charts() {
  if (outcomes.value === undefined) {
    return (
      <Section title="Last 24 hours">
        <Skeleton rows={2} kind="card" />
      </Section>
    )
  }
  return (
    <Section title={isAdmin.value ? 'Last 24 hours' : 'Estimates'}>
      <div class="charts">
        {load.value && <QueueDepth load={load.value} />}
        {load.value && <BusyShare load={load.value} />}
        <Estimates outcomes={outcomes.value} />
        {load.value && <LoadingCost load={load.value} />}
      </div>
    </Section>
  )
}

function QueueDepth({ load }: { load: Load }) {
  const { waiting } = load
  const most = Math.max(...waiting)
  const top = niceTop(most)
  const [index, setIndex] = useState<number>()
  const points = waiting.map((count, step) => [step, 100 - (100 * count) / top] as const)
  const line = points.map(([x, y]) => `${x} ${y.toFixed(2)}`).join('L')
  const last = waiting.length - 1
  const at = index ?? last
  return (
    <figure class="card chart">
      <figcaption>
        <h3>Queue depth</h3>
        <p class="chart-value">
          <strong>{waiting[at]}</strong>{' '}
          <span class="muted">
            {index === undefined ? 'waiting now' : `at ${clock(timeOf(load, at), now.value)}`}
            {index === undefined && most > 0 && `, at most ${most}`}
          </span>
        </p>
      </figcaption>
      <div class="plot">
        <span class="axis-top" aria-hidden="true">
          {top}
        </span>
        <svg
          viewBox={`0 0 ${last} 100`}
          preserveAspectRatio="none"
          role="img"
          aria-label={`Jobs waiting over 24 hours: ${waiting[last]} now, at most ${most}`}
          onPointerMove={(event) => setIndex(stepUnder(event, waiting.length))}
          onPointerLeave={() => setIndex(undefined)}
        >
          <path class="grid" d={`M0 0H${last}M0 50H${last}`} />
          <path class="area" d={`M0 100L${line}L${last} 100Z`} />
          <path class="line" d={`M${line}`} />
          {index !== undefined && <path class="cursor" d={`M${at} 0V100`} />}
        </svg>
        <TimeAxis load={load} />
      </div>
    </figure>
  )
}

function BusyShare({ load }: { load: Load }) {
  const [pointed, setPointed] = useState<{ gpu: number; step: number }>()
  const shares = load.gpus.map(({ gpu_id, busy }) => ({ gpu_id, busy, mean: mean(busy) }))
  const inAll = mean(shares.map((gpu) => gpu.mean))
  const shown = pointed && shares.find(({ gpu_id }) => gpu_id === pointed.gpu)
  return (
    <figure class="card chart">
      <figcaption>
        <h3>GPU busy share</h3>
        <p class="chart-value">
          <strong>{percent(shown && pointed ? (shown.busy[pointed.step] ?? 0) : inAll)}</strong>{' '}
          <span class="muted">
            {pointed
              ? `GPU ${pointed.gpu} at ${clock(timeOf(load, pointed.step), now.value)}`
              : `of the time, on ${plural(shares.length, 'GPU')}`}
          </span>
        </p>
      </figcaption>
      <div class="plot">
        <ul class="strips">
          {shares.map(({ gpu_id, busy, mean }) => (
            <li key={gpu_id} class="strip">
              <span class="strip-name">GPU {gpu_id}</span>
              <svg
                viewBox={`0 0 ${busy.length} 1`}
                preserveAspectRatio="none"
                role="img"
                aria-label={`GPU ${gpu_id} was busy ${percent(mean)} of the last 24 hours`}
                onPointerMove={(event) =>
                  setPointed({ gpu: gpu_id, step: stepUnder(event, busy.length) })
                }
                onPointerLeave={() => setPointed(undefined)}
              >
                <rect class="strip-ground" width={busy.length} height={1} />
                {busy.map((share, step) =>
                  share === 0 ? null : (
                    <rect
                      key={step}
                      class="strip-cell"
                      x={step}
                      width={1.02}
                      height={1}
                      fill-opacity={0.15 + 0.85 * share}
                    />
                  ),
                )}
              </svg>
              <span class="strip-value number">{percent(mean)}</span>
            </li>
          ))}
        </ul>
        <TimeAxis load={load} inset />
      </div>
    </figure>
  )
}

const TimeAxis = ({ load, inset = false }: { load: Load; inset?: boolean }) => (
  <p class={`axis muted ${inset ? 'inset' : ''}`} aria-hidden="true">
    <span>{clock(Date.parse(load.from), Date.parse(load.from))}</span>
    <span>{clock((Date.parse(load.from) + Date.parse(load.to)) / 2, Date.parse(load.to))}</span>
    <span>now</span>
  </p>
)

const side = 240

/** Each video by how long was told and how long it took: what is on the diagonal was told right. */
function Estimates({ outcomes }: { outcomes: readonly Outcome[] }) {
  const clip = useId()
  if (outcomes.length === 0) {
    return (
      <figure class="card chart">
        <figcaption>
          <h3>Estimates</h3>
        </figcaption>
        <Empty title="Nothing to compare yet">
          With the first finished videos you see here how true their estimates were.
        </Empty>
      </figure>
    )
  }
  const within = outcomes.filter(
    ({ eta_p10_seconds, eta_p90_seconds, actual_seconds }) =>
      actual_seconds >= eta_p10_seconds && actual_seconds <= eta_p90_seconds,
  ).length
  const all = outcomes.flatMap((one) => [one.eta_seconds, one.actual_seconds])
  const [least, most] = [Math.max(1, Math.min(...all)) / 1.3, Math.max(2, ...all) * 1.3]
  const scale = (seconds: number) =>
    (side * Math.log(Math.max(seconds, least) / least)) / Math.log(most / least)
  const ticks = ticksBetween(least, most)
  return (
    <figure class="card chart">
      <figcaption>
        <h3>Estimates</h3>
        <p class="chart-value">
          <strong>{percent(within / outcomes.length)}</strong>{' '}
          <span class="muted">within their interval, of {plural(outcomes.length, 'video')}</span>
        </p>
      </figcaption>
      <svg
        class="scatter"
        viewBox={`-44 -6 ${side + 56} ${side + 42}`}
        role="img"
        aria-label={`Estimates against what became true: ${within} of ${outcomes.length} videos were there within the interval that was told`}
      >
        <clipPath id={clip}>
          <rect width={side} height={side} />
        </clipPath>
        {ticks.map((seconds) => (
          <g key={seconds}>
            <path
              class="grid"
              d={`M0 ${side - scale(seconds)}H${side}M${scale(seconds)} 0V${side}`}
            />
            <text class="tick" x={-6} y={side - scale(seconds) + 4} text-anchor="end">
              {duration(seconds)}
            </text>
            <text class="tick" x={scale(seconds)} y={side + 15} text-anchor="middle">
              {duration(seconds)}
            </text>
          </g>
        ))}
        <text class="tick name" x={side / 2} y={side + 32} text-anchor="middle">
          told at the submission
        </text>
        <text
          class="tick name"
          x={0}
          y={0}
          text-anchor="middle"
          transform={`translate(-36 ${side / 2}) rotate(-90)`}
        >
          took
        </text>
        <g clip-path={`url(#${clip})`}>
          <path class="diagonal" d={`M0 ${side}L${side} 0`} />
          {outcomes.map((one) => (
            <g key={one.job_id}>
              <path
                class="interval"
                d={`M${scale(one.eta_p10_seconds).toFixed(1)} ${(side - scale(one.actual_seconds)).toFixed(1)}H${scale(one.eta_p90_seconds).toFixed(1)}`}
              />
              <circle
                class="dot"
                r={3}
                cx={scale(one.eta_seconds).toFixed(1)}
                cy={(side - scale(one.actual_seconds)).toFixed(1)}
              >
                <title>{`told ${duration(one.eta_seconds)}, took ${duration(one.actual_seconds)}`}</title>
              </circle>
            </g>
          ))}
        </g>
      </svg>
    </figure>
  )
}

const timeOf = ({ from, step_seconds }: Load, step: number): number =>
  Date.parse(from) + (step + 1) * step_seconds * 1000

function stepUnder(event: PointerEvent, steps: number): number {
  const { left, width } = (event.currentTarget as Element).getBoundingClientRect()
  const step = Math.floor((steps * (event.clientX - left)) / width)
  return Math.min(steps - 1, Math.max(0, step))
}

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length)

/** The next of 4, 10, 20, 40, 100 …, so that the scale does not jump with each job. */
function niceTop(most: number): number {
  let top = 4
  for (const factor of [2.5, 2, 2, 2.5, 2, 2, 2.5, 2, 2, 2.5, 2, 2]) {
    if (top >= most) break
    top *= factor
  }
  return top
}

const roundTimes = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 86_400, 604_800]

function ticksBetween(least: number, most: number): number[] {
  const inside = roundTimes.filter((seconds) => seconds >= least && seconds <= most)
  const every = Math.ceil(inside.length / 5)
  return inside.filter((_, index) => index % every === 0)
}
