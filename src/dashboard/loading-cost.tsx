/** GPU time that went into importing and loading. */
import type { Load } from './state.ts'
import { exactDuration, plural } from './words.ts'

type Cost = Load['loading']

export function LoadingCost({ load: { loading } }: { load: Load }) {
  const { cold, warm } = loading
  const seconds = cold.gpu_seconds + warm.gpu_seconds
  return (
    <figure class="card chart">
      <figcaption>
        <h3>Importing and loading</h3>
        <p class="chart-value">
          <strong>{exactDuration(seconds)}</strong>{' '}
          <span class="muted">
            of GPU time, in {plural(cold.starts + warm.starts, 'generation')}
          </span>
        </p>
      </figcaption>
      <dl class="legend">
        <Starts name="Cold starts" {...cold} />
        <Starts name="Warm starts" {...warm} />
      </dl>
      <p class="small muted">{comparison(loading)}</p>
    </figure>
  )
}

const Starts = ({
  name,
  starts,
  gpu_seconds,
}: {
  name: string
  starts: number
  gpu_seconds: number
}) => (
  <div>
    <dt>{name}</dt>
    <dd class="number">
      {starts.toLocaleString()}
      <span class="muted"> {exactDuration(gpu_seconds)}</span>
    </dd>
  </div>
)

function comparison({ warm, cold_runs, unknown }: Cost): string {
  const unseen = unknown > 0 ? ` ${plural(unknown, 'more generation')} could not be measured.` : ''
  if (warm.starts === 0) return `No generation was started warm.${unseen}`
  if (warm.gpu_seconds_if_cold === null) {
    return `This service has no cold run of the task to compare the warm starts with.${unseen}`
  }
  const ifCold = exactDuration(warm.gpu_seconds_if_cold)
  return `Cold, the warm starts would have taken ${ifCold}, by ${plural(cold_runs, 'cold run')} of this service.${unseen}`
}
