/** Readings of the instruments of a GPU. */
import type { ComponentChildren } from 'preact'
import type { Gpu } from '../http/typed-client.ts'
import { gib, percent } from './words.ts'

export function Instruments({ measured }: { measured: Gpu['measured'] }) {
  if (!measured) {
    return <p class="instruments none muted small">No readings: nvidia-smi does not answer here.</p>
  }
  const { memory_used_mib: used, memory_total_mib: total } = measured
  return (
    <dl class="instruments">
      <Instrument name="Utilisation" share={measured.utilization_percent / 100}>
        {Math.round(measured.utilization_percent)} %
      </Instrument>
      <Instrument name="Memory" share={used / total}>
        {(used / 1024).toFixed(1)}
        <span class="muted"> of {gib(total)}</span>
      </Instrument>
      <Instrument name="Temperature" share={measured.temperature_c / 100}>
        {Math.round(measured.temperature_c)} °C
      </Instrument>
    </dl>
  )
}

const Instrument = ({
  name,
  share,
  children,
}: {
  name: string
  share: number
  children: ComponentChildren
}) => (
  <div class="instrument">
    <dt>{name}</dt>
    <dd>{children}</dd>
    <dd class="meter" aria-hidden="true">
      <span style={{ width: percent(Math.min(1, share)).replace(' ', '') }} />
    </dd>
  </div>
)
